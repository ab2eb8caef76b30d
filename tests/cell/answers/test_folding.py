"""Partials follow the table of inferences: each version once, whatever restarts or gets lost."""

import contextlib
import threading

import numpy as np
import pytest
from query_rooms import DAY, STORED, Profiles, inferences, open_query_rooms, people, profile_of, until

from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.analysis.partials import total
from modelwarden_server.query.folding import DEFAULT_PACE, TIMES, Pace
from modelwarden_server.store.partials import PartialTable


def seconds(rows: int, spread: int = DAY, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, spread, rows).astype(float)


def counted(rooms) -> np.ndarray:
    """All counts by code that the live partials hold."""
    live = rooms.folder_of_partials.live
    return live.window(-(2**31), 2**31)


def recounted(rooms) -> np.ndarray:
    """The same from the table itself, folded at once by a space of its own."""
    live = rooms.folder_of_partials.live
    space = CodeSpace.of(live.profile, STORED)
    batches = rooms.table.read(rooms.table.files)
    parts = [part for batch in batches for part in space.fold(batch, TIMES)]
    return total(parts, space.size)


def test_without_a_reference_rows_and_their_lag_are_counted_and_nothing_else(rooms):
    rooms.store(inferences(people(500), seconds(500)))
    until(lambda: rooms.folder_of_partials.reach(1))
    assert [count for count in counted(rooms).tolist() if count] == [500, 500]
    assert counted(rooms)[0] == 500


def test_with_a_reference_each_version_is_folded_once(rooms):
    rooms.compare_with(people(3000))
    for n in range(5):
        rooms.store(inferences(people(200, seed=n), seconds(200, seed=n)))
    assert rooms.folder_of_partials.reach(120)
    assert counted(rooms)[0] == 1000
    assert np.array_equal(counted(rooms), recounted(rooms))


def test_what_came_before_the_reference_is_caught_up_with(rooms):
    rooms.store(inferences(people(700), seconds(700)))
    rooms.compare_with(people(3000))
    assert counted(rooms)[0] == 700
    assert np.array_equal(counted(rooms), recounted(rooms))


def test_a_commit_nobody_was_told_of_is_not_missed_and_not_doubled(rooms):
    rooms.compare_with(people(3000))
    rooms.store(inferences(people(100), seconds(100)), told=False)
    rooms.store(inferences(people(50, seed=2), seconds(50)))
    assert rooms.folder_of_partials.reach(120)
    assert counted(rooms)[0] == 150
    assert np.array_equal(counted(rooms), recounted(rooms))


def test_the_same_commit_told_twice_counts_once(rooms):
    rooms.compare_with(people(3000))
    rows = inferences(people(100), seconds(100))
    commit = rooms.table.append(rows, {})
    for _ in range(3):
        rooms.folder_of_partials.fold(commit.version, rows.to_batches())
    assert counted(rooms)[0] == 100


def test_commits_without_rows_hold_nothing_up(rooms):
    rooms.compare_with(people(3000))
    commit = rooms.table.commit([], {"log": 1})
    rooms.folder_of_partials.fold(commit.version, [])
    rooms.store(inferences(people(100), seconds(100)))
    assert rooms.folder_of_partials.reach(120)
    assert counted(rooms)[0] == 100


def test_rows_that_arrive_while_partials_are_made_anew_are_counted_once(rooms):
    for n in range(10):
        rooms.store(inferences(people(2000, seed=n), seconds(2000, seed=n)))
    stop = threading.Event()

    def write() -> None:
        n = 100
        while not stop.is_set() and n < 160:
            rooms.store(inferences(people(50, seed=n), seconds(50, seed=n)))
            n += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for name, seed in (("1" * 64, 1), ("2" * 64, 2), ("3" * 64, 3)):
            rooms.compare_with(people(2000, seed=seed), name)
    finally:
        stop.set()
        writer.join()
    assert rooms.folder_of_partials.reach(120)
    assert counted(rooms)[0] == rooms.table.rows
    assert np.array_equal(counted(rooms), recounted(rooms))


