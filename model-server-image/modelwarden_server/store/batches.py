"""The batches of a batch model: which there are, how many rows each has, which are closed for good.

<data>/batches/closed.jsonl   one line a closed batch, synced before anyone is told
<data>/batches/counts.json    rows of each batch up to a version of the table

Rows are counted from the table of inferences, never from requests, so a count survives whatever happens
to the process. Thread-safe. Must not know HTTP.
"""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa

from modelwarden_server.durable import make_folder, replace_file, sync_file, sync_folder
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH
from modelwarden_server.store.listening import NEVER_ASKED, Settled
from modelwarden_server.store.rows_table import RowsTable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEEP_EVERY = 50


class BatchError(Exception):
    """What was asked of a batch cannot be done. The message says why and what to do."""


class UnknownBatchError(BatchError):
    """No row of that batch was taken in."""


class BatchCountError(BatchError):
    """The number of rows that the client states is not the number that was taken in."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. `records` counts the rows in the table; instants are UTC."""

    id: str
    records: int
    created_at: datetime
    updated_at: datetime
    partner_record_count: int | None = None
    closed_at: datetime | None = None

    @property
    def status(self) -> Literal["started", "uploaded"]:
        """The documented word."""
        return "started" if self.closed_at is None else "uploaded"


class _Closed(msgspec.Struct, rename="camel"):
    batch_id: str
    closed_at: datetime
    total_record_count: int | None = None


class _Count(msgspec.Struct, array_like=True):
    rows: int
    first: int
    last: int


class _Counts(msgspec.Struct):
    version: int = -1
    batches: dict[str, _Count] = {}


