"""All partials of one profile in memory: slices, hours and days kept side by side, so that a window is a
short sum.

A window [from, to) is: its whole days, the whole hours at both ends, the slices at both ends. Days are
always held; slices and hours of days that were not touched for long may be dropped (`shed`) and come back
through `reload`. Not thread-safe: the owner locks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import (
    SLICES_PER_DAY,
    SLICES_PER_HOUR,
    Integers,
    PackedCounts,
    SparseCounts,
    merge,
    roll_up,
    total,
)

_LONGEST_RUN = 1_000_000
_DENSE_BYTES = 4

Reload = Callable[[int], SparseCounts]
"""Gives back all slices of a day (days since 1970)."""


class _Runs:
    """Counts of one day at one level: a few sorted runs, merged geometrically as they come."""

    def __init__(self) -> None:
        self._runs: list[PackedCounts] = []

    def add(self, part: SparseCounts) -> None:
        self._runs.append(PackedCounts.of(part))
        while len(self._runs) > 1 and self._worth_merging(self._runs[-2], self._runs[-1]):
            both = merge([self._runs.pop().unpacked(), self._runs.pop().unpacked()])
            self._runs.append(PackedCounts.of(both))

    def _worth_merging(self, one: PackedCounts, other: PackedCounts) -> bool:
        # Merging takes ten times the memory of the packed counts: very long runs stay as they are.
        return len(one) < 2 * len(other) and len(one) + len(other) <= _LONGEST_RUN

    def parts(self) -> list[SparseCounts]:
        return [run.unpacked() for run in self._runs]

    def between(self, start: int, end: int) -> list[SparseCounts]:
        """The counts of keys in [start, end)."""
        return [run.between(start, end) for run in self._runs]

    @property
    def last_key(self) -> int:
        """The highest key there is. Raises ValueError without any."""
        return max(run.last_key for run in self._runs if len(run))

    @property
    def bytes(self) -> int:
        return sum(run.bytes for run in self._runs)


class _Whole:
    """Counts of a day as a whole: runs while it has few codes; one number for each code as soon as that takes
    less memory, which is many times faster to add up.
    """

    def __init__(self, space: int) -> None:
        self._space = space
        self._runs = _Runs()
        self._dense: npt.NDArray[np.signedinteger] | None = None

    def add(self, part: SparseCounts) -> None:
        """More counts of this day, each code once."""
        if self._dense is not None:
            self._dense = _narrow(self._added(self._dense.astype(np.int64), part))
            return
        self._runs.add(part)
        if self._runs.bytes > _DENSE_BYTES * self._space:
            self._dense = _narrow(total(self._runs.parts(), self._space))
            self._runs = _Runs()

    def add_to(self, totals: Integers) -> None:
        """Add the counts to those by code."""
        if self._dense is not None:
            np.add(totals, self._dense, out=totals)
            return
        for part in self._runs.parts():
            self._added(totals, part)

    @property
    def bytes(self) -> int:
        return self._runs.bytes if self._dense is None else self._dense.nbytes

    def _added(self, totals: Integers, part: SparseCounts) -> Integers:
        if len(part):
            totals[part.keys % self._space] += part.counts
        return totals


def _narrow(counts: Integers) -> npt.NDArray[np.signedinteger]:
    fits = not len(counts) or max(int(counts.max()), -int(counts.min())) < 2**31
    return counts.astype(np.int32) if fits else counts


@dataclass(slots=True)
class _Day:
    whole: _Whole
    fine: tuple[_Runs, _Runs] | None
    used: int = 0
    """When its slices were last needed, by the timeline's own count."""