@contextlib.contextmanager
def reopened(folder, pace=DEFAULT_PACE, reference=None):
    profiles = Profiles("a" * 64, {"a" * 64: profile_of(reference)}) if reference is not None else None
    rooms = open_query_rooms(folder, pace, profiles)
    yield next(rooms)
    assert next(rooms, None) is None


def test_a_new_process_goes_on_from_the_disk(tmp_path):
    reference = people(3000)
    with reopened(tmp_path) as first:
        first.compare_with(reference)
        first.store(inferences(people(400), seconds(400)))
        assert first.folder_of_partials.reach(120)
        wanted = counted(first)
    stored = PartialTable.open(tmp_path / "tables" / "partials", "a" * 64)
    assert stored.folded == first.table.version
    assert sum(int(c.sum()) for _, _, c in stored.read()) == wanted.sum()
    with reopened(tmp_path, reference=reference) as second:
        until(lambda: second.folder_of_partials.live is not None)
        assert np.array_equal(counted(second), wanted)


def test_partials_that_were_torn_or_lost_are_made_anew(tmp_path):
    reference = people(3000)
    with reopened(tmp_path) as first:
        first.compare_with(reference)
        first.store(inferences(people(400), seconds(400)))
        assert first.folder_of_partials.reach(120)
        wanted = counted(first)
    for file in (tmp_path / "tables" / "partials").glob("*/*/part-*.parquet"):
        file.write_bytes(file.read_bytes()[:-7])
    with reopened(tmp_path, reference=reference) as second:
        until(lambda: second.folder_of_partials.live is not None)
        assert np.array_equal(counted(second), wanted)


def test_partials_of_a_table_that_went_back_in_time_are_made_anew(tmp_path):
    with reopened(tmp_path) as first:
        for n in range(3):
            first.store(inferences(people(100, seed=n), seconds(100)))
        assert first.folder_of_partials.reach(120)
    import shutil

    shutil.rmtree(tmp_path / "tables" / "inferences")
    with reopened(tmp_path) as second:
        second.store(inferences(people(30), seconds(30)))
        until(lambda: second.folder_of_partials.reach(1))
        assert counted(second)[0] == 30


def test_many_small_commits_become_few_files_and_leave_memory_without_changing_a_number(tmp_path):
    pace = Pace(persist_seconds=0.01, compact_files=4, memory_bytes=0)
    with reopened(tmp_path, pace) as rooms:
        rooms.compare_with(people(2000))
        for n in range(12):
            rooms.store(inferences(people(40, seed=n), seconds(40, spread=90 * DAY, seed=n)))
            live = rooms.folder_of_partials.live
            until(lambda live=live: live.pending == 0)
        assert live.table.files <= 5
        assert np.array_equal(counted(rooms), recounted(rooms))
        noon = 1772366400 // 300
        halves = live.window(-(2**31), noon + 7) + live.window(noon + 7, 2**31)
        assert np.array_equal(halves, recounted(rooms)), "slices come back from the disk"
    with reopened(tmp_path, pace) as rooms:
        until(lambda: rooms.folder_of_partials.reach(1))
        assert counted(rooms)[0] == 480


def test_a_new_reference_replaces_the_partials_of_the_old_one(rooms):
    rooms.store(inferences(people(300), seconds(300)))
    rooms.compare_with(people(2000, seed=1), "1" * 64)
    rooms.compare_with(people(2000, seed=2), "2" * 64)
    root = rooms.folder / "tables" / "partials"
    until(lambda: [p.name for p in root.iterdir()] == ["2" * 32])


@pytest.mark.parametrize("spread", [DAY, 1000 * DAY])
def test_times_spread_over_years_cost_neither_files_nor_memory(tmp_path, spread):
    with reopened(tmp_path, Pace(persist_seconds=0.05)) as rooms:
        rooms.compare_with(people(2000))
        rooms.store(inferences(people(20_000), seconds(20_000, spread)))
        live = rooms.folder_of_partials.live
        until(lambda: live.pending == 0)
        assert live.table.files <= 3
        assert live.bytes < 20_000 * 8 * 16
