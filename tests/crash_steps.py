"""A store whose process ends at a chosen step, and is opened again: before and after each step that leaves
something on the disk.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from log_records import SCHEMA

from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.store import delta as delta_module
from modelwarden_server.store import verify as verify_module
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.store import Store

Step = tuple[Any, str]


class Crash(BaseException):
    """The process ends here."""


@contextmanager
def open_again_and_again(folder: Path) -> Iterator[Callable[[], Store]]:
    """Opens the store of one folder, as often as it is called; no thread but the log's is started."""
    opened: list[Store] = []

    def open_again() -> Store:
        if opened:
            opened[-1].log.close()
        opened.append(Store.open(folder, SCHEMA))
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
STEPS: list[Step] = [
    (delta_module, "write_parquet"),
    (delta_module, "sync_file"),
    (delta_module, "sync_folder"),
    (delta_module, "write_mark_quietly"),
    (DeltaTable, "create_write_transaction"),
    (DeltaTable, "update_incremental"),
    (verify_module, "replace_file"),
    (SegmentLog, "cut"),
]
STEPS_OF_FILES: list[Step] = [(AppendTable, "link"), (os, "link"), (Path, "unlink"), *STEPS]


def crash_at(
    work: Callable[[], object], monkeypatch: pytest.MonkeyPatch, step: Step, call: int, *, after: bool
) -> None:
    """Do the work; the process ends before or after the given call of a step, if there are so many."""
    owner, name = step
    real, calls = getattr(owner, name), [0]

    def crashing(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Crash
        result = real(*arguments, **more)
        if calls[0] == call:
            raise Crash
        return result

    monkeypatch.setattr(owner, name, crashing)
    crashed = False
    try:
        work()
    except Crash:
        crashed = True
    monkeypatch.setattr(owner, name, real)
    assert crashed or calls[0] < call
