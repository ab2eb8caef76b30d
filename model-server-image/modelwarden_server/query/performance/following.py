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

from modelwarden_server.analysis.performance.layout import Definition
from modelwarden_server.query.batch_names import BatchNames
from modelwarden_server.query.follower import Follower
from modelwarden_server.query.performance.baseline import ReferenceRows, kept_or_counted
from modelwarden_server.query.performance.cube import Cube, CubeSources, OldRows
from modelwarden_server.query.sealing import SealedFile
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.listening import NEVER_ASKED, Settled
from modelwarden_server.store.partials import drop_partials

log = logging.getLogger(__name__)
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


class OutcomeFollower(Follower):
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
        super().__init__("outcomes", "sums of outcomes", self._pace.persist_seconds)
        self._reference = reference
        self._sealed = SealedFile(sources.root)
        self._sealing = threading.Lock()
        self._persisted = 0.0
        self._live: Cube | None = None
        self._nothing = False

    @property
    def live(self) -> Cube | None:
        """The sums to answer from; None until the first have caught up, or while nothing is counted."""
        return self._live

    def settled(self) -> Settled:
        """See CommitListener: what is on the disk."""
        live = self._live
        if live is None:
            return Settled(NEVER_ASKED, NEVER_ASKED) if self._nothing else Settled(-1, -1)
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

        return self._wait_for(reached, timeout)

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
        live.catch_up(self._going_on(live))
        self._compare(live)
        self._progressed()
        now = time.monotonic()
        many = live.counts.pending > self._pace.persist_entries
        if many or now - self._persisted > self._pace.persist_seconds:
            self._persisted = now
            self._keep()

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
            cube.catch_up(self._going_on(cube))
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

    def _going_on(self, cube: Cube) -> Callable[[], bool]:
        def going_on() -> bool:
            if cube.counts.pending > self._pace.persist_entries:
                cube.persist(self._pace.memory_bytes)
            return not self._stopping.is_set()

        return going_on

    def _drop(self, keys: Words) -> None:
        live = self._live
        if live is None and not self._nothing:
            raise OSError("sums of outcomes are not there yet: ids cannot be forgotten in them")
        if live is not None:
            live.counts.forget(keys)

    def _keep(self) -> None:
        if self._live is not None:
            self._live.persist(self._pace.memory_bytes)


def numbers_of_batches(root: Path) -> BatchNames:
    """The numbers of batches of a batch model, shared by all definitions."""
    return BatchNames(root / _NAMES)
