"""The writer may be stopped between any two of its steps: what the tables hold in the end is the same."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import census_like as census
import pytest
from crash_steps import STEPS, crash_at, ids, open_again_and_again, write_all
from deltalake import DeltaTable
from log_records import LIMITS, SCHEMA, identify, records, stage

from modelwarden_server.log import segments as segments_module
from modelwarden_server.log.protocol import LogFailedError, LogFullError
from modelwarden_server.schema.parser import Parser
from modelwarden_server.store import delta as delta_module
from modelwarden_server.store.delta import AppendTable, CommitError, NotDurableError


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """Opens the store of one folder again and again; the writer's thread is not started."""
    with open_again_and_again(tmp_path) as open_again:
        yield open_again


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
    crash_at(lambda: write_all(store), monkeypatch, (owner, step), call, after=after)
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


@pytest.mark.parametrize(("reason", "gone"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_file_is_gone_if_the_log_certainly_did_not_take_it(
    stores: Any, monkeypatch: pytest.MonkeyPatch, reason: int, gone: bool
) -> None:
    """After a failed write nobody knows what is on the disk: the next start finds out."""
    store = stores()

    def failing(*_arguments: Any) -> int:
        raise OSError(reason, os.strerror(reason))

    staged = stage(store, "inferences", "a")
    monkeypatch.setattr(segments_module, "write_all", failing)
    with pytest.raises(LogFullError if gone else LogFailedError):
        store.take_file(staged).result(10)
    keys, digests = identify(Parser(SCHEMA).parse(census.body(census.row("a", truth=1)), LIMITS).rows)
    assert store.ids.look_up(keys, digests).tolist() == [0]
    assert store.ids.in_flight(keys).tolist() == [not gone]
    assert [path.name for path in store.folders.staged.iterdir()] == ([] if gone else [staged.name])


def test_arrivals_never_go_back_though_the_clock_does(stores: Any) -> None:
    store, now = stores(), [1000.0]
    store.clock = lambda: now[0]
    first = store.arrival()
    now[0] = 10.0
    second = store.arrival()
    assert first < second
    store.log.append(records("a", arrival=second)).result(10)
    write_all(store)
    again = stores()
    again.clock = lambda: now[0]
    assert again.arrival() > second


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

    real = delta_module.sync_file
    monkeypatch.setattr(delta_module, "sync_file", failing)
    with pytest.raises(NotDurableError, match="Input/output error"):
        store.writer._pass()
    monkeypatch.setattr(delta_module, "sync_file", real)
    with pytest.raises(NotDurableError):
        store.tables.truth.commit([], {"anybody": 1})


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
