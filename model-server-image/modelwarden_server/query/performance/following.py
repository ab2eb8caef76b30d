"""Keeps the sums of outcomes up with the tables, on a thread of its own: the writer only wakes it.

When what is to be counted changes (groups, segments, a threshold that is not on the grid, a regression's
scale), the rows in the tables are counted anew while the old sums go on answering; rows that were retired
come from the old index, and labels are read again. What was counted of labels that were retired too is lost
then. Must not decide what is to be counted.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from modelwarden_server.analysis.performance.layout import Definition
from modelwarden_server.query.batch_names import BatchNames
from modelwarden_server.query.performance.baseline import ReferenceRows, kept_or_counted
from modelwarden_server.query.performance.cube import Cube, CubeSources, OldRows
from modelwarden_server.query.sealing import SealedFile
from modelwarden_server.query.unwanted import Unwanted
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.listening import Settled
from modelwarden_server.store.partials import drop_partials

log = logging.getLogger(__name__)
_NEVER_ASKED = 1 << 62
_SEAL_SECONDS = 60.0
_NAMES = "names"
_COMPLETE = "complete"


@dataclass(frozen=True)
class Pace:
    """When sums go to the disk and leave memory: seconds, counts, bytes."""

    persist_seconds: float = 60.0
    persist_entries: int = 500_000
    memory_bytes: int = 24 << 20


DEFAULT_PACE = Pace()


class OutcomeFollower:
    """The sums of one cell (a `CommitListener`). `wanted` says what is to be counted, None for nothing."""

    def __init__(
        self,
        sources: CubeSources,
        wanted: Callable[[], Definition | None],
        pace: Pace | None = None,
        reference: Callable[[], ReferenceRows | None] = lambda: None,
    ) -> None:
        """`reference` gives the rows to compare with, None while there are none."""
        self._sources, self._wanted, self._pace = sources, wanted, pace or DEFAULT_PACE
        self._reference = reference
        self._sealed = SealedFile(sources.root)
        self._sealing = threading.Lock()
        self._moved = threading.Condition()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._unwanted = Unwanted()
        self._persisted = 0.0
        self._live: Cube | None = None
        self._nothing = False
        self.problem: str | None = None
        """Why sums are behind the tables, if they are."""
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)

    @property
    def live(self) -> Cube | None:
        """The sums to answer from; None until the first have caught up, or while nothing is counted."""
        return self._live

    def start(self) -> None:
        """Begin to catch up."""
        self._thread.start()

    def wake(self) -> None:
        """What is to be counted may be another thing now."""
        self._wake.set()

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: rows are read from the table by the thread."""
        del version, batches
        self._wake.set()

    def behind(self, version: int) -> None:
        """See CommitListener."""
        del version
        self._wake.set()

    def fold_truth(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener."""
        del version, batches
        self._wake.set()

    def behind_truth(self, version: int) -> None:
        """See CommitListener."""
        del version
        self._wake.set()

    def settled(self) -> Settled:
        """See CommitListener: what is on the disk."""
        live = self._live
        if live is None:
            return Settled(_NEVER_ASKED, _NEVER_ASKED) if self._nothing else Settled(-1, -1)
        return Settled(*live.kept)

    def retired(self, slices: Sequence[int], batches: Sequence[str]) -> None:
        """See CommitListener: what is counted of these rows is on the disk before they go. Raises
        RuntimeError, CommitError or OSError; then the rows must stay.
        """
        if self._nothing:
            return
        live = self._live
        if not self.reach(_SEAL_SECONDS) or live is None:
            raise RuntimeError("the sums of outcomes are behind the tables: they cannot be sealed yet")
        live.persist(self._pace.memory_bytes)
        places = list(slices)
        if self._sources.names is not None:
            numbers = (self._sources.names.number(name) for name in batches)
            places = [number for number in numbers if number is not None]
        with self._sealing:
            self._sealed.keep(self._sealed.current.with_slices(places, live.definition.hash))

    def forget(self, keys: Words) -> None:
        """Remove ids from what is kept by id (`Store.on_forget`); what they counted stays."""
        self._unwanted.ask(keys, self._wake.set)

    def reach(self, timeout: float) -> bool:
        """Wait until what is in the tables now, and the reference, is counted by the definition that is
        wanted now; False if that takes too long, or nothing is to be counted.
        """
        self._wake.set()

        def reached() -> bool:
            live, wanted = self._live, self._wanted()
            if live is None or wanted is None or live.hash != wanted.hash or not live.current:
                return False
            rows = self._reference()
            return (None if rows is None else rows.content_hash) == (live.baseline and live.baseline[0])

        with self._moved:
            return self._moved.wait_for(reached, timeout)

    def stop(self) -> None:
        """Stop the thread and bring what is pending to the disk."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.problem = self._attempt(self._step)
            self._unwanted.attend(self._drop)
            # A problem wakes the thread too: it waits a little, so that failing does not keep it busy.
            self._stopping.wait(1.0 if self.problem else 0.0)
            self._wake.wait(self._pace.persist_seconds)
            self._wake.clear()
        self._unwanted.attend(self._drop)
        self.problem = self._attempt(self._persist)

    def _attempt(self, work: Callable[[], None]) -> str | None:
        """The thread's edge: what fails is told and tried again; nothing but answers depends on it."""
        try:
            work()
        except Exception as error:
            log.warning("sums of outcomes are behind: %s", error, exc_info=error)
            self._wake.set()
            return f"{type(error).__name__}: {error}"
        return None

    def _step(self) -> None:
        wanted = self._wanted()
        self._nothing = wanted is None
        if wanted is None:
            # Files may be joined freely now, so sums that reach into the middle of one could not go on.
            self._live = None
            drop_partials(self._sources.root, frozenset({_NAMES}))
            return
        if self._live is None or self._live.hash != wanted.hash:
            self._change(wanted)
        live = self._live
        if live is None:
            return
        live.definition = wanted
        live.catch_up(self._progressed(live))
        self._compare(live)
        with self._moved:
            self._moved.notify_all()
        now = time.monotonic()
        many = live.counts.pending > self._pace.persist_entries
        if many or now - self._persisted > self._pace.persist_seconds:
            self._persisted = now
            self._persist()

    def _compare(self, live: Cube) -> None:
        rows = self._reference()
        if rows is None:
            live.baseline = None
        elif live.baseline is None or live.baseline[0] != rows.content_hash:
            live.baseline = rows.content_hash, kept_or_counted(live.folder, live.space, rows)

    def _change(self, wanted: Definition) -> None:
        old = self._live
        self._drop_half(wanted.hash)
        cube = Cube(wanted, self._sources)
        with self._sealing:  # nothing is sealed while sums change hands
            sealed = self._sealed.current
            if sealed.ranges and sealed.keeper not in (None, cube.hash):
                rows = self._old_rows(old, str(sealed.keeper))
                if rows is not None:
                    cube.take_over(rows, sealed)
            if cube.counts.carried:
                cube.labelling.known_before = sealed.holds
            cube.catch_up(self._progressed(cube))
            if self._stopping.is_set():
                return
            cube.persist(self._pace.memory_bytes)
            (cube.folder / _COMPLETE).touch()
            if sealed.ranges:
                self._sealed.keep(sealed.with_slices((), cube.hash))
            self._live = cube
        log.info("sums of outcomes %s are live", cube.hash[:12])
        drop_partials(self._sources.root, frozenset({cube.hash, _NAMES}))

    def _drop_half(self, wanted: str) -> None:
        """Sums that were being counted anew when the process ended: files were joined as far as the old ones
        had come, so these could not go on from the middle.
        """
        folder = self._sources.root / wanted[:32]
        if (folder / _COMPLETE).exists() or not any(self._sources.root.glob(f"*/{_COMPLETE}")):
            return
        shutil.rmtree(folder, ignore_errors=True)

    def _old_rows(self, old: Cube | None, keeper: str) -> OldRows | None:
        if old is not None and old.hash == keeper:
            return OldRows.live(old)
        return OldRows.opened(self._sources.root / keeper[:32], self._sources)

    def _progressed(self, cube: Cube) -> Callable[[], bool]:
        def progressed() -> bool:
            if cube.counts.pending > self._pace.persist_entries:
                cube.persist(self._pace.memory_bytes)
            return not self._stopping.is_set()

        return progressed

    def _drop(self, keys: Words) -> None:
        live = self._live
        if live is None and not self._nothing:
            raise OSError("sums of outcomes are not there yet: ids cannot be forgotten in them")
        if live is not None:
            live.counts.forget(keys)

    def _persist(self) -> None:
        if self._live is not None:
            self._live.persist(self._pace.memory_bytes)


def numbers_of_batches(root: Path) -> BatchNames:
    """The numbers of batches of a batch model, shared by all definitions."""
    return BatchNames(root / _NAMES)
