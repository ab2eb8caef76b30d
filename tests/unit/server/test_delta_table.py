"""The one way rows get into a table: exactly once, verified at the next start."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from modelwarden_server.store import delta
from modelwarden_server.store.delta import CHECKPOINT_EVERY, AppendTable, Replacement
from modelwarden_server.store.parquet import file_name
from modelwarden_server.store.verify import TableDamagedError, entry_path, read_mark, write_mark

SCHEMA = pa.schema([("id", pa.string()), ("at", pa.timestamp("us", "UTC")), ("x", pa.float64())])


def rows(*ids: str) -> pa.RecordBatch:
    n = len(ids)
    return pa.record_batch(
        [pa.array(ids), pa.array(range(n), pa.timestamp("us", "UTC")), pa.array([0.5] * n)], SCHEMA
    )


def opened(folder: Path) -> AppendTable:
    return AppendTable.open(folder, SCHEMA, frozenset({"id"}))


def ids_of(table: AppendTable) -> list[str]:
    return [i for batch in table.read(table.files, ["id"]) for i in batch.column(0).to_pylist()]


def test_what_was_appended_is_there_after_opening_again(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    table.append([rows("a", "b")], {"log": 7, "count": 2})
    table.append([rows("c")], {"log": 9})
    again = opened(tmp_path / "t")
    assert (again.version, again.rows, ids_of(again)) == (2, 3, ["a", "b", "c"])
    assert (again.transaction("log"), again.transaction("count"), again.transaction("other")) == (9, 2, None)
    assert [f.version for f in again.files_added(1)] == [2]


def test_an_independent_reader_sees_the_same_rows_and_bounds(tmp_path: Path) -> None:
    opened(tmp_path / "t").append([rows("a", "b")], {})
    other = DeltaTable(str(tmp_path / "t"))
    assert pa.table(other.to_pyarrow_table()).column("id").to_pylist() == ["a", "b"]
    actions = pa.table(other.get_add_actions(flatten=True))
    assert actions.column("max.at").to_pylist()[0].microsecond == 1


def test_counters_alone_can_be_committed(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    assert table.commit([], {"sampled": 12}).rows == 0
    assert opened(tmp_path / "t").transaction("sampled") == 12


def test_positions_and_rows_survive_checkpoints(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for i in range(CHECKPOINT_EVERY + 3):
        table.append([rows(str(i))], {"log": i})
    for entry in range(CHECKPOINT_EVERY):
        entry_path(tmp_path / "t", entry).unlink()
    again = opened(tmp_path / "t")
    assert (again.rows, again.transaction("log")) == (CHECKPOINT_EVERY + 3, CHECKPOINT_EVERY + 2)
    assert len(again.files_added(CHECKPOINT_EVERY)) == 3


@pytest.mark.parametrize("harm", ["empty", "half", "file missing", "file short"])
def test_a_torn_last_version_is_taken_back(tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "t"
    table = opened(folder)
    table.append([rows("a")], {"log": 1})
    last = table.append([rows("b")], {"log": 2})
    entry, data = entry_path(folder, 2), folder / last.files[0].name
    match harm:
        case "empty":
            entry.write_bytes(b"")
        case "half":
            entry.write_bytes(entry.read_bytes()[:-40])
        case "file missing":
            data.unlink()
        case "file short":
            data.write_bytes(data.read_bytes()[:-8])
    again = opened(folder)
    assert (again.verdict.removed, again.version, again.transaction("log")) == ((2,), 1, 1)
    again.append([rows("b")], {"log": 2})
    assert ids_of(opened(folder)) == ["a", "b"]


def test_damage_below_the_last_version_is_refused_by_name(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for i in range(3):
        table.append([rows(str(i))], {})
    entry_path(tmp_path / "t", 2).write_bytes(b"")
    with pytest.raises(TableDamagedError, match="entry 2 is damaged"):
        opened(tmp_path / "t")


def test_a_missing_version_is_refused_by_number(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")
    for i in range(3):
        table.append([rows(str(i))], {})
    entry_path(tmp_path / "t", 1).unlink()
    with pytest.raises(TableDamagedError, match="entry 1 is missing"):
        opened(tmp_path / "t")


def test_a_torn_checkpoint_is_dropped_and_nothing_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    table = opened(folder)
    for i in range(CHECKPOINT_EVERY + 1):
        table.append([rows(str(i))], {"log": i})
    checkpoint = next((folder / "_delta_log").glob("*.checkpoint.parquet"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    again = opened(folder)
    assert (again.rows, again.transaction("log")) == (CHECKPOINT_EVERY + 1, CHECKPOINT_EVERY)


def test_files_of_a_commit_that_never_came_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    opened(folder).append([rows("a")], {})
    orphan = folder / file_name(2)
    orphan.write_bytes(b"PAR1 unfinished")
    again = opened(folder)
    assert (again.verdict.orphans, orphan.exists(), again.rows) == (1, False, 1)


def test_a_mark_that_leads_is_set_back(tmp_path: Path) -> None:
    opened(tmp_path / "t").append([rows("a")], {})
    write_mark(tmp_path / "t", 40)
    opened(tmp_path / "t")
    assert read_mark(tmp_path / "t") == 1


def test_a_table_of_another_schema_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "t")
    with pytest.raises(ValueError, match="other columns"):
        AppendTable.open(tmp_path / "t", pa.schema([("id", pa.string()), ("y", pa.int64())]))


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path) -> None:
    table = opened(tmp_path / "t")

    def broken() -> list[pa.RecordBatch]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        table.append((b for _ in (1,) for b in broken()), {"log": 1})
    assert (list((tmp_path / "t").glob("part-*")), table.version) == ([], 0)


def test_a_checkpoint_lists_no_files_that_went_long_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta, "CHECKPOINT_EVERY", 1)
    table = opened(tmp_path / "t")
    now = time.time()
    for name, ago in (("old", 7200.0), ("recent", 0.0)):
        table.append([rows(name)], {})
        monkeypatch.setattr(delta.time, "time", lambda at=now - ago: at)
        table.replace(Replacement(table.files, [], rows_change=True), {})
    table.append([rows("here")], {})
    checkpoint = tmp_path / "t" / "_delta_log" / f"{table.version:020d}.checkpoint.parquet"
    removed = pq.read_table(checkpoint, columns=["remove"]).column("remove").drop_null()
    assert len(removed) == 1
    assert ids_of(opened(tmp_path / "t")) == ["here"]
