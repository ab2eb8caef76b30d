"""The partials of one profile, in memory and on the disk, and up to which version of the inferences they
reach.

A window is answered from memory; the disk is behind by what is `pending`, and a killed process folds that
again from the table of inferences. Must not decide which profile is the one to compare with (see
`folding`).
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.analysis.partials import (
    SLICES_PER_DAY,
    Integers,
    PackedCounts,
    SparseCounts,
    empty,
    merge,
    sum_by_key,
)
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.analysis.timeline import Timeline
from modelwarden_server.query.labelling import Labelling
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.partials import PartialTable, Reached, Rows

if TYPE_CHECKING:
    from modelwarden_server.query.batch_counts import BatchCounts

_DAYS_AT_ONCE = 31
_ENTRIES_AT_ONCE = 1_000_000


@dataclass
class Generation:
    """`name` is the profile's hash, or another name where there is no profile and only rows are counted."""

    name: str
    profile: ReferenceProfile | None
    space: CodeSpace
    table: PartialTable
    folded: int = -1
    labelling: Labelling | None = None
    batches: "BatchCounts | None" = None
    """Of a batch model: the counts by batch."""
    carried: bool = False
    approximate: int | None = None
    """The last slice whose counts were told from another profile's, with a bound; None if there is none."""
    _timeline: Timeline = field(init=False)
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _pending: list[PackedCounts] = field(default_factory=list)
    _entries: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._timeline = Timeline(self.space.size, self._reload)
        for rows in self.table.read():
            self._timeline.add(sum_by_key(*self._keyed(rows)))
        self.folded, self.carried = self.table.folded, self.table.carried

    @property
    def rows(self) -> int:
        """Rows folded so far."""
        return self._timeline.rows

    @property
    def bytes(self) -> int:
        """Memory of the counts."""
        with self._lock:
            return self._timeline.bytes

    @property
    def pending(self) -> int:
        """Counts that are not on the disk yet."""
        return self._entries

    def add(self, parts: Iterable[SparseCounts], version: int) -> None:
        """Take in the partial of all rows of one version, the next one that has rows; once, however often it
        comes.
        """
        packed = [PackedCounts.of(part) for part in parts]
        with self._lock:
            if version <= self.folded:
                return
            for part in packed:
                self._timeline.add(part.unpacked())
            self._pending += packed
            self._entries += sum(len(part) for part in packed)
            self.folded = version

    def catch_up_with_labels(self) -> None:
        """Take in the labels that the tables have. By the thread that persists."""
        for _ in self.steps():
            pass

    def steps(self) -> Iterator[None]:
        """As `catch_up_with_labels`, a version at a time."""
        if self.labelling is None:
            return
        found = self.labelling.catch_up()
        while True:
            with self._writing:  # a version and its counts go to the disk together
                step = next(found, None)
                if step is None:
                    return
                self._take(step)
            yield

    def take_over(self, part: SparseCounts) -> None:
        """Counts whose rows are gone, told from another profile's. Once."""
        with self._writing:
            self.carried = True
            if len(part):
                last = int(part.keys[-1]) // self.space.size
                self.approximate = last if self.approximate is None else max(last, self.approximate)
            self._take(part)

    def _take(self, part: SparseCounts) -> None:
        if not len(part):
            return
        packed = PackedCounts.of(part)
        with self._lock:
            self._timeline.add(part)
            self._pending.append(packed)
            self._entries += len(packed)

    def slices(self, wanted: Integers) -> SparseCounts:
        """The counts of these slices (ascending), from memory and disk."""
        space = self.space.size
        with self._lock:
            found = []
            for day in np.unique(wanted // SLICES_PER_DAY):
                part = self._reload(int(day))
                held = np.isin(part.keys // space, wanted)
                found.append(SparseCounts(part.keys[held], part.counts[held]))
        return merge(found)

    def window(self, start: int, end: int) -> Integers:
        """Counts by code of the slices in [start, end)."""
        with self._lock:
            return self._timeline.window(start, end)

    def days(self) -> list[int]:
        """Days since 1970 that have rows, ascending."""
        with self._lock:
            return self._timeline.days()

    def newest_slice(self) -> int | None:
        """The latest slice that has a row."""
        with self._lock:
            return self._timeline.newest_slice()

    def persist(self) -> None:
        """Bring the disk up to date: one commit with the counts and the versions they reach.

        By the thread that takes in labels, or while it does not. Raises CommitError or OSError; nothing is
        lost then, and the next call tries again.
        """
        with self._writing:
            with self._lock:
                parts, entries, folded = list(self._pending), self._entries, self.folded
            labelled = None if self.labelling is None else self.labelling.reached
            if folded <= self.table.folded and labelled in (None, self.table.labelled) and not parts:
                return
            self.table.append(self._joined(parts), Reached(folded, labelled, self.carried))
            with self._lock:
                del self._pending[: len(parts)]
                self._entries -= entries
            if self.labelling is not None and labelled is not None:
                self.labelling.keep(labelled)

    def forget(self, keys: Words) -> None:
        """Remove ids from the indexes behind the counts of labels; the counts stay. By the thread that takes
        in labels. Raises CommitError or OSError; then it may be repeated.
        """
        if self.labelling is None:
            return
        self.persist()  # an index is kept only together with the counts of what it holds
        with self._writing:
            self.labelling.drop(keys)

    def compact(self, most_files: int) -> None:
        """Join files on the disk until there are not too many, a month at a time in memory. Caller as
        `persist`.
        """
        days = self.days()
        with self._writing:
            while days and (files := self.table.to_merge(most_files)):
                self.table.merge(files, self._summed(files, days))

    def shed(self, budget: int) -> int:
        """Drop slices from memory that the disk has, until the counts fit the budget."""
        with self._lock:
            return self._timeline.shed(budget)

    def _joined(self, parts: Iterable[PackedCounts]) -> Iterator[Rows]:
        """Parts added up, as many at a time as memory is meant for: each is sorted,
        together they need not be.
        """
        held: list[SparseCounts] = []
        for part in parts:
            held.append(part.unpacked())
            if sum(map(len, held)) > _ENTRIES_AT_ONCE:
                yield self._apart(merge(held))
                held = []
        yield self._apart(merge(held))

    def _summed(self, files: Sequence[TableFile], days: Sequence[int]) -> Iterator[Rows]:
        if sum(file.rows for file in files) <= _ENTRIES_AT_ONCE:
            yield self._apart(self._on_disk(days[0], days[-1] + 1, files))
            return
        for first in range(days[0], days[-1] + 1, _DAYS_AT_ONCE):
            yield self._apart(self._on_disk(first, min(first + _DAYS_AT_ONCE, days[-1] + 1), files))

    def _reload(self, day: int) -> SparseCounts:
        start, end = (d * SLICES_PER_DAY * self.space.size for d in (day, day + 1))
        waiting = [part.between(start, end) for part in self._pending]
        return merge([self._on_disk(day, day + 1), *waiting])

    def _on_disk(self, first: int, end: int, files: Sequence[TableFile] | None = None) -> SparseCounts:
        found = self.table.between(first * SLICES_PER_DAY, end * SLICES_PER_DAY, files)
        keyed = [self._keyed(rows) for rows in found]
        if not keyed:
            return empty()
        return sum_by_key(np.concatenate([k for k, _ in keyed]), np.concatenate([c for _, c in keyed]))

    def _keyed(self, rows: Rows) -> tuple[Integers, Integers]:
        slices, codes, counts = rows
        return slices * self.space.size + codes, counts

    def _apart(self, part: SparseCounts) -> Rows:
        slices, codes = np.divmod(part.keys, self.space.size)
        return slices, codes, part.counts
