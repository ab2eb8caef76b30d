"""What is done to the tables beside writing them: forgetting, retention, compaction, vacuum. One thing at a
time, on a thread of its own, with bounded memory.

The writer never waits for more than one commit: files are written first, and only naming them in the table
takes its turn. Whatever is interrupted is done again from what the tables say. Must not know why a row is to
be forgotten.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.schema.compiled import BATCH, EVENT_TIME
from modelwarden_server.store.delta import AppendTable, CommitError, NotDurableError, Replacement, TableFile
from modelwarden_server.store.ledger import Ledger
from modelwarden_server.store.listening import Listeners, Settled
from modelwarden_server.store.rewriting import merge_files
from modelwarden_server.store.steady import SteadyClock
from modelwarden_server.store.upkeep import KeepRules, to_merge, to_retire
from modelwarden_server.store.writer import RETIRED, Tables

log = logging.getLogger(__name__)
SLICE_SECONDS = 300
_MICROS = 1_000_000


class Duty(Protocol):
    """Something else that maintenance does when it is due."""

    def attend(self) -> bool:
        """Do one piece of work; False if there is none. Raises OSError or CommitError to be asked again."""
        ...


@dataclass(frozen=True)
class MaintenancePace:
    """Seconds between looks, for which replaced files stay for readers, and for which entries of a table's
    log stay though checkpoints have them.
    """

    look: float = 5.0
    grace: float = 600.0
    log_seconds: float = 3600.0


DEFAULT_PACE = MaintenancePace()


@dataclass
class Done:
    """What has been done since the start."""

    compactions: int = 0
    files_merged: int = 0
    rows_retired: int = 0
    last_compaction: datetime | None = None
    last_retirement: datetime | None = None
    problem: str | None = None


@dataclass
class Maintenance:
    """See the module's text. `rules` is asked before each look; `duties` come first, in their order.

    `kept_ids` tells up to which version of the inferences their ids are known without the table;
    `labels_retired` are told of files of labels before these are removed for their age, maybe twice.
    """

    tables: Tables
    ledger: Ledger
    listeners: Listeners
    kept_ids: Callable[[], int]
    clock: Callable[[], float]
    pace: MaintenancePace = field(default_factory=lambda: DEFAULT_PACE)
    rules: Callable[[], KeepRules] = KeepRules
    done: Done = field(default_factory=Done)
    failure: str | None = None
    duties: list[Duty] = field(default_factory=list)
    labels_retired: list[Callable[[Sequence[TableFile]], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steady = SteadyClock(self.clock, time.monotonic)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="maintenance", daemon=True)

    def start(self) -> None:
        """Begin. All listeners have been added."""
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def stop(self) -> None:
        """Finish what is being done."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def attend(self) -> bool:
        """Do one piece of work, the most urgent; False if there is none. For the thread, and for tests."""
        return any(duty.attend() for duty in self.duties) or self._retire() or self._merge() or self._tidy()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                while self.attend() and not self._stopping.is_set():
                    pass
                self.done.problem = None
            except (CommitError, OSError, pa.ArrowException) as error:
                self.done.problem = f"maintenance is behind: {error}"
                log.warning("%s", self.done.problem)
            except NotDurableError as error:
                self.failure = str(error)
                return
            except BaseException as error:  # the edge of the thread; deltalake's panics are no Exception
                log.exception("maintenance failed")
                self.done.problem = f"maintenance failed: {type(error).__name__}"
            self._wake.wait(self.pace.look)
            self._wake.clear()

    def _merge(self) -> bool:
        settled = self._settled()
        reaches = ((self.tables.inferences, settled.inferences), (self.tables.truth, settled.truth))
        for table, reach in reaches:
            files = to_merge(table.files, reach, self.rules(), self.clock())
            if files:
                merge_files(table, files)
                self.done.compactions += 1
                self.done.files_merged += len(files)
                self.done.last_compaction = datetime.fromtimestamp(self.clock(), UTC)
                return True
        return False

    def _retire(self) -> bool:
        """Remove rows for their age or number; the slices they belong to are sealed before."""
        steady = self.steady.steady()
        rules = self.rules()
        if rules.seconds is not None and not steady:
            rules = KeepRules(table_bytes=rules.table_bytes)
        settled = self._settled()
        table = self.tables.inferences
        files = to_retire(table.files, settled.inferences, rules, self.clock())
        if files:
            self.listeners.retired(*_belonging(table, files))
            self._remove(table, files)
            self.ledger.removed(retired=sum(file.rows for file in files))
            self.done.rows_retired += sum(file.rows for file in files)
            self.done.last_retirement = datetime.fromtimestamp(self.clock(), UTC)
            return True
        truth = self.tables.truth
        labels = to_retire(truth.files, settled.truth, rules.label_rules, self.clock())
        if labels:
            for hear in self.labels_retired:
                hear(labels)
            self._remove(truth, labels)
        return bool(labels)

    def _remove(self, table: AppendTable, files: Sequence[TableFile]) -> None:
        """The rows' number goes into the same entry, so that the sum of all rows is right after any crash."""
        retired = (table.transaction(RETIRED) or 0) + sum(file.rows for file in files)
        table.replace(Replacement(files, [], rows_change=True), {RETIRED: retired})

    def _tidy(self) -> bool:
        """Files that nobody needs any more. Never a reason to look again at once."""
        for table in (self.tables.inferences, self.tables.truth):
            table.vacuum(self.pace.grace)
            table.trim_log(self.pace.log_seconds)
        return False

    def _settled(self) -> Settled:
        told = self.listeners.settled()
        return Settled(min(told.inferences, self.kept_ids()), told.truth)


def _belonging(table: AppendTable, files: Sequence[TableFile]) -> tuple[list[int], list[str]]:
    """The slices and the batches that the rows of files belong to."""
    slices: set[int] = set()
    batches: set[str] = set()
    for batch in table.read(files, [EVENT_TIME, BATCH]):
        times = batch.column(0).cast(pa.int64()).drop_null().to_numpy()
        slices.update(np.unique(times // (SLICE_SECONDS * _MICROS)).tolist())
        batches.update(pc.unique(batch.column(1)).drop_null().to_pylist())
    return sorted(slices), sorted(batches)
