"""The writer may be stopped between any two of its steps: what the tables hold in the end is the same."""

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from modelwarden_server.log.protocol import Kind, Record
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import ID, IDENTITY, compile_schema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys, packed
from modelwarden_server.schema.parsed import Limits
from modelwarden_server.schema.parser import Parser
from modelwarden_server.store import delta as delta_module
from modelwarden_server.store import verify as verify_module
from modelwarden_server.store.delta import AppendTable, CommitError, NotDurableError
from modelwarden_server.store.store import Store

SCHEMA = compile_schema(census.identity())
LIMITS = Limits(rows=1000, string_length=1000, latest=1 << 60)


DIGESTER = RowDigester(SCHEMA.inference_record, but=ID)


def identify(rows: pa.RecordBatch) -> tuple[Words, Words]:
    return id_keys(rows.column(ID).to_pylist()), DIGESTER.digests(rows)


class Crash(BaseException):
    """The process ends here."""


def records(*names: str, sampled_out: int = 0) -> list[Record]:
    rows = [census.row(name, truth=len(name) % 2) for name in names]
    parsed = Parser(SCHEMA).parse(census.body(*rows), LIMITS)
    identified = parsed.rows.append_column(IDENTITY, packed(*identify(parsed.rows)))
    made = [
        Record(Kind.INFERENCES, parsed.rows.num_rows, memoryview(identified.serialize()), 5, 1, sampled_out),
        Record(Kind.GROUND_TRUTH, parsed.truth.num_rows, memoryview(parsed.truth.serialize()), 5, 1),
    ]
    return [r for r in made if r.rows or r.sampled_out]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """Opens the store of one folder again and again; the writer's thread is not started."""
    opened: list[Store] = []

    def open_again() -> Store:
        if opened:
            opened[-1].log.close()
        opened.append(Store.open(tmp_path, SCHEMA))
        return opened[-1]

    yield open_again
    opened[-1].log.close()


def write_all(store: Store) -> None:
    while store.writer.position < store.log.durable:
        store.writer._pass()


def ids(table: AppendTable) -> list[str]:
    """By an independent reader, from the files as they are."""
    found = pa.table(DeltaTable(str(table.folder)).to_pyarrow_table()).column("partner_inference_id")
    return sorted(found.to_pylist())


# Before and after every step that leaves something on the disk.
STEPS = [
    (delta_module, "write_parquet"),
    (delta_module, "sync_file"),
    (delta_module, "sync_folder"),
    (delta_module, "write_mark_quietly"),
    (DeltaTable, "create_write_transaction"),
    (DeltaTable, "update_incremental"),
    (verify_module, "replace_file"),
    (SegmentLog, "cut"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[name for _, name in STEPS])
def test_a_process_that_ends_at_any_step_stores_every_row_once(
    stores: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, call: int, after: bool
) -> None:
    store = stores()
    store.log.append(records("a", "b")).result(10)
    write_all(store)
    store.log.append([*records("c", "dd", sampled_out=3), *records("eee")]).result(10)
    real, calls = getattr(owner, step), [0]

    def crashing(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Crash
        result = real(*arguments, **more)
        if calls[0] == call:
            raise Crash
        return result

    monkeypatch.setattr(owner, step, crashing)
    crashed = False
    try:
        write_all(store)
    except Crash:
        crashed = True
    monkeypatch.setattr(owner, step, real)
    assert crashed or calls[0] < call
    again = stores()
    assert again.warning is None
    assert again.ledger.totals.balanced
    again.log.append(records("ffff")).result(10)
    write_all(again)
    for table in (again.tables.inferences, again.tables.truth):
        assert ids(table) == ["a", "b", "c", "dd", "eee", "ffff"]
    totals = again.ledger.totals
    assert (totals.acknowledged, totals.stored, totals.waiting, totals.sampled_out) == (9, 6, 0, 3)
    last = stores()
    assert last.ledger.totals.acknowledged == 9
    assert last.ledger.totals.labels == 6
    assert len(last.ids) == 6


@pytest.mark.parametrize("step", ["write_parquet", "create_write_transaction"])
def test_a_full_disk_stops_a_pass_and_the_next_one_writes_all(
    stores: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = stores()
    store.log.append(records("a", "b")).result(10)
    owner: Any = delta_module if step == "write_parquet" else DeltaTable
    real = getattr(owner, step)

    def full(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(owner, step, full)
    for _ in range(2):
        with pytest.raises((OSError, CommitError), match="No space"):
            store.writer._pass()
    monkeypatch.setattr(owner, step, real)
    write_all(store)
    assert ids(store.tables.inferences) == ids(store.tables.truth) == ["a", "b"]
    assert len(list(store.tables.inferences.folder.glob("part-*"))) == 1


def test_a_commit_that_reports_an_error_but_happened_is_not_repeated(
    stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores()
    store.log.append(records("a")).result(10)
    real = DeltaTable.create_write_transaction

    def lying(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        raise OSError(errno.EIO, "the answer was lost")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lying)
    write_all(store)
    monkeypatch.setattr(DeltaTable, "create_write_transaction", real)
    store.log.append(records("b")).result(10)
    write_all(store)
    assert ids(store.tables.inferences) == ids(store.tables.truth) == ["a", "b"]


def test_a_commit_that_cannot_be_synced_stops_the_writer_for_good(
    stores: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores()
    store.log.append(records("a")).result(10)

    def failing(_path: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(delta_module, "sync_file", failing)
    with pytest.raises(NotDurableError, match="Input/output error"):
        store.writer._pass()


@pytest.mark.parametrize("prefix", range(6))
def test_tables_written_from_any_prefix_and_then_the_rest_are_the_same(stores: Any, prefix: int) -> None:
    store = stores()
    for name in ("a", "b", "c", "d", "e"):
        if name == "abcde"[prefix : prefix + 1]:
            write_all(store)
            store = stores()
        store.log.append(records(name)).result(10)
    write_all(store)
    assert ids(store.tables.inferences) == ids(store.tables.truth) == ["a", "b", "c", "d", "e"]


def test_rows_that_vanished_from_the_table_are_told(stores: Any) -> None:
    store = stores()
    store.log.append(records("a", "b")).result(10)
    write_all(store)
    store.tables.inferences.commit([], {"modelwarden/acknowledged": 5})
    again = stores()
    assert "has 2 rows, but 5 were acknowledged" in again.warning


def test_a_start_believes_the_index_on_the_disk_as_far_as_the_table_goes(
    stores: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = stores()
    store.log.append(records("a", "b", sampled_out=1)).result(10)
    write_all(store)
    store.ids.flush()
    store.log.append(records("c")).result(10)
    write_all(store)
    before = store.ledger.totals
    opened_files: list[Any] = []
    real = AppendTable.read
    monkeypatch.setattr(
        AppendTable, "read", lambda self, files, *more: opened_files.extend(files) or real(self, files, *more)
    )
    again = stores()
    assert (len(again.ids), [file.rows for file in opened_files]) == (3, [1])
    assert again.ledger.totals == before
    again.ids.flush()
    opened_files.clear()
    assert (len(stores().ids), opened_files) == (3, [])
    (kept,) = (tmp_path / "index" / "ids").glob("kept.json")
    kept.write_bytes(kept.read_bytes()[:-1])
    last = stores()
    assert (len(last.ids), len(opened_files)) == (3, 2)
    keys, digests = identify(Parser(SCHEMA).parse(census.body(census.row("c", truth=1)), LIMITS).rows)
    assert last.ids.look_up(keys, digests).tolist() == [1]
