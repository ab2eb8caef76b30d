"""Predictions as the cell keeps them: a log of their own, and a table that a thread brings it to.

<data>/predictions/log      durable before anybody is answered
<data>/tables/predictions   a row for each prediction (see `predictions`), the log's position in its entries

Also what becomes of rows later: files joined, rows removed for their age and on request. Any thread may
call. Must not know what is in a row, but for its id and when it came.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.log.protocol import Kind, LogDamagedError, Record
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.serving.predictions import PREDICTIONS
from modelwarden_server.store.delta import (
    AppendTable,
    CommitError,
    NotDurableError,
    Replacement,
    TableFile,
)
from modelwarden_server.store.rewriting import merge_files, rows_without
from modelwarden_server.store.steady import SteadyClock
from modelwarden_server.store.upkeep import KeepRules, to_merge, to_retire

log = logging.getLogger(__name__)
FINGERPRINT: Final = b"predictions, 1.."
PASS_BYTES: Final = 16 << 20
MOST_WAITING: Final = 256 << 20
FLUSH_SECONDS: Final = 10.0
UPKEEP_SECONDS: Final = 5.0
GRACE_SECONDS: Final = 600.0
LOG_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which predictions: all conditions hold; None: any."""

    run_id: str | None = None
    failed: bool | None = None
    monitored: bool | None = None

    def of(self, batch: pa.RecordBatch) -> pa.Array | None:
        """A mask of the rows that are chosen; None: all of them."""
        masks = []
        if self.run_id is not None:
            masks.append(pc.equal(batch.column("run_id"), self.run_id))
        if self.failed is not None:
            masks.append(pc.equal(pc.is_valid(batch.column("failure")), self.failed))
        if self.monitored is not None:
            masks.append(pc.equal(batch.column("monitored"), self.monitored))
        mask = masks[0] if masks else None
        for other in masks[1:]:
            mask = pc.and_(mask, other)
        return mask


@dataclass(frozen=True)
class Upkeep:
    """What the table's upkeep goes by. `commit_seconds`: the longest a row waits in the log for the table."""

    rules: Callable[[], KeepRules]
    clock: Callable[[], float]
    failed: Callable[[str], None]
    """Told when nothing can be promised any more."""
    commit_seconds: float = 2.0


