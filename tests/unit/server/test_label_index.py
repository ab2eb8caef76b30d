"""What is known of labels: the newest of each id, and which wait, in any order and wherever it stops."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import census_like as census
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.schema.compiled import ID, compile_schema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys
from modelwarden_server.store import labels
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.ids import Known
from modelwarden_server.store.labels import LabelIndex, LabelSources, comparable

LONG = os.environ.get("MODELWARDEN_LONG") == "1"
SCHEMA = compile_schema(census.identity())
NAMES = [f"id{i}" for i in range(6)]


class Table:
    """A table in memory: one file a version."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.batches: list[pa.RecordBatch] = []

    @property
    def version(self) -> int:
        return len(self.batches)

    def append(self, rows: list[dict[str, Any]]) -> None:
        self.batches.append(pa.RecordBatch.from_pylist(rows, schema=self.schema))

    def files_added(self, since: int) -> list[TableFile]:
        return [TableFile(v, str(v), 1, 1) for v in range(max(since, 0) + 1, self.version + 1)]

    def read(
        self, files: Sequence[TableFile], columns: Sequence[str] | None = None
    ) -> Iterable[pa.RecordBatch]:
        for file in files:
            batch = self.batches[file.version - 1]
            yield batch if columns is None else batch.select(list(columns))


class Ids:
    """Ids that were taken in, some of them not in the table yet."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()

    def add(self, names: Iterable[str]) -> None:
        self.seen |= {key.tobytes() for key in id_keys(list(names))}

    def look_up(self, keys: Words, _digests: Words) -> npt.NDArray[np.int8]:
        found = [Known.OTHER if key.tobytes() in self.seen else Known.NEW for key in keys]
        return np.array(found, dtype=np.int8)


class World:
    """Tables, ids and an index of labels, and what all of it should come to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth, self.inferences = Table(SCHEMA.truth_table), Table(SCHEMA.inference_table)
        self.ids = Ids()
        self.waiting = -1
        self.arrival = 100
        self.newest: dict[str, tuple[int, int]] = {}
        self.open()

    def open(self) -> None:
        def told(count: int) -> None:
            self.waiting = count

        sources = LabelSources(self.inferences, self.truth, self.ids, SCHEMA.truth_record, told)
        self.index = LabelIndex(self.folder, sources)
        self.index.load()

    def label(self, names: list[str], value: int, late: int) -> None:
        """Labels in the table; those of a file may have arrived `late` steps before what stands before."""
        rows = []
        for name in names:
            self.arrival += 1
            arrival = self.arrival - late
            if arrival >= self.newest.get(name, (0, 0))[0]:
                self.newest[name] = (arrival, value)
            rows.append(self._row(name, value) | {"received_timestamp": arrival})
        self.truth.append(rows)

    @staticmethod
    def _row(name: str, value: int) -> dict[str, Any]:
        return {ID: name, "ground_truth_timestamp": 0, "gt": value}

    def check(self) -> None:
        self.index.catch_up()
        known, payload = self.index.find(id_keys(NAMES))
        assert [name for name, there in zip(NAMES, known, strict=True) if there] == [
            name for name in NAMES if name in self.newest
        ]
        digester = RowDigester(SCHEMA.truth_record, but=ID)
        for place, name in enumerate(NAMES):
            if name in self.newest:
                row = pa.RecordBatch.from_pylist(
                    [self._row(name, self.newest[name][1])], schema=SCHEMA.truth_record
                )
                expected = comparable(digester.digests(row))[0]
                assert comparable(payload)[place].tolist() == expected.tolist()
        stored = {n for b in self.inferences.batches for n in b.column(ID).to_pylist()}
        on_their_way = {n for n in NAMES if id_keys([n])[0].tobytes() in self.ids.seen} - stored
        assert len(self.newest.keys() - stored - on_their_way) <= self.waiting
        assert self.waiting <= len(self.newest.keys() - stored)
        if not on_their_way:
            assert self.waiting == len(self.newest.keys() - stored)


names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("label"), names, st.integers(0, 2), st.sampled_from([0, 0, 3])),
    st.tuples(st.just("durable"), names),
    st.tuples(st.just("commit")),
    st.tuples(st.just("look")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("kill")),
)


@settings(max_examples=1000 if LONG else 12, deadline=None)
@given(st.lists(steps, max_size=14), st.sampled_from([1, 2, 1000]), st.sampled_from([1, 64]))
def test_the_newest_label_and_those_that_wait_are_known(
    walk: list[tuple[Any, ...]], flush: int, keep: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "FLUSH_LABELS", flush)
        patch.setattr(labels, "KEEP_VERSIONS", keep)
        world = World(Path(folder))
        pending: list[str] = []
        for step, *arguments in walk:
            if step == "label":
                world.label(*arguments)
            elif step == "durable":
                new = [
                    n for n in dict.fromkeys(arguments[0]) if id_keys([n])[0].tobytes() not in world.ids.seen
                ]
                world.ids.add(new)
                pending += new
            elif step == "commit":
                world.inferences.append([{ID: name} for name in pending])
                pending.clear()
            elif step == "look":
                world.check()
            else:
                if step == "stop":
                    world.index.close()
                world.open()
        world.inferences.append([{ID: name} for name in pending])
        world.check()


def test_a_damaged_or_foreign_index_is_made_anew(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.label(NAMES[:3], 1, 0)
    world.check()
    world.index.close()
    for path in tmp_path.glob("*.run"):
        path.write_bytes(b"x" * 100)
    world.open()
    world.check()


def test_labels_can_be_dropped_by_id(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.label(NAMES, 1, 0)
    world.check()
    assert world.waiting == 6
    for _ in range(2):
        world.index.drop(id_keys(NAMES[:2]))
        assert world.index.find(id_keys(NAMES))[0].tolist() == [False, False, True, True, True, True]
        world.index.catch_up()
        assert world.waiting == 4, "what is forgotten waits for nothing"


def test_labels_that_are_removed_for_their_age_wait_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labels, "_DROPPED_AT_ONCE", 2)
    world = World(tmp_path)
    world.label(NAMES[:5], 1, 0)
    world.label(NAMES[3:], 2, 0)
    world.check()
    assert world.waiting == 6
    for _ in range(2):
        world.index.retire(world.truth.files_added(0)[:1])
        assert world.waiting == 3, "those of which there is no newer one"
        assert world.index.find(id_keys(NAMES))[0].tolist() == [False, False, False, True, True, True]


@pytest.mark.parametrize("flush", [1, 1000])
def test_a_label_that_arrived_earlier_does_not_replace_one_that_stands_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: int
) -> None:
    monkeypatch.setattr(labels, "FLUSH_LABELS", flush)
    world = World(tmp_path)
    world.label(NAMES[:1], 1, 0)
    world.check()
    world.label(NAMES[:1], 2, 3)
    assert world.newest[NAMES[0]][1] == 1
    world.check()