class Batches:
    """All batches of one cell. Raises ValueError at the start for a damaged record of what is closed."""

    def __init__(self, folder: Path, table: RowsTable, clock: Callable[[], float]) -> None:
        self._table, self._clock = table, clock
        self._closed_file, self._counts_file = folder / "closed.jsonl", folder / "counts.json"
        self._lock = threading.RLock()
        self._closing: Counter[str] = Counter()
        make_folder(folder)
        self._closed = {entry.batch_id: entry for entry in _read_closed(self._closed_file)}
        self._counts = _read_counts(self._counts_file, table.version)
        self._kept = self._counts.version

    def shut(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of these batches that take no more rows: closed, or just being closed.

        Never waits: whoever counts may hold the lock for as long as it takes to read a file.
        """
        if not self._closed and not self._closing:
            return frozenset()
        return frozenset(name for name in ids if name in self._closed or name in self._closing)

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """Version `version` of the table added these rows: count them without reading them again.

        Not if files before it are not counted yet; `catch_up` finds them all. It may have found this one,
        too: whoever closes a batch does not wait for listeners.
        """
        with self._lock:
            if version <= self._counts.version:
                return
            if any(file.version < version for file in self._table.files_added(self._counts.version)):
                return
            for batch in batches:
                self._count(batch)
            self._counts.version = version
            self._keep_now_and_then()

    def behind(self, version: int) -> None:
        """See CommitListener: the rows are counted when someone asks, for the status at the latest."""

    def fold_truth(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: labels are in no batch of their own."""

    def behind_truth(self, version: int) -> None:
        """See CommitListener."""

    def settled(self) -> Settled:
        """See CommitListener: as far as the counts are written down."""
        with self._lock:
            return Settled(self._kept, NEVER_ASKED)

    def retired(self, _slices: Sequence[int], _batches: Sequence[str]) -> None:
        """See CommitListener: rows that go have been counted."""
        self.catch_up()
        self.keep()

    def catch_up(self) -> None:
        """Count what the table has and was not counted yet. Raises OSError, pyarrow.ArrowInvalid."""
        with self._lock:
            files = self._table.files_added(self._counts.version)
            for batch in self._table.read(files, [BATCH, ARRIVAL_TIME]):
                self._count(batch)
            # Not the table's version: it is told before its files are.
            self._counts.version = max((file.version for file in files), default=self._counts.version)
            self._keep_now_and_then()

    def all(self) -> tuple[Batch, ...]:
        """Every batch, oldest first."""
        with self._lock:
            names = {*self._counts.batches, *self._closed}
            return tuple(sorted(map(self._batch, names), key=lambda b: (b.created_at, b.id)))

    def closed(self, most: int) -> tuple[Batch, ...]:
        """The batches that were closed last, newest first."""
        with self._lock:
            return tuple(self._batch(name) for name in list(self._closed)[: -most - 1 : -1])

    def get(self, name: str) -> Batch:
        """One batch. Raises UnknownBatchError."""
        with self._lock:
            if name not in self._counts.batches and name not in self._closed:
                raise UnknownBatchError(f"no row of batch {name[:100]!a} was taken in")
            return self._batch(name)

    def totals(self) -> tuple[int, int]:
        """How many batches are open and how many closed."""
        with self._lock:
            return len(self._counts.batches.keys() - self._closed.keys()), len(self._closed)

    def begin_closing(self, name: str) -> None:
        """Take no more rows of the batch; `close` or `give_up` decides for how long. On the event loop."""
        self._closing[name] += 1

    def give_up(self, name: str) -> None:
        """The batch is not closed after all, or already is. On the event loop."""
        self._closing[name] -= 1
        if self._closing[name] <= 0:
            del self._closing[name]

    def close(self, name: str, count: int | None, *, at_least: bool = False) -> Batch:
        """Close the batch with the number of rows the client states (None: with as many as there are).

        With `at_least` the client's number may be larger, because rows were left out by sampling. A second
        time with the same outcome changes nothing. Durable when this returns. Raises BatchError, OSError.
        """
        with self._lock:
            batch = self.get(name)
            fits = count is None or count == batch.records or (at_least and count > batch.records)
            if not fits:
                closed = "is closed already with" if batch.closed_at else "has"
                raise BatchCountError(
                    f"total_record_count is {count}, but batch {name[:100]!a} {closed} {batch.records}"
                    " rows: send what is missing, or close with the sum of counts.success"
                )
            if batch.closed_at is None:
                entry = _Closed(name, datetime.fromtimestamp(self._clock(), UTC), count)
                _append(self._closed_file, msgspec.json.encode(entry) + b"\n")
                self._closed[name] = entry
            return self._batch(name)

    def keep(self) -> None:
        """Write the counts down: the next start need not read the table, and rows may be removed from it."""
        with self._lock:
            replace_file(self._counts_file, msgspec.json.encode(self._counts))
            self._kept = self._counts.version

    def _keep_now_and_then(self) -> None:
        if self._counts.version - self._kept >= _KEEP_EVERY:
            self.keep()

    def _count(self, batch: pa.RecordBatch) -> None:
        columns = pa.table({"name": batch.column(BATCH), "at": batch.column(ARRIVAL_TIME).view(pa.int64())})
        grouped = columns.group_by("name").aggregate([("at", "count"), ("at", "min"), ("at", "max")])
        for row in grouped.to_pylist():
            name, rows, first, last = row["name"], row["at_count"], row["at_min"], row["at_max"]
            if name is None:
                continue
            known = self._counts.batches.get(name)
            if known is None:
                self._counts.batches[name] = _Count(rows, first, last)
            else:
                known.rows += rows
                known.first, known.last = min(known.first, first), max(known.last, last)

    def _batch(self, name: str) -> Batch:
        entry, count = self._closed.get(name), self._counts.batches.get(name)
        if count is None:
            assert entry is not None
            return Batch(name, 0, entry.closed_at, entry.closed_at, entry.total_record_count, entry.closed_at)
        first, last = (_EPOCH + timedelta(microseconds=us) for us in (count.first, count.last))
        batch = Batch(name, count.rows, first, last)
        if entry is None:
            return batch
        return replace(
            batch,
            updated_at=max(last, entry.closed_at),
            partner_record_count=entry.total_record_count,
            closed_at=entry.closed_at,
        )


def _read_closed(path: Path) -> list[_Closed]:
    """The closed batches. A last line that was never finished was promised to nobody, and goes."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(path, len(whole))
        sync_file(path)
    try:
        return [msgspec.json.decode(line, type=_Closed) for line in whole.splitlines()]
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name} in {path.parent.name} is damaged: {error}") from error


def _read_counts(path: Path, version: int) -> _Counts:
    """What was counted; nothing if the file is not there, broken, or ahead of the table."""
    try:
        counts = msgspec.json.decode(path.read_bytes(), type=_Counts)
    except (FileNotFoundError, msgspec.DecodeError):
        return _Counts()
    return counts if counts.version <= version else _Counts()


def _append(path: Path, line: bytes) -> None:
    """Add a line, synced. A write that failed half-way is taken back."""
    before = path.stat().st_size if path.exists() else None
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        if os.write(fd, line) != len(line):
            os.ftruncate(fd, before or 0)
            raise OSError("the volume is full")
        os.fsync(fd)
    finally:
        os.close(fd)
    if before is None:
        sync_folder(path.parent)
