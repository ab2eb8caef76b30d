"""Columns divided into few bins, so that a search can count instead of sort.

A number has at most 64 fine bins between its quantiles (or one for each value, if it has no more) and at most
16 coarse ones that are joined from them; a condition's borders are the shortest decimals that divide the same
rows. A category has a bin for each of its 30 most frequent values and one for all others. Missing values have
a bin of their own. Nothing but the columns is looked at: bins must not depend on what the model did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.rules import Among, Condition, Interval, Missing
from modelwarden_server.analysis.hotspots.table import Attribute, Categories, Floats, Mask, Numbers

FINE: Final = 64
COARSE: Final = 16
TOP: Final = 30
SIZE: Final = FINE + 2
"""Fine bins of a column, missing ones included, are fewer than this."""
_MOST_DIGITS = 17
_LONGEST_TEXT = 255

Codes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class NumberBins:
    """Bin i holds edges[i-1] < value <= edges[i]; the last one before `missing` is open above.

    `above`: the next value above each edge. `cuts`: the fine bins at which coarse ones begin, and the number
    of bins. `single`: the value of a bin that holds only one, else NaN.
    """

    name: str
    codes: Codes
    edges: Floats
    above: Floats
    cuts: npt.NDArray[np.int64]
    single: Floats

    @property
    def bins(self) -> int:
        """How many bins of values there are."""
        return len(self.edges) + 1

    @property
    def missing(self) -> int:
        """The bin of rows without a value."""
        return self.bins

    def condition(self, kept: tuple[int, ...]) -> Condition:
        """The condition that these neighbouring bins, or the missing one, are of."""
        if kept == (self.missing,):
            return Missing(self.name)
        first, last = kept[0], kept[-1]
        if first == last and not np.isnan(self.single[first]):
            return Among(self.name, (float(self.single[first]),))
        low = None if first == 0 else self._border(first - 1)
        high = None if last == self.bins - 1 else self._border(last)
        return Interval(self.name, low, high)

    def _border(self, place: int) -> float:
        return _between(float(self.edges[place]), float(self.above[place]))


@dataclass(frozen=True, eq=False)
class CategoryBins:
    """Bin i is the category at place `top[i]`; then all others; then missing."""

    name: str
    codes: Codes
    column: Categories
    top: tuple[int, ...]

    @property
    def other(self) -> int:
        """The bin of the categories that have none of their own."""
        return len(self.top)

    @property
    def missing(self) -> int:
        """The bin of rows without a value."""
        return len(self.top) + 1

    def condition(self, kept: tuple[int, ...]) -> Condition:
        """The condition that these bins are of."""
        if kept == (self.missing,):
            return Missing(self.name)
        if kept == (self.other,):
            return Among(self.name, tuple(self.column.values[place] for place in self.top), negated=True)
        return Among(self.name, tuple(self.column.values[self.top[code]] for code in kept))


ColumnBins = NumberBins | CategoryBins


@dataclass(frozen=True, eq=False)
class Bins:
    """All columns that have more than one bin."""

    columns: tuple[ColumnBins, ...]


def bins_of(attributes: Sequence[Attribute], rows: Mask, least: int) -> Bins:
    """The bins of the chosen rows. Categories with fewer than `least` rows have none of their own."""
    found: list[ColumnBins] = []
    for attribute in attributes:
        if isinstance(attribute, Numbers):
            column: ColumnBins | None = _numbers(attribute, rows)
        else:
            column = _categories(attribute, rows, least)
        if column is not None:
            found.append(column)
    return Bins(tuple(found))


def _numbers(column: Numbers, rows: Mask) -> NumberBins | None:
    values = column.values[rows]
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    new = np.append(True, known[1:] != known[:-1])
    distinct = known[new]
    if len(distinct) <= FINE:
        lower = np.arange(len(distinct) - 1)
    else:
        at = known[(np.arange(1, FINE) * len(known)) // FINE]
        lower = np.unique(np.searchsorted(distinct, at))
        lower = lower[lower < len(distinct) - 1]
    edges, above = distinct[lower], distinct[lower + 1]
    if not len(edges) and len(known) == len(values):
        return None
    codes = np.searchsorted(edges, values, side="left").astype(np.uint8)
    codes[np.isnan(values)] = len(edges) + 1
    starts, ends = np.append(0, lower + 1), np.append(lower, len(distinct) - 1)
    single = np.where((starts == ends) & np.isfinite(distinct[starts]), distinct[starts], np.nan)
    return NumberBins(column.name, codes, edges, above, _cuts(codes, len(edges) + 1), single)


def _between(low: float, high: float) -> float:
    """The shortest decimal d with low <= d < high; both finite or not, low < high."""
    if not np.isfinite(low):
        return float(np.nextafter(high, -np.inf)) if np.isfinite(high) else 0.0
    middle = low + (high - low) / 2 if np.isfinite(high) else low
    for digits in range(1, _MOST_DIGITS):
        for near in (low, middle):
            if low <= (found := float(f"{near:.{digits}g}")) < high:
                return found
    return float(low)


def _cuts(codes: Codes, bins: int) -> npt.NDArray[np.int64]:
    counts = np.bincount(codes, minlength=bins + 1)[:bins]
    if bins <= COARSE:
        return np.arange(bins + 1)
    before = np.cumsum(counts) - counts
    group = before * COARSE // max(1, int(counts.sum()))
    return np.append(np.append(0, 1 + np.flatnonzero(group[1:] != group[:-1])), bins)


def _categories(column: Categories, rows: Mask, least: int) -> CategoryBins | None:
    chosen = column.codes[rows]
    counts = np.bincount(chosen[chosen >= 0], minlength=len(column.values))
    order = np.argsort(-counts, kind="stable")[:TOP]
    top = [
        int(place)
        for place in order
        if counts[place] >= max(1, least) and len(str(column.values[place])) <= _LONGEST_TEXT
    ]
    bin_of = np.full(len(column.values) + 1, len(top), dtype=np.uint8)
    bin_of[top] = np.arange(len(top))
    bin_of[-1] = len(top) + 1
    codes: Codes = bin_of[chosen]
    if not top or len(np.unique(codes)) < 2:
        return None
    return CategoryBins(column.name, codes, column, tuple(top))