@dataclass
class KeptPredictions:
    """See the module's text. Make it with `open`."""

    table: AppendTable
    log: SegmentLog
    upkeep: Upkeep
    problem: str | None = None
    _turn: threading.RLock = field(default_factory=threading.RLock)
    _wake: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(cls, root: Path, upkeep: Upkeep) -> "KeptPredictions":
        """Recover what is there, or make it new; its thread runs. Raises TableDamagedError, LogDamagedError,
        OSError, ValueError."""
        table = AppendTable.open(root / "tables" / "predictions", PREDICTIONS, frozenset({ID, "run_id"}))
        source = SegmentLog.open(
            root / "predictions" / "log", FINGERPRINT, lambda identity: table.transaction(identity) or 0
        )
        kept = cls(table, source, upkeep)
        kept._steady = SteadyClock(upkeep.clock, time.monotonic)
        kept._thread = threading.Thread(target=kept._run, name="predictions", daemon=True)
        kept._thread.start()
        return kept

    def __post_init__(self) -> None:
        self._steady: SteadyClock
        self._thread: threading.Thread
        self._after_upkeep = 0.0

    @property
    def rows(self) -> int:
        """Predictions in the table."""
        return self.table.rows

    @property
    def full(self) -> bool:
        """Whether too much waits for the table."""
        return self.log.waiting > MOST_WAITING

    def append(self, rows: pa.RecordBatch, arrival: int) -> "Future[int]":
        """Keep rows; see Log.append."""
        return self.log.append(
            [Record(Kind.INFERENCES, rows.num_rows, memoryview(rows.serialize()), arrival, 0)]
        )

    def flush(self) -> None:
        """Have in the table what is durable now. Raises CommitError, OSError."""
        deadline = time.monotonic() + FLUSH_SECONDS
        with self._turn:
            while self._pass() and time.monotonic() < deadline:
                pass

    def newest_first(self, selection: Selection) -> Iterator[pa.RecordBatch]:
        """The chosen rows, those that came last first. Raises OSError."""
        for file in reversed(self.table.files):
            for batch in reversed(list(self.table.read([file]))):
                mask = selection.of(batch)
                chosen = batch if mask is None else batch.filter(mask)
                if chosen.num_rows:
                    yield chosen.take(pa.array(range(chosen.num_rows - 1, -1, -1), pa.int64()))

    def count(self, selection: Selection) -> int:
        """How many there are. Raises OSError."""
        if selection == Selection():
            return self.table.rows
        columns = ["run_id", "failure", "monitored"]
        found = 0
        for batch in self.table.read(self.table.files, columns):
            found += int(pc.sum(selection.of(batch)).as_py() or 0)
        return found

    def find(self, prediction_id: str) -> dict[str, Any] | None:
        """The row of that id. Raises OSError."""
        for file in reversed(self.table.files):
            for batch in self.table.read([file], [ID]):
                if pc.index(batch.column(0), prediction_id).as_py() >= 0:
                    return self._row(file, prediction_id)
        return None

    def runs_since(self, instant: int) -> set[str]:
        """Runs of files whose newest row came since `instant` (microseconds since 1970)."""
        files = [file for file in self.table.files if max(file.newest.values(), default=0) >= instant]
        found: set[str] = set()
        for batch in self.table.read(files, ["run_id"]):
            found.update(pc.unique(batch.column(0)).to_pylist())
        return found

    def forget(self, keys: Words) -> None:
        """Remove the predictions of these ids (`Store.on_forget`): from the disk when it returns. Raises
        OSError, CommitError."""
        wanted = {tuple(key) for key in keys.tolist()}
        with self._turn:
            self.log.rotate()
            self.flush()
            for file in self.table.files:
                ids: set[str] = set()
                for batch in self.table.read([file], [ID]):
                    names = batch.column(0).to_pylist()
                    ids.update(
                        name
                        for name, key in zip(names, id_keys(names).tolist(), strict=True)
                        if tuple(key) in wanted
                    )
                if ids:
                    keep = partial(_without, pa.array(sorted(ids), pa.string()))
                    self.table.replace(rows_without(self.table, file, keep), {})
            self.table.vacuum(0.0)

    def close(self) -> None:
        """Bring the log to the table and release everything."""
        self._ended.set()
        self._wake.set()
        self._thread.join()
        try:
            self.flush()
        except (CommitError, NotDurableError, OSError) as error:
            log.warning("predictions stay in their log: %s", error)
        self.log.close()

    def _row(self, file: TableFile, prediction_id: str) -> dict[str, Any] | None:
        for batch in self.table.read([file]):
            found = batch.filter(pc.equal(batch.column(0), prediction_id))
            if found.num_rows:
                row: dict[str, Any] = found.slice(found.num_rows - 1).to_pylist()[0]
                return row
        return None

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.flush()
                self._tend()
                self.problem = None
            except (CommitError, OSError) as error:
                self.problem = f"predictions wait for their table: {error}"
                log.warning("%s", self.problem)
            except (NotDurableError, LogDamagedError) as error:
                self.upkeep.failed(str(error))
                return
            except BaseException as error:  # the edge of the thread; deltalake's panics are no Exception
                log.exception("predictions cannot be brought to their table")
                self.problem = f"predictions wait for their table: {type(error).__name__}"
            self._wake.wait(self.upkeep.commit_seconds)
            self._wake.clear()

    def _pass(self) -> bool:
        """Bring some of the log to the table; False if there was nothing."""
        position = self.table.transaction(self.log.identity) or 0
        batches: list[pa.RecordBatch] = []
        size = 0
        for record in self.log.read(position):
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(record.payload), PREDICTIONS))
            position, size = record.sequence, size + len(record.payload)
            if size >= PASS_BYTES:
                break
        if not batches:
            return False
        self._commit(batches, {self.log.identity: position})
        self.log.cut(position)
        return True

    def _commit(self, batches: list[pa.RecordBatch], reached: Mapping[str, int]) -> None:
        self.table.append(pa.Table.from_batches(batches).combine_chunks(), reached)

    def _tend(self) -> None:
        """Join files, remove old ones."""
        if time.monotonic() < self._after_upkeep:
            return
        self._after_upkeep = time.monotonic() + UPKEEP_SECONDS
        rules, now = self.upkeep.rules(), self.upkeep.clock()
        if rules.seconds is not None and not self._steady.steady():
            rules = KeepRules(table_bytes=rules.table_bytes)
        table = self.table
        with self._turn:
            old = to_retire(table.files, table.version, rules, now)
            if old:
                table.replace(Replacement(old, [], rows_change=True), {})
            while files := to_merge(table.files, table.version, rules, now):
                merge_files(table, files)
            table.vacuum(GRACE_SECONDS)
            table.trim_log(LOG_SECONDS)


def _without(gone: pa.Array, batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.filter(pc.invert(pc.is_in(batch.column(0), gone)))
