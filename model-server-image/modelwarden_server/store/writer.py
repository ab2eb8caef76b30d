"""From the log to the tables, in order, exactly once: the only thread that writes inferences and labels.

One pass takes what is durable in the log, commits the labels, then the inferences with the position in the
log and the running counts in the same entry, and only then lets the log be cut. A pass that is killed
anywhere is repeated from the position that the tables name. Must not decide which rows are good: what is
in the log has been acknowledged.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelwarden_server.log.protocol import Log, LogDamagedError
from modelwarden_server.schema.compiled import EVENT_TIME, CompiledSchema
from modelwarden_server.store.delta import AppendTable, Commit, CommitError, NotDurableError
from modelwarden_server.store.ledger import Ledger
from modelwarden_server.store.listening import CommitListener, Listeners, Told
from modelwarden_server.store.passes import Pass, joined, take
from modelwarden_server.store.staged import StagedFile

log = logging.getLogger(__name__)

ACKNOWLEDGED = "modelwarden/acknowledged"
SAMPLED_OUT = "modelwarden/sampled-out"
REFUSED = "modelwarden/refused"
RETIRED = "modelwarden/retired"
FORGOTTEN = "modelwarden/forgotten"
RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
FORCED_SECONDS = 0.2
"""Passes that somebody waits for begin at least so long after each other, however many ask."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When a pass begins: `rows` wait, or the first of them has waited for `seconds`."""

    rows: int = 20_000
    seconds: float = 2.0


DEFAULT_PACE = Pace()


@dataclass(frozen=True)
class Tables:
    """The tables that the writer owns, and the folder of files that wait to be linked into them."""

    inferences: AppendTable
    truth: AppendTable
    staged: Path


class Writer:
    """The writer of one cell. Start it once; `close` makes a last pass."""

    def __init__(
        self, source: Log, tables: Tables, schema: CompiledSchema, ledger: Ledger, pace: Pace = DEFAULT_PACE
    ) -> None:
        self._log = source
        self._tables = tables
        self._schema = schema
        self._ledger = ledger
        self._pace = pace
        self.listeners = Listeners()
        self.reached: Callable[[int, int], None] = lambda _position, _version: None
        """Told of the position in the log and the version of the inferences after each pass."""
        self._batches: list[Callable[[Mapping[str, Any]], None]] = []
        self._observers: list[Callable[[str, Commit], None]] = []
        self._position = tables.inferences.transaction(source.identity) or 0
        self._labels_position = tables.truth.transaction(source.identity) or 0
        self._acknowledged = tables.inferences.transaction(ACKNOWLEDGED) or 0
        self._sampled_out = tables.inferences.transaction(SAMPLED_OUT) or 0
        self._change = threading.Condition()
        self._urgent = 0
        self._forced = float("-inf")
        self._closing = False
        self._problem: str | None = None
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    @property
    def position(self) -> int:
        """The last record of the log that is in the tables."""
        return self._position

    @property
    def labels_position(self) -> int:
        """The last record whose labels are in the tables: at least `position`, after a crash more."""
        return max(self._labels_position, self._position)

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
        self.listeners.add(listener)

    def observe(self, observer: Callable[[str, Commit], None]) -> None:
        """Have `observer` told of each commit with the table's name, for metrics. Before `start`."""
        self._observers.append(observer)

    def on_batch(self, keep: Callable[[Mapping[str, Any]], None]) -> None:
        """Have `keep` told of each BATCH record, before the log may be cut. Before `start`.

        It makes the news durable before it returns, and may be told of the same record twice. What it raises
        (OSError) has the pass tried again.
        """
        self._batches.append(keep)

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
                forced = self._urgent > self._position
                until = min(due, self._forced + FORCED_SECONDS) if forced else due
                left = until - time.monotonic()
                if left <= 0:
                    if forced:
                        self._forced = time.monotonic()
                    break
                self._change.wait(left)
            return self._log.durable > self._position

    def _due(self) -> bool:
        return self._closing or self._ledger.totals.waiting >= self._pace.rows

    def _pass(self) -> None:
        """Take records, commit them, tell everyone. Raises what the log and the tables raise."""
        taken = take(self._log, self._schema, self._position, self._labels_position)
        for batch in taken.batches:
            for keep in self._batches:
                keep(batch)
        truth = self._commit_labels(taken)
        inferences = self._commit_inferences(taken)
        with self._change:
            self._position = taken.through
            self._change.notify_all()
        self.reached(taken.through, inferences.version)
        self._log.cut(taken.through)
        for file in (*taken.files, *taken.label_files):
            (self._tables.staged / file.name).unlink(missing_ok=True)
        self.listeners.tell(inferences, truth)

    def _commit_labels(self, taken: Pass) -> Told | None:
        """The labels, with the position: a pass that is repeated leaves them out."""
        if not taken.label_rows:
            return None
        table = self._tables.truth
        rows = joined(taken.labels) if taken.labels else None
        commit = self._commit(table, rows, taken.label_files, {self._log.identity: taken.through})
        self._labels_position = taken.through
        self._ledger.labels_stored(taken.label_rows)
        self._observed("ground_truth", commit)
        return _told(commit, rows, taken.label_files)

    def _commit_inferences(self, taken: Pass) -> Told:
        """The inferences, the position and the running counts, in one entry."""
        acknowledged = self._acknowledged + taken.rows + taken.sampled_out
        sampled_out = self._sampled_out + taken.sampled_out
        numbers = {
            self._log.identity: taken.through,
            ACKNOWLEDGED: acknowledged,
            SAMPLED_OUT: sampled_out,
            REFUSED: self._ledger.totals.refused,
        }
        rows = joined(taken.inferences) if taken.inferences else None
        commit = self._commit(self._tables.inferences, rows, taken.files, numbers)
        self._acknowledged, self._sampled_out = acknowledged, sampled_out
        self._ledger.stored(taken.rows, _newest(commit))
        self._observed("inferences", commit)
        return _told(commit, rows, taken.files)

    def _commit(
        self, table: AppendTable, rows: pa.Table | None, files: list[StagedFile], numbers: Mapping[str, int]
    ) -> Commit:
        """One version with the rows and the staged files, which stay where they are until the log is cut."""
        started = time.perf_counter()
        with table.turn:
            found = []
            try:
                if rows is not None:
                    found.append(table.stage(rows.to_batches()))
                for staged in files:
                    found.append(table.link(self._tables.staged / staged.name, staged.data_file))  # noqa: PERF401
            except BaseException:
                table.discard(found)
                raise
            return table.commit(found, numbers, started=started)

    def _observed(self, table: str, commit: Commit) -> None:
        for observer in self._observers:
            observer(table, commit)


def _told(commit: Commit, rows: pa.Table | None, files: list[StagedFile]) -> Told:
    if files:
        return Told(commit.version, None)
    return Told(commit.version, [] if rows is None else rows.to_batches())


def _newest(commit: Commit) -> int | None:
    """The latest event time among the files of a commit."""
    return max((file.newest[EVENT_TIME] for file in commit.files if EVENT_TIME in file.newest), default=None)
