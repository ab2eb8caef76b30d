"""Sorted runs answer exactly what a dictionary would, survive a crash as they were kept, and stay few."""

import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.schema.digest import Words
from modelwarden_server.store import runs as module
from modelwarden_server.store.run_file import Run, RunDamagedError
from modelwarden_server.store.runs import MergeStoppedError, RunSet

WORD = st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1))
KEYS = st.tuples(WORD, WORD)


def rows(*pairs: tuple[tuple[int, int], int]) -> Words:
    return np.array([[*key, value, value + 1] for key, value in pairs], dtype=np.uint64).reshape(-1, 4)


def many(count: int, seed: int = 0) -> Words:
    return np.random.default_rng(seed).integers(0, 2**64, (count, 4), dtype=np.uint64)


def opened(folder: Path) -> RunSet:
    runs = RunSet(folder, payload_words=2)
    runs.load(lambda _: True)
    return runs


def found(runs: RunSet, keys: list[tuple[int, int]]) -> dict[tuple[int, int], int]:
    places, payload = runs.find(np.array(keys, dtype=np.uint64).reshape(-1, 2))
    return {keys[place]: int(value[0]) for place, value in zip(places, payload, strict=True)}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.dictionaries(KEYS, st.integers(0, 99), max_size=12), max_size=6),
    st.lists(KEYS, max_size=6),
    st.sets(st.sampled_from(range(6))),
)
def test_a_set_of_runs_is_a_dictionary_however_it_is_merged(
    tmp_path_factory: pytest.TempPathFactory,
    additions: list[dict[tuple[int, int], int]],
    others: list[tuple[int, int]],
    merged_after: set[int],
) -> None:
    runs = opened(tmp_path_factory.getbasetemp() / uuid.uuid4().hex)
    model: dict[tuple[int, int], int] = {}
    for number, addition in enumerate(additions):
        runs.add(rows(*addition.items()))
        model |= addition
        while number in merged_after and runs.merge_once():
            pass
    asked = [*model, *others]
    assert found(runs, asked) == {key: model[key] for key in asked if key in model}
    gone = list(model)[::2]
    runs.drop(np.array(gone, dtype=np.uint64).reshape(-1, 2))
    assert found(runs, asked) == {key: model[key] for key in asked if key in model and key not in gone}


def test_rows_are_found_over_many_blocks_and_nothing_else_is(tmp_path: Path) -> None:
    runs, known = opened(tmp_path), many(70_000)
    for start in range(0, 70_000, 10_000):
        runs.add(known[start : start + 10_000])
        while runs.merge_once():
            pass
    places, payload = runs.find(known[:, :2])
    assert np.array_equal(places, np.arange(70_000))
    assert np.array_equal(payload, known[:, 2:])
    assert not len(runs.find(many(70_000, seed=1)[:, :2])[0])
    assert len(runs.runs) <= 3
    assert all(run.intact() for run in runs.runs)
    assert runs.memory < 70_000 / 16


def test_a_crash_leaves_what_was_kept_and_no_other_file(tmp_path: Path) -> None:
    runs, known = opened(tmp_path), many(300)
    runs.add(known[:100])
    runs.keep({"position": 7})
    runs.add(known[100:200])
    again = RunSet(tmp_path, payload_words=2)
    assert again.load(lambda facts: facts["position"] == 7).facts == {"position": 7}
    assert (len(again), len(list(tmp_path.glob("*.run")))) == (100, 1)
    again.add(known[200:])
    assert again.merge_once()
    assert (len(again.runs), len(again)) == (1, 200)
    assert len(opened(tmp_path)) == 100, "a merge that was not kept takes nothing away from what was"


def test_what_is_not_believed_is_removed(tmp_path: Path) -> None:
    runs = opened(tmp_path)
    runs.add(many(100))
    runs.keep({"position": 7})
    again = RunSet(tmp_path, payload_words=2)
    assert again.load(lambda facts: facts["position"] < 7).facts is None
    assert (len(again), list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize("harm", ["short", "empty", "header"])
def test_a_torn_run_is_not_believed(tmp_path: Path, harm: str) -> None:
    runs = opened(tmp_path)
    runs.add(many(1000))
    runs.keep({})
    (path,) = tmp_path.glob("*.run")
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes({"short": data[:-1], "empty": b"", "header": data}[harm])
    with pytest.raises((RunDamagedError, ValueError)):
        Run(path)
    assert len(opened(tmp_path)) == 0


@pytest.mark.parametrize("place", [-5, 64 + 8 * 20, 64 + 8 * (1000 * 10 // 64) + 3])
def test_a_changed_row_filter_or_fence_is_found_and_not_believed(tmp_path: Path, place: int) -> None:
    runs = opened(tmp_path)
    runs.add(many(1000))
    runs.keep({})
    (path,) = tmp_path.glob("*.run")
    assert Run(path).intact()
    data = bytearray(path.read_bytes())
    data[place] = 0 if data[place] else 1
    path.write_bytes(data)
    assert not Run(path).intact()
    assert len(opened(tmp_path)) == 0


def test_what_is_too_much_for_the_start_is_checked_later(tmp_path: Path) -> None:
    runs, known = opened(tmp_path), many(4000)
    runs.add(known[:3000])
    runs.add(known[3000:])
    runs.keep({})
    again = RunSet(tmp_path, payload_words=2)
    again.load(lambda _: True, check_bytes=runs.runs[1].bytes)
    assert [run.rows for run in again.unchecked] == [3000]
    assert again.check()
    assert not again.check()
    data = bytearray(runs.runs[0].path.read_bytes())
    data[-5] ^= 1
    runs.runs[0].path.write_bytes(data)
    again.load(lambda _: True, check_bytes=runs.runs[1].bytes)
    with pytest.raises(RunDamagedError):
        again.check()


def test_a_merge_that_is_stopped_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 100)
    runs, known = opened(tmp_path), many(2000)
    runs.add(known[:1000])
    runs.add(known[1000:])
    before = runs.runs
    with pytest.raises(MergeStoppedError):
        runs.merge_once(stop=lambda: True)
    assert (runs.runs, len(list(tmp_path.iterdir()))) == (before, 2)
    assert runs.merge_once()
    assert len(runs.find(known[:, :2])[0]) == 2000
