"""What became of every row, counted so that at any moment the sum is right.

acknowledged = stored + waiting + rejected later + sampled out. Rows that were removed from the tables since,
for their age or on request, stay counted as stored and are told as `retired` and `forgotten`. Rows are
counted as acknowledged by the log's thread when they are durable, before the writer can see them, and as
stored by the writer when their commit is durable: both under one lock, so no reader ever sees a row in two
places or in none. Nothing is
rejected later on a volume's log, because ids are asked before it. Must not do input or output.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from modelwarden_server.log.protocol import Kind, Record
from modelwarden_server.store.staged import StagedFile

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE


@dataclass(frozen=True, slots=True)
class Totals:
    """A consistent set of counts. Instants are microseconds since 1970."""

    acknowledged: int = 0
    stored: int = 0
    waiting: int = 0
    rejected_later: int = 0
    sampled_out: int = 0
    refused: int = 0
    conflicts: int = 0
    repeated: int = 0
    labels: int = 0
    labels_stored: int = 0
    labels_waiting: int = 0
    labels_repeated: int = 0
    labels_sampled_out: int = 0
    retired: int = 0
    forgotten: int = 0
    newest_arrival: int | None = None
    newest_event: int | None = None

    @property
    def labels_on_their_way(self) -> int:
        """Labels that are in the log and not yet in the table."""
        return self.labels - self.labels_stored

    @property
    def balanced(self) -> bool:
        """Whether every acknowledged row is in exactly one place."""
        return self.acknowledged == self.stored + self.waiting + self.rejected_later + self.sampled_out


class Ledger:
    """The counts of one cell. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._totals = Totals()
        self._minutes: dict[int, int] = {}

    @property
    def totals(self) -> Totals:
        """The counts now."""
        with self._lock:
            return self._totals

    def restore(self, totals: Totals) -> None:
        """Begin with what the tables say."""
        with self._lock:
            self._totals = totals

    def durable(self, records: Iterable[Record]) -> None:
        """Records have become durable in the log."""
        with self._lock:
            for record in records:
                self._durable(record)

    def stored(self, rows: int, newest_event: int | None) -> None:
        """Rows that waited are in the tables now."""
        with self._lock:
            t = self._totals
            self._totals = replace(
                t,
                stored=t.stored + rows,
                waiting=t.waiting - rows,
                newest_event=_later(t.newest_event, newest_event),
            )

    def labels_stored(self, rows: int) -> None:
        """Labels that were in the log are in the table now."""
        with self._lock:
            t = self._totals
            self._totals = replace(t, labels_stored=t.labels_stored + rows)

    def removed(self, *, retired: int = 0, forgotten: int = 0) -> None:
        """Stored rows were removed from the table, for their age or on request."""
        with self._lock:
            t = self._totals
            self._totals = replace(t, retired=t.retired + retired, forgotten=t.forgotten + forgotten)

    def refused(self, rows: int, conflicts: int = 0) -> None:
        """Rows were answered with an error; so many more because their id was sent before with other data, or
        has been forgotten.
        """
        with self._lock:
            t = self._totals
            self._totals = replace(t, refused=t.refused + rows + conflicts, conflicts=t.conflicts + conflicts)

    def repeated(self, rows: int) -> None:
        """Rows had been taken in before, with the same data."""
        with self._lock:
            self._totals = replace(self._totals, repeated=self._totals.repeated + rows)

    def labels_waiting(self, labels: int) -> None:
        """So many labels in the table wait for an inference that has not been seen."""
        with self._lock:
            self._totals = replace(self._totals, labels_waiting=labels)

    def labels_left(self, repeated: int, sampled_out: int) -> None:
        """Labels were acknowledged and not stored: known with the same data, or left out by sampling."""
        with self._lock:
            t = self._totals
            self._totals = replace(
                t,
                labels_repeated=t.labels_repeated + repeated,
                labels_sampled_out=t.labels_sampled_out + sampled_out,
            )

    def arrived(self, minute: int, rows: int) -> None:
        """Rows that arrived in a minute (since 1970), for `last_hour`."""
        with self._lock:
            self._arrived(minute, rows)

    def last_hour(self) -> int:
        """Inferences that arrived within the last hour, to the minute."""
        oldest = int(self._clock() // 60) - 60
        with self._lock:
            return sum(rows for minute, rows in self._minutes.items() if minute > oldest)

    def _durable(self, record: Record) -> None:
        t = self._totals
        if record.kind in (Kind.BATCH, Kind.FORGET):
            return
        if is_of_labels(record):
            self._totals = replace(t, labels=t.labels + record.rows)
            return
        self._totals = replace(
            t,
            acknowledged=t.acknowledged + record.rows + record.sampled_out,
            waiting=t.waiting + record.rows,
            sampled_out=t.sampled_out + record.sampled_out,
            newest_arrival=_later(t.newest_arrival, record.arrival),
        )
        self._arrived(record.arrival // _MINUTE, record.rows)

    def _arrived(self, minute: int, rows: int) -> None:
        self._minutes[minute] = self._minutes.get(minute, 0) + rows
        if len(self._minutes) > 180:
            oldest = int(self._clock() // 60) - 60
            self._minutes = {m: n for m, n in self._minutes.items() if m > oldest}


def is_of_labels(record: Record) -> bool:
    """Whether the record's rows, or those of the staged file that it names, are labels."""
    if record.kind is Kind.FILE:
        return StagedFile.decode(record.payload).table == "ground_truth"
    return record.kind is Kind.GROUND_TRUTH


def _later(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)
