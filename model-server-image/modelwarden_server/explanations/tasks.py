"""Pieces of work: rows to be explained, who is at them until when, and what they brought.

A piece is given to one holder at a time, and again when its time is over; the first answer counts, whoever
gives it, and any later one is late. A piece that fails is tried again, then halved: what cannot be explained
is a row, not its neighbours. How many rows a piece has follows from how long they take. Nothing here lasts:
after a crash pieces are cut anew from the rows that have no explanation. Thread-safe; must not know files.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.explanations.answer import Answer, failures

LEASE_SECONDS: Final = 210.0
"""Longer than a holder waits for its model server (180), so that nobody is asked while he still may bring."""
REST_SECONDS: Final = 2.0
"""Before a piece is given again whose holder could do nothing for now."""
MOST_ROWS: Final = 512
MOST_BYTES: Final = 64 << 20
"""Of rows and answers to come, of all pieces together."""
READY: Final = 8
"""Pieces that are kept ready to be given."""
_TARGET_SECONDS: Final = 10.0
_FIRST_ROWS: Final = 32
_ATTEMPTS: Final = 2
_RESTS: Final = 5
"""Holders that could do nothing for now, until that counts as an attempt: rows may be what kills them."""
_FORGETS: Final = 0.5
NO_ANSWER: Final = "nobody answered in time: the model may be too slow for explanationNsamples"


@dataclass(eq=False)
class Task:
    """One piece of work. `rows` has the columns `id` and the inputs; `keys` the rows' own of the table."""

    number: int
    file: str
    keys: pa.RecordBatch
    rows: pa.RecordBatch
    bytes: int
    attempts: int = 0
    rests: int = 0
    holder: str | None = None
    until: float = 0.0
    since: float = 0.0
    not_before: float = 0.0
    answer: Answer | None = None

    @property
    def ids(self) -> pa.Array:
        """The rows' ids."""
        return self.rows.column(0)


