"""What the store asks of a log, whatever it is made of.

Records have sequence numbers without gaps, in the order of `append`. A record is durable before its
future is done, and is read back unchanged until it is cut.
"""

import enum
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


class Kind(enum.IntEnum):
    """What a record is: rows of a table, a file of such rows, a batch that was closed, a request to forget.

    INFERENCES and GROUND_TRUTH hold rows as an Arrow IPC message; FILE, BATCH and FORGET hold JSON: the
    staged file (`store.staged`), the batch, the name of the request.
    """

    INFERENCES = 1
    GROUND_TRUTH = 2
    FILE = 3
    BATCH = 4
    FORGET = 5


@dataclass(frozen=True, slots=True)
class Record:
    """One entry: its content (see Kind; empty if there are no rows), and what goes with all of it.

    `arrival` is microseconds since 1970; `sampled_out` counts rows that were acknowledged with this record
    but left out by sampling; `sequence` is given by the log.
    """

    kind: Kind
    rows: int
    payload: bytes | memoryview
    arrival: int
    generation: int
    sampled_out: int = 0
    sequence: int = 0


class LogFullError(Exception):
    """No room for the record: nothing of it is kept, later ones may succeed. A 503 with Retry-After."""


class LogFailedError(Exception):
    """The log cannot promise durability any more: the process must stop acknowledging and start anew."""


class LogDamagedError(Exception):
    """Acknowledged records cannot be read. The message says which, in which file, at which byte."""


class Log(Protocol):
    """A log of records."""

    @property
    def identity(self) -> str:
        """A name that no other log has: positions of another log mean nothing here."""
        ...

    @property
    def durable(self) -> int:
        """The highest sequence number that is durable, 0 if there is none."""
        ...

    @property
    def first(self) -> int:
        """The lowest sequence number that can still be read; `durable + 1` if there is none."""
        ...

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        ...

    @property
    def segments(self) -> int:
        """Files on the disk."""
        ...

    @property
    def waiting(self) -> int:
        """Bytes of records that were not cut yet, those on their way to the disk included."""
        ...

    def observe(self, before: Callable[[list[Record]], None], after: Callable[[], None]) -> None:
        """Have `before` told of records that became durable, and call `after` when readers can see them.

        Both are called by the log's thread and must neither block nor raise. Not told of recovered records.
        """
        ...

    def append(self, records: list[Record]) -> Future[int]:
        """Append the records together; the future gives the last one's sequence number once all are durable.

        The future fails with LogFullError or LogFailedError. Never blocks on the disk.
        """
        ...

    def read(self, after: int) -> Iterator[Record]:
        """The durable records above `after`, in order. Raises LogDamagedError."""
        ...

    def cut(self, through: int) -> None:
        """Records up to `through` are in the tables: they need not be kept."""
        ...

    def close(self) -> None:
        """Make durable what was appended, then release the files."""
        ...
