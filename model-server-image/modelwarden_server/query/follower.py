"""A thread that follows the tables: woken by the writer's commits and by who asks, it takes one step after
the other until it is stopped, and then brings what is pending to the disk. Must not know what is counted.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import pyarrow as pa

from modelwarden_server.query.unwanted import Unwanted
from modelwarden_server.schema.digest import Words

log = logging.getLogger(__name__)


class Follower(ABC):
    """The thread, and of a `CommitListener` all that only wakes it."""

    def __init__(self, name: str, counted: str, seconds: float) -> None:
        """`name` is the thread's, `counted` what the log calls behind; a step is taken at least every
        `seconds`.
        """
        self._counted, self._seconds = counted, seconds
        self._moved = threading.Condition()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._unwanted = Unwanted()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.problem: str | None = None
        """Why what is counted is behind the tables, if it is."""

    @abstractmethod
    def _step(self) -> None:
        """Catch up with what is wanted and with the tables. What it raises is told, and it is tried again."""

    @abstractmethod
    def _keep(self) -> None:
        """Bring what is pending to the disk: the last that the thread does."""

    @abstractmethod
    def _drop(self, keys: Words) -> None:
        """Remove ids from what is kept by id, durably. What it raises goes to who asked."""

    def start(self) -> None:
        """Begin to catch up with what is in the tables."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and bring what is pending to the disk."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """What is to be counted may be another thing now."""
        self._wake.set()

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: rows are read from the table by the thread."""
        del version, batches
        self._wake.set()

    def behind(self, version: int) -> None:
        """See CommitListener: the thread catches up from the table."""
        del version
        self._wake.set()

    def fold_truth(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: labels are read from the table by the thread."""
        del version, batches
        self._wake.set()

    def behind_truth(self, version: int) -> None:
        """See CommitListener."""
        del version
        self._wake.set()

    def forget(self, keys: Words) -> None:
        """Remove ids, whose rows are gone from the tables, from all that is kept by id (`Store.on_forget`).
        Durable when this returns; their counts stay. Raises OSError or CommitError; then it is to be asked
        again.
        """
        self._unwanted.ask(keys, self._wake.set)

    def _wait_for(self, reached: Callable[[], bool], timeout: float) -> bool:
        with self._moved:
            return self._moved.wait_for(reached, timeout)

    def _progressed(self) -> None:
        """Have those who wait look again."""
        with self._moved:
            self._moved.notify_all()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.problem = self._attempt(self._step)
            self._unwanted.attend(self._drop)
            # A problem wakes the thread too: it waits a little, so that failing does not keep it busy.
            self._stopping.wait(1.0 if self.problem else 0.0)
            self._wake.wait(self._seconds)
            self._wake.clear()
        self._unwanted.attend(self._drop)
        self.problem = self._attempt(self._keep)

    def _attempt(self, work: Callable[[], None]) -> str | None:
        """The thread's edge: what fails is told and tried again; nothing but answers depends on it."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            return self._told(error)
        return None

    def _told(self, error: Exception) -> str:
        log.warning("%s are behind: %s", self._counted, error, exc_info=error)
        self._wake.set()
        return f"{type(error).__name__}: {error}"
