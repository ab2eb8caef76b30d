"""The log on a volume: segment files, one thread that writes them, one fsync for all who wait.

Requests hand records over and wait for a future; while one sync runs, others gather, and the next sync
makes them all durable (group commit). Must not know what is in a record.

After a full disk the unfinished group is taken back and the log goes on. After any other failed write or
sync it does not: the kernel may call the next sync of the same file a success although pages are lost, so
the log stops acknowledging for good, and the process starts anew and reads what is really there.
"""

import errno
import logging
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from modelwarden_server.log.frames import HEADER_SIZE, MAX_PAYLOAD, decode_header, encode, intact, record_of
from modelwarden_server.log.mark import Mark
from modelwarden_server.log.protocol import LogDamagedError, LogFailedError, LogFullError, Record
from modelwarden_server.log.recovery import Expectation, Segment, log_identity, recover
from modelwarden_server.log.segment import START, SegmentHeader, create, salt_of, segment_path, write_all

log = logging.getLogger(__name__)

SEGMENT_BYTES = 32 << 20
GROUP_BYTES = 16 << 20
RETIRE_BYTES = 4 << 20
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(slots=True)
class _Append:
    """What one caller wants appended together, and where he waits."""

    records: list[Record]
    size: int
    done: "Future[int]"


class SegmentLog:
    """A log of segment files in one folder. See the protocol for the meaning of the methods."""

    def __init__(self, folder: Path, header: SegmentHeader, found: list[Segment], committed: int) -> None:
        self._before: Callable[[list[Record]], None] = lambda _: None
        self._after: Callable[[], None] = lambda: None
        self._folder = folder
        self._header = header
        self._salt = salt_of(header.log)
        self._mark = Mark(folder)
        self._segments = found
        last = max(committed, found[-1].last if found else 0)
        self._next = last + 1
        self._durable = last
        self._cut = committed
        self._fd: int | None = None
        self._failure: str | None = None
        self._queue: deque[_Append] = deque()
        self._uncut: deque[tuple[int, int]] = deque((s.last, s.size) for s in found if s.last > committed)
        self._wake = threading.Condition()
        self._closing = False
        self._rotating = False
        self._place: tuple[int, Path, int] | None = None
        self._sync: Callable[[int], None] = os.fdatasync
        self._mark.write(last)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @classmethod
    def open(cls, folder: Path, fingerprint: bytes, committed: Callable[[str], int]) -> "SegmentLog":
        """Recover the log in `folder`, or make one.

        `committed` tells how far the tables have come with the log of a given identity. Raises
        LogDamagedError.
        """
        identity = log_identity(folder)
        mark = Mark(folder)
        acknowledged = mark.read()
        mark.close()
        done = committed(str(identity))
        found = recover(folder, Expectation(identity.bytes, fingerprint, done, acknowledged))
        first = max(done, found[-1].last if found else 0) + 1
        return cls(folder, SegmentHeader(identity.bytes, fingerprint, first), found, done)

    @property
    def identity(self) -> str:
        """The log's UUID."""
        return str(uuid.UUID(bytes=self._header.log))

    @property
    def durable(self) -> int:
        """The highest durable sequence number."""
        return self._durable

    @property
    def first(self) -> int:
        """The lowest sequence number on the disk."""
        segments = self._segments
        return segments[0].first if segments else self._next

    @property
    def size(self) -> int:
        """Bytes on the disk and on their way to it."""
        with self._wake:
            return sum(s.size for s in self._segments) + sum(a.size for a in self._queue)

    @property
    def segments(self) -> int:
        """Files on the disk."""
        return len(self._segments)

    @property
    def failure(self) -> str | None:
        """Why the log acknowledges nothing any more, or None."""
        return self._failure

    @property
    def waiting(self) -> int:
        """Bytes of records that the tables do not have yet, those on their way to the disk included."""
        with self._wake:
            return sum(size for _, size in self._uncut) + sum(a.size for a in self._queue)

    def observe(self, before: Callable[[list[Record]], None], after: Callable[[], None]) -> None:
        """Have `before` told of records that became durable, and call `after` when readers can see them."""
        self._before, self._after = before, after

    def append(self, records: list[Record]) -> "Future[int]":
        """Append records together; see the protocol."""
        done: Future[int] = Future()
        done.set_running_or_notify_cancel()  # a caller who goes away cannot take back what is being written
        if any(len(record.payload) > MAX_PAYLOAD for record in records):
            done.set_exception(ValueError(f"a record is larger than {MAX_PAYLOAD} bytes"))
            return done
        size = sum(HEADER_SIZE + len(record.payload) for record in records)
        with self._wake:
            if self._failure or self._closing:
                done.set_exception(LogFailedError(self._failure or "the log is closed"))
                return done
            self._queue.append(_Append(records, size, done))
            self._wake.notify()
        return done

    def read(self, after: int) -> Iterator[Record]:
        """The records above `after` that are durable now. One reader at a time. Raises LogDamagedError."""
        through = self._durable
        for segment in list(self._segments):
            if segment.last > after and segment.first <= through:
                yield from self._read_segment(segment, after, min(through, segment.last))

    def cut(self, through: int) -> None:
        """Remove the segments whose records are all in the tables."""
        with self._wake:
            self._cut = max(self._cut, through)
            while self._uncut and self._uncut[0][0] <= self._cut:
                self._uncut.popleft()
            done = [s for s in self._segments[:-1] if s.last <= self._cut]
            self._segments = [s for s in self._segments if s not in done]
            self._wake.notify()
        for segment in done:
            segment.path.unlink(missing_ok=True)

    def rotate(self) -> None:
        """Write to another file from the next record on, so that the present one goes once it is all cut."""
        with self._wake:
            self._rotating = True
            self._wake.notify()

    def close(self) -> None:
        """Make durable what was appended, then release the files."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self._release()
        self._mark.close()

    def _run(self) -> None:
        while group := self._next_group():
            try:
                self._write(group)
            except LogFullError as error:
                _fail(group, error)
            except Exception as error:  # noqa: BLE001 - the edge of the thread: whoever waits must hear of it
                self._stop(group, error)

    def _next_group(self) -> list[_Append]:
        """What waits, at most about GROUP_BYTES of it; empty when the log is closed and nothing waits."""
        with self._wake:
            while not self._queue and not self._closing:
                self._wake.wait()
                if not self._queue and self._retirable():
                    self._retire()
            group: list[_Append] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].size <= GROUP_BYTES):
                group.append(self._queue.popleft())
                size += group[-1].size
            return group

    def _retirable(self) -> bool:
        """Whether the open segment is worth closing because the tables have all of it."""
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.last > self._cut:
            return False
        return self._rotating or (self._fd is not None and segment.size >= RETIRE_BYTES)

    def _retire(self) -> None:
        """Close and remove the open segment; the next record begins another one."""
        self._release()
        self._segments[-1].path.unlink(missing_ok=True)
        self._segments = self._segments[:-1]
        self._rotating = False

    def _write(self, group: list[_Append]) -> None:
        """Write and sync a group, then tell everyone in it. Raises LogFullError (nothing kept) or OSError."""
        sequence = self._next
        pieces: list[bytes | memoryview] = []
        for waiting in group:
            for record in waiting.records:
                pieces += encode(record, sequence, self._durable, self._salt)
                sequence += 1
        with _no_room():
            if self._fd is None or self._rotating or self._segments[-1].size >= SEGMENT_BYTES:
                self._begin()
        assert self._fd is not None
        segment = self._segments[-1]
        try:
            with _no_room():
                end = write_all(self._fd, pieces, segment.size)
        except LogFullError:
            os.ftruncate(self._fd, segment.size)
            raise
        self._sync(self._fd)
        last = sequence - 1
        with self._wake:
            self._segments[-1] = replace(segment, last=last, size=end)
            self._uncut.append((last, end - segment.size))
        self._mark.write(last)
        self._before([record for waiting in group for record in waiting.records])
        self._next, self._durable = sequence, last
        self._after()
        for waiting in group:
            waiting.done.set_result(last)

    def _begin(self) -> None:
        """Close the open segment and begin the next one, durable before anything is written to it."""
        self._release()
        header = replace(self._header, first=self._next)
        fd = create(self._folder, header)
        path = segment_path(self._folder, self._next)
        segment = Segment(self._next, self._next - 1, START, path, self._next, START)
        with self._wake:
            self._segments = [*self._segments, segment]
        self._fd = fd
        self._rotating = False

    def _release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _stop(self, group: list[_Append], error: Exception) -> None:
        """Acknowledge nothing from here on."""
        self._failure = f"the log cannot be written: {error}"
        log.critical("%s; nothing is acknowledged any more until the process starts anew", self._failure)
        with self._wake:
            group = [*group, *self._queue]
            self._queue.clear()
        _fail(group, LogFailedError(self._failure))

    def _read_segment(self, segment: Segment, after: int, through: int) -> Iterator[Record]:
        sequence, offset = segment.run_first - 1, segment.run_offset
        if self._place is not None and self._place[1] == segment.path and self._place[0] <= after:
            sequence, _, offset = self._place
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while sequence < through:
                header = decode_header(os.pread(fd, HEADER_SIZE, offset), self._salt)
                if header is None or header.sequence != sequence + 1:
                    raise LogDamagedError(
                        f"{segment.path.name} is damaged at byte {offset}: record {sequence + 1}"
                    )
                payload = (
                    os.pread(fd, header.length, offset + HEADER_SIZE) if header.sequence > after else None
                )
                if payload is not None and not intact(header, payload):
                    raise LogDamagedError(
                        f"{segment.path.name} is damaged at byte {offset}: record {sequence + 1}"
                    )
                offset, sequence = offset + HEADER_SIZE + header.length, header.sequence
                self._place = (sequence, segment.path, offset)
                if payload is not None:
                    yield record_of(header, payload)
        finally:
            os.close(fd)


@contextmanager
def _no_room() -> Iterator[None]:
    """Turns "no space left" into LogFullError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise LogFullError("no space is left on the volume") from error
        raise


def _fail(group: list[_Append], error: Exception) -> None:
    for waiting in group:
        waiting.done.set_exception(error)