@dataclass
class Timeline:
    """The partials of one code space of `space` codes."""

    space: int
    reload: Reload | None = None
    rows: int = 0
    """All rows that were folded."""
    _days: dict[int, _Day] = field(default_factory=dict)
    _clock: int = 0

    def add(self, part: SparseCounts) -> None:
        """Take in the partial of more rows."""
        self.rows += int(part.counts[part.keys % self.space == 0].sum())
        for day, piece in self._by_day(part):
            held = self._day(day)
            held.whole.add(roll_up(piece, self.space, SLICES_PER_DAY))
            if held.fine is not None:
                held.fine[0].add(roll_up(piece, self.space, SLICES_PER_HOUR))
                held.fine[1].add(piece)

    def window(self, start: int, end: int) -> Integers:
        """Counts by code of the slices in [start, end)."""
        totals = np.zeros(self.space, dtype=np.int64)
        ends: list[SparseCounts] = []
        for day in self._days_between(start, end):
            low, high = max(start, day * SLICES_PER_DAY), min(end, (day + 1) * SLICES_PER_DAY)
            if high - low == SLICES_PER_DAY:
                self._days[day].whole.add_to(totals)
            elif low < high:
                ends += self._within_day(day, low, high)
        return totals + total(ends, self.space) if ends else totals

    def days(self) -> list[int]:
        """Days (since 1970) that have rows, ascending."""
        return sorted(self._days)

    def newest_slice(self) -> int | None:
        """The latest slice that has a row."""
        if not self._days:
            return None
        return self._fine(max(self._days))[1].last_key // self.space

    @property
    def bytes(self) -> int:
        """Memory of all counts held."""
        fine = sum(runs.bytes for day in self._days.values() if day.fine for runs in day.fine)
        return fine + sum(day.whole.bytes for day in self._days.values())

    def shed(self, budget: int) -> int:
        """Drop slices and hours of the days least recently used until the counts fit `budget` bytes.

        Does nothing without `reload`; the caller sees to it that dropped days are readable there. Returns
        how many days were dropped.
        """
        if self.reload is None:
            return 0
        held, dropped = self.bytes, 0
        for day in sorted((d for d in self._days.values() if d.fine), key=lambda d: d.used):
            if held <= budget or day.fine is None:
                break
            held -= sum(runs.bytes for runs in day.fine)
            day.fine, dropped = None, dropped + 1
        return dropped

    def _days_between(self, start: int, end: int) -> list[int]:
        first, last = start // SLICES_PER_DAY, -(-end // SLICES_PER_DAY)
        if last - first < len(self._days):
            return [day for day in range(first, last) if day in self._days]
        return [day for day in sorted(self._days) if first <= day < last]

    def _within_day(self, day: int, low: int, high: int) -> Iterator[SparseCounts]:
        hours, slices = self._fine(day)
        first, last = -(-low // SLICES_PER_HOUR), high // SLICES_PER_HOUR
        if first >= last:
            yield from slices.between(low * self.space, high * self.space)
            return
        yield from hours.between(first * self.space, last * self.space)
        for start, end in ((low, first * SLICES_PER_HOUR), (last * SLICES_PER_HOUR, high)):
            yield from slices.between(start * self.space, end * self.space)

    def _by_day(self, part: SparseCounts) -> Iterator[tuple[int, SparseCounts]]:
        if not len(part):
            return
        per_day = SLICES_PER_DAY * self.space
        days = part.keys // per_day
        starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
        for low, high in zip(starts, np.append(starts[1:], len(days)), strict=True):
            yield int(days[low]), SparseCounts(part.keys[low:high], part.counts[low:high])

    def _day(self, day: int) -> _Day:
        self._clock += 1
        if day not in self._days:
            self._days[day] = _Day(_Whole(self.space), (_Runs(), _Runs()))
        self._days[day].used = self._clock
        return self._days[day]

    def _fine(self, day: int) -> tuple[_Runs, _Runs]:
        held = self._day(day)
        if held.fine is None:
            if self.reload is None:
                raise RuntimeError(f"slices of day {day} were dropped and cannot be read again")
            slices = self.reload(day)
            held.fine = (_Runs(), _Runs())
            held.fine[0].add(roll_up(slices, self.space, SLICES_PER_HOUR))
            held.fine[1].add(slices)
        return held.fine
