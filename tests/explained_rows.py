"""A table of inferences and the feed of explanations over it; and what a server would answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from query_rooms import IDENTITY, NOON, SCHEMA, inferences, people

from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.derived.scoring import ScorePace
from modelwarden_server.explained import BACKGROUND_HASH, CODE_HASH, EXPLAINED, INPUTS, OUTPUTS
from modelwarden_server.explanations.answer import Names, read_answer
from modelwarden_server.explanations.feed import Bounds, Feed
from modelwarden_server.explanations.opening import Choice, Places, Surroundings, open_feed
from modelwarden_server.explanations.table import EXPLANATIONS
from modelwarden_server.explanations.tasks import Task
from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.upkeep import KeepRules

NAMES = Names(("age", "income", "town"), ("p",))
CODE, BACKGROUND = "c" * 64, "b" * 64
TOWNS = {"north": 0.1, "south": -0.2, "west": 0.05}


def explained_row(row: dict[str, Any]) -> dict[str, Any]:
    """One row of an answer: what anybody can compute from the row, so that tests can tell rows apart."""
    values = [row["age"] / 1000, float(np.log(row["income"])) / 10, TOWNS[row["town"]]]
    return {
        "id": row["id"],
        "algorithm": "shap",
        "path": "linear",
        "why": "the arrays are the model",
        "units": "probability",
        "prediction": [0.3 + sum(values)],
        "expected": [0.3],
        "values": values,
        "model_rows": 0,
    }


def sent(row: dict[str, Any], identifier: str) -> dict[str, Any]:
    """A row as clients send it."""
    return {
        "partner_inference_id": identifier,
        "inference_timestamp": "2026-03-01T12:00:00Z",
        "inference_data": {name: row[name] for name in ("age", "income", "town", "remark", "p")},
    }


def stream(rows: Sequence[dict[str, Any]], **more: Any) -> bytes:
    """Rows of an answer as Arrow; `more` replaces what the metadata says."""
    told: dict[str, Any] = {"inputs": NAMES.inputs, "outputs": NAMES.outputs} | more
    meta = {
        INPUTS: msgspec.json.encode(told["inputs"]),
        OUTPUTS: msgspec.json.encode(told["outputs"]),
        CODE_HASH: str(told.get("code", CODE)).encode(),
        BACKGROUND_HASH: BACKGROUND.encode(),
    }
    schema = EXPLAINED.with_metadata(meta)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(list(rows), schema=schema))
    return bytes(sink.getvalue())


def answer_to(rows: pa.RecordBatch) -> bytes:
    """What a server that works answers."""
    return stream([explained_row(row) for row in rows.to_pylist()])


@dataclass
class ExplainedRows:
    """`on` and `share` are the settings'. Without its thread the feed does what a test tells it to."""

    folder: Path
    on: bool = True
    share: float = 1.0
    bounds: Bounds = field(default_factory=Bounds)
    now: float = 0.0
    source: AppendTable = field(init=False)
    feed: Feed = field(init=False)
    counts: TableCounts = field(init=False)
    rules: KeepRules = field(default_factory=KeepRules)
    _ids: int = 0

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """As a process would at its start."""
        self.source = AppendTable.open(self.folder / "inferences", SCHEMA.inference_table)
        around = Surroundings(
            rules=lambda: self.rules,
            clock=lambda: NOON.timestamp(),
            monotonic=lambda: self.now,
            hurry=lambda: self.feed.queue.settled(),
            pace=ScorePace(look=0.01, persist=0.0),
            bounds=self.bounds,
        )
        places = Places(self.source, lambda name: self.folder / name)
        choice = Choice(lambda: self.on, lambda: self.share)
        self.feed, self.counts = open_feed(places, IDENTITY, choice, around)

    def store(self, rows: int, *, at: float = 0.0) -> list[str]:
        """Rows that arrive at a time, seconds after noon; their ids."""
        first, self._ids = self._ids, self._ids + rows
        table = inferences(people(rows, seed=first + 1), at + np.arange(rows) / 1e4, first)
        commit = self.source.append(table, {})
        self.feed.queue.fold(commit.version, [])
        return [f"id-{i}" for i in range(first, first + rows)]

    def work(self) -> None:
        """One turn of the thread."""
        self.feed.queue._work()
        self.feed.attend()
        self.feed.queue._tend()

    def lease(self, holder: str = "pod-1") -> Task:
        """A piece that must be there."""
        task = self.feed.board.lease(holder)
        assert task is not None
        return task

    def bring(self, task: Task, content: Callable[[pa.RecordBatch], bytes] = answer_to) -> bool:
        """Answer a piece as a server would."""
        return self.feed.board.finish(task.number, read_answer(content(task.rows), task.rows, NAMES, 1 << 30))

    def explain_all(self) -> int:
        """Take and bring until nothing is left; how many pieces."""
        done = 0
        while True:
            self.work()
            task = self.feed.board.lease("pod-1")
            if task is None:
                return done
            done += self.bring(task)

    def forget(self, ids: Sequence[str]) -> None:
        """What the store's forgetting asks of the thread."""
        self.feed.queue.remove(id_keys(list(ids)))

    def table(self) -> pa.Table:
        """All explanations, by id."""
        batches = self.feed.table.read(self.feed.table.files)
        return pa.Table.from_batches(list(batches), EXPLANATIONS).sort_by(ID)

    def ids(self) -> list[str]:
        return sorted(self.table().column(ID).to_pylist())

    def values(self) -> dict[str, list[float]]:
        table = self.table()
        return dict(zip(table.column(ID).to_pylist(), table.column("values").to_pylist(), strict=True))


def expected_values(rows: ExplainedRows) -> dict[str, list[float]]:
    """Each stored row's values, computed at once."""
    table = pa.Table.from_batches(list(rows.source.read(rows.source.files)), SCHEMA.inference_table)
    return {
        row[ID]: explained_row(row | {"id": row[ID]})["values"]
        for row in table.select([ID, *NAMES.inputs]).to_pylist()
    }