@dataclass
class TaskBoard:
    """All pieces that are not in the table yet. `clock` gives seconds, of any beginning."""

    clock: Callable[[], float]
    bytes_a_row: int
    """Of a row and its answer, in memory."""
    wake: Callable[[], None]
    """There is something to write, or to cut."""
    late: int = 0
    """Rows of answers that nobody waited for any more, since the start."""
    _first: int = field(default=0, init=False)
    _made: int = field(default=0, init=False)
    _tasks: dict[int, Task] = field(default_factory=dict, init=False)
    _ready: deque[int] = field(default_factory=deque, init=False)
    _bytes: int = field(default=0, init=False)
    _seconds_a_row: float | None = field(default=None, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def number_from(self, first: int) -> None:
        """Numbers above this one were never given before."""
        self._first, self._made = first, 0

    @property
    def wants(self) -> bool:
        """Whether more pieces are to be cut."""
        with self._lock:
            return len(self._ready) < READY and self._bytes < MOST_BYTES

    @property
    def rows_a_task(self) -> int:
        """How many rows the next piece should have."""
        known = self._seconds_a_row
        rows = _FIRST_ROWS if known is None else int(_TARGET_SECONDS / max(known, 1e-9))
        return max(1, min(rows, MOST_ROWS, (MOST_BYTES // 16) // max(self.bytes_a_row, 1)))

    @property
    def rows(self) -> int:
        """Rows of all pieces."""
        with self._lock:
            return sum(task.rows.num_rows for task in self._tasks.values())

    def add(self, file: str, keys: pa.RecordBatch, rows: pa.RecordBatch, attempts: int = 0) -> None:
        """A piece that is to be done."""
        with self._lock:
            self._made += 1
            number = self._first + self._made
            size = rows.num_rows * self.bytes_a_row + rows.nbytes
            self._tasks[number] = Task(number, file, keys, rows, size, attempts)
            self._bytes += size
            self._ready.append(number)

    def lease(self, holder: str) -> Task | None:
        """A piece for this holder, None if there is none now."""
        with self._lock:
            now = self.clock()
            self._expire(now)
            for _ in range(len(self._ready)):
                task = self._tasks[self._ready.popleft()]
                if task.not_before > now:
                    self._ready.append(task.number)
                    continue
                task.holder, task.since, task.until = holder, now, now + LEASE_SECONDS
                found: Task | None = task
                break
            else:
                found = None
            more = self.wants
        if more:
            self.wake()
        return found

    def lost(self, holder: str) -> None:
        """What this holder was at is lost to him: he is a new process of the same name."""
        with self._lock:
            for task in list(self._tasks.values()):
                if task.holder == holder and task.answer is None:
                    self._failed(task, NO_ANSWER)

    def open(self, number: int) -> Task | None:
        """A piece that an answer may be given to; None: it has one, or there is no such piece any more."""
        with self._lock:
            task = self._tasks.get(number)
            return None if task is None or task.answer is not None else task

    def finish(self, number: int, answer: Answer) -> bool:
        """An answer to a piece; False: it came late. Rows that were forgotten meanwhile are left out."""
        with self._lock:
            task = self.open(number)
            if task is None:
                self.late += answer.rows.num_rows
                return False
            if task.holder is not None:
                self._learn((self.clock() - task.since) / max(task.rows.num_rows, 1))
            self._settle(task, answer)
        self.wake()
        return True

    def count_late(self, rows: int) -> None:
        """An answer that nobody looks at."""
        with self._lock:
            self.late += rows

    def fail(self, number: int, message: str, *, again: bool) -> bool:
        """A piece brought nothing; `again`: it is not its fault. False: nobody waited for it any more."""
        with self._lock:
            task = self.open(number)
            if task is None:
                return False
            task.rests += again
            if again and task.rests % _RESTS:
                task.not_before = self.clock() + REST_SECONDS
                self._give_back(task)
            else:
                self._failed(task, message)
        self.wake()
        return True

    def finished(self) -> list[Task]:
        """Pieces that have an answer, in their order."""
        with self._lock:
            self._expire(self.clock())
            return [task for task in self._tasks.values() if task.answer is not None]

    def drop(self, tasks: Sequence[Task]) -> None:
        """Pieces that are in the table, or that nobody wants any more."""
        with self._lock:
            for task in tasks:
                if self._tasks.pop(task.number, None) is not None:
                    self._bytes -= task.bytes
                    if task.number in self._ready:
                        self._ready.remove(task.number)

    def clear(self) -> None:
        """Nobody wants any of it."""
        with self._lock:
            self.drop(list(self._tasks.values()))

    def files(self) -> set[str]:
        """The files that have pieces here."""
        with self._lock:
            return {task.file for task in self._tasks.values()}

    def forget(self, unwanted: Callable[[pa.Array], pa.Array]) -> None:
        """Remove rows; `unwanted` tells which of some ids. A piece that somebody is at becomes another one:
        what he brings is late.
        """
        with self._lock:
            for task in list(self._tasks.values()):
                gone = unwanted(task.ids)
                if not pc.any(gone).as_py():
                    continue
                kept = pc.invert(gone)
                self.drop([task])
                if not pc.any(kept).as_py():
                    continue
                keys, rows = task.keys.filter(kept), task.rows.filter(kept)
                self.add(task.file, keys, rows, task.attempts)
                if task.answer is not None:
                    self._settle(
                        self._tasks[self._first + self._made], task.answer.without(task.ids.filter(gone))
                    )

    def renamed(self, old: str, new: str) -> None:
        """A file of rows was written anew."""
        with self._lock:
            for task in self._tasks.values():
                if task.file == old:
                    task.file = new

    def _settle(self, task: Task, answer: Answer) -> None:
        task.answer, task.holder = answer, None
        if task.number in self._ready:
            self._ready.remove(task.number)

    def _give_back(self, task: Task) -> None:
        task.holder = None
        if task.number not in self._ready:
            self._ready.append(task.number)

    def _failed(self, task: Task, message: str) -> None:
        task.attempts += 1
        if task.attempts < _ATTEMPTS:
            self._give_back(task)
        elif task.rows.num_rows == 1:
            self._settle(task, failures(task.ids, message))
        else:
            self.drop([task])
            for start, many in _halves(task.rows.num_rows):
                keys, rows = task.keys.slice(start, many), task.rows.slice(start, many)
                self.add(task.file, keys, rows)

    def _expire(self, now: float) -> None:
        for task in list(self._tasks.values()):
            if task.holder is not None and task.answer is None and task.until <= now:
                self._failed(task, NO_ANSWER)

    def _learn(self, seconds: float) -> None:
        known = self._seconds_a_row
        self._seconds_a_row = seconds if known is None else known + _FORGETS * (seconds - known)


def _halves(rows: int) -> Iterator[tuple[int, int]]:
    yield 0, rows // 2
    yield rows // 2, rows - rows // 2
