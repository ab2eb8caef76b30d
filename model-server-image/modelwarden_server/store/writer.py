"""From the log to the tables, in order, exactly once: the only thread that writes inferences and labels.

One pass takes what is durable in the log, commits the labels, then the inferences with the position in the
log and the running counts in the same entry, and only then lets the log be cut. A pass that is killed
anywhere is repeated from the position that the tables name. Must not decide which rows are good: what is
in the log has been acknowledged.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from modelwarden_server.log.protocol import Kind, Log, LogDamagedError, Record
from modelwarden_server.schema.compiled import (
    ARRIVAL_TIME,
    EVENT_TIME,
    GENERATION,
    IDENTITY,
    INSTANT,
    CompiledSchema,
)
from modelwarden_server.schema.digest import Words, unpacked
from modelwarden_server.schema.instants import bounds
from modelwarden_server.store.delta import AppendTable, Commit, CommitError, NotDurableError
from modelwarden_server.store.id_journal import IdJournal
from modelwarden_server.store.ledger import Ledger

log = logging.getLogger(__name__)

ACKNOWLEDGED = "modelwarden/acknowledged"
SAMPLED_OUT = "modelwarden/sampled-out"
REFUSED = "modelwarden/refused"
MOST_ROWS = 100_000
MOST_BYTES = 64 << 20
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)


class CommitListener(Protocol):
    """Someone who folds what was committed. Called by the writer's thread, after the commit is durable."""

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """Version `version` of the inferences added these rows (maybe none), with the table's columns.

        What a listener misses, because it fails or because the process ends, it finds in the table later:
        `AppendTable.files_added(since)`. An exception is logged and does not stop the writer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """When a pass begins: `rows` wait, or the first of them has waited for `seconds`."""

    rows: int = 20_000
    seconds: float = 2.0


DEFAULT_PACE = Pace()


@dataclass
class _Pass:
    """What one pass takes from the log."""

    through: int
    inferences: list[pa.RecordBatch] = field(default_factory=list)
    identities: list[Words] = field(default_factory=list)
    labels: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    sampled_out: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Tables:
    """The tables that the writer owns, and what is kept beside them."""

    inferences: AppendTable
    truth: AppendTable
    journal: IdJournal


class Writer:
    """The writer of one cell. Start it once; `close` makes a last pass."""

    def __init__(
        self, source: Log, tables: Tables, schema: CompiledSchema, ledger: Ledger, pace: Pace = DEFAULT_PACE
    ) -> None:
        self._log = source
        self._tables = tables
        self._journal = tables.journal
        self._schema = schema
        self._ledger = ledger
        self._pace = pace
        self._listeners: list[CommitListener] = []
        self._observers: list[Callable[[str, Commit], None]] = []
        self._position = tables.inferences.transaction(source.identity) or 0
        self._labels_position = tables.truth.transaction(source.identity) or 0
        self._acknowledged = tables.inferences.transaction(ACKNOWLEDGED) or 0
        self._sampled_out = tables.inferences.transaction(SAMPLED_OUT) or 0
        self._change = threading.Condition()
        self._urgent = 0
        self._closing = False
        self._problem: str | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def position(self) -> int:
        """The last record of the log that is in the tables."""
        return self._position

    @property
    def problem(self) -> str | None:
        """Why rows wait in the log at the moment, or None. It goes away by itself once the cause has."""
        return self._problem

    @property
    def failure(self) -> str | None:
        """Why the writer has stopped for good, or None."""
        return self._failure

    def listen(self, listener: CommitListener) -> None:
        """Have `listener` told of commits from the next one on. Before `start`."""
        self._listeners.append(listener)

    def observe(self, observer: Callable[[str, Commit], None]) -> None:
        """Have `observer` told of each commit with the table's name, for metrics. Before `start`."""
        self._observers.append(observer)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something has become durable in the log."""
        with self._change:
            self._change.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all that was acknowledged before is in the tables; False after `timeout` seconds."""
        target = self._log.durable
        with self._change:
            self._urgent = max(self._urgent, target)
            self._change.notify_all()
            return self._change.wait_for(
                lambda: self._position >= target or self._failure is not None, timeout
            ) and (self._position >= target)

    def close(self, timeout: float) -> bool:
        """Write what waits and stop; False if rows are left in the log for the next start."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return self._position >= self._log.durable

    def _run(self) -> None:
        failures = 0
        while self._wait_for_rows():
            try:
                self._pass()
                failures, self._problem = 0, None
            except (CommitError, OSError, pa.ArrowException) as error:
                self._problem = f"the tables cannot be written, rows wait in the log: {error}"
                log.error("%s", self._problem)
                self._rest(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
                if self._closing and failures > 1:
                    return
            except (NotDurableError, LogDamagedError) as error:
                self._fail(str(error))
                return
            except BaseException as error:  # the edge of the thread; deltalake's panics are no Exception
                log.exception("the writer stopped")
                self._fail(f"the writer stopped: {type(error).__name__}")
                return

    def _fail(self, reason: str) -> None:
        log.critical("%s", reason)
        with self._change:
            self._failure = reason
            self._change.notify_all()

    def _rest(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._closing, seconds)

    def _wait_for_rows(self) -> bool:
        """Wait until a pass is due; False when there will be none."""
        with self._change:
            self._change.wait_for(lambda: self._log.durable > self._position or self._closing)
            due = time.monotonic() + self._pace.seconds
            while not self._due():
                left = due - time.monotonic()
                if left <= 0:
                    break
                self._change.wait(left)
            return self._log.durable > self._position

    def _due(self) -> bool:
        waiting = self._ledger.totals.waiting
        return self._closing or self._urgent > self._position or waiting >= self._pace.rows

    def _pass(self) -> None:
        """Take records, commit them, tell everyone. Raises what the log and the tables raise."""
        taken = self._take()
        identity = self._log.identity
        if taken.labels:
            commit = self._tables.truth.append(_joined(taken.labels), {identity: taken.through})
            self._labels_position = taken.through
            self._observed("ground_truth", commit)
        rows = _joined(taken.inferences) if taken.inferences else None
        acknowledged = self._acknowledged + taken.rows + taken.sampled_out
        sampled_out = self._sampled_out + taken.sampled_out
        numbers = {
            identity: taken.through,
            ACKNOWLEDGED: acknowledged,
            SAMPLED_OUT: sampled_out,
            REFUSED: self._ledger.totals.refused,
        }
        table = self._tables.inferences
        commit = table.commit([], numbers) if rows is None else table.append(rows, numbers)
        self._acknowledged, self._sampled_out = acknowledged, sampled_out
        newest = None if rows is None else bounds(rows.column(EVENT_TIME).combine_chunks())[1]
        self._ledger.stored(taken.rows, newest)
        with self._change:
            self._position = taken.through
            self._change.notify_all()
        for file in commit.files:
            self._journal.append(file, taken.identities)
        self._log.cut(taken.through)
        self._observed("inferences", commit)
        self._tell(commit.version, [] if rows is None else rows.to_batches())

    def _take(self) -> _Pass:
        taken = _Pass(self._position)
        schema = self._schema
        for record in self._log.read(self._position):
            taken.through = record.sequence
            taken.bytes += len(record.payload)
            if record.kind is Kind.INFERENCES:
                taken.rows += record.rows
                taken.sampled_out += record.sampled_out
                if record.rows:
                    batch = _read(record, schema.inference_log)
                    taken.identities.append(unpacked(batch.column(IDENTITY)))
                    taken.inferences.append(_completed(batch, record, schema.inference_table))
            elif record.sequence > self._labels_position and record.rows:
                batch = _read(record, schema.truth_record)
                taken.labels.append(_completed(batch, record, schema.truth_table))
            if taken.rows >= MOST_ROWS or taken.bytes >= MOST_BYTES:
                break
        return taken

    def _tell(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        for listener in self._listeners:
            try:
                listener.fold(version, batches)
            except Exception:
                log.exception("a listener failed at version %d of the inferences", version)

    def _observed(self, table: str, commit: Commit) -> None:
        for observer in self._observers:
            observer(table, commit)


def _read(record: Record, schema: pa.Schema) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(pa.py_buffer(record.payload), schema)


def _completed(batch: pa.RecordBatch, record: Record, table: pa.Schema) -> pa.RecordBatch:
    """A record's rows with the columns that the record carries once for all of them."""
    once = {
        ARRIVAL_TIME: pa.repeat(pa.scalar(record.arrival, INSTANT), batch.num_rows),
        GENERATION: pa.repeat(pa.scalar(record.generation, pa.int64()), batch.num_rows),
    }
    columns = [once[name] if name in once else batch.column(name) for name in table.names]
    return pa.RecordBatch.from_arrays(columns, schema=table)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """One chunk a column: parquet makes a row group of every chunk it is given."""
    return pa.Table.from_batches(batches).combine_chunks()
