"""A part of the rows that stands where the reference has next to none: values in another unit, a constant
written for "unknown", a category renamed, nulls.

Three rows in a hundred move no quantile, so a distance over deciles does not see them. Here every fine cell
and every run of 2, 4 … `_LONGEST` neighbouring cells is asked: given all rows in it, on both sides, is the
window's part larger than its size explains? That is a conditional binomial test (Przyborowski and Wilenski
1940; Fisher's, one-sided), exact for independent rows at any size, corrected for the number of runs asked
(Bonferroni). A surplus counts only if it is at least `share` of the window's rows and half as much again as
was there: a shifted distribution is the business of `drift`. Pure.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.cells import CategoryCells, Cells, NumericCells

Shares = npt.NDArray[np.float64]

_LONGEST: Final = 16
LEAST_SHARE: Final = 0.01
_MORE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Surplus:
    """The run of cells that the reference explains least: its share on both sides and the p of the test,
    corrected.
    """

    base_share: float
    share: float
    p_value: float


def surplus(cells: Cells, base: Shares, target: Shares, share: float = LEAST_SHARE) -> Surplus | None:
    """The most significant surplus of at least `share` of the target's rows; None if there is no such one.

    `base` and `target` are counts by cell; their sums are the rows they stand for.
    """
    m, n = float(base.sum()), float(target.sum())
    if m < 1 or n < 1:
        return None
    before, now = _runs(cells, base), _runs(cells, target)
    least = np.maximum(before / m * _MORE, before / m + share)
    large = np.flatnonzero(now / n >= least)
    if not len(large):
        return None
    p = upper_tail(before[large], now[large], m, n)
    place = int(p.argmin())
    return Surplus(
        float(before[large[place]] / m), float(now[large[place]] / n), min(1.0, float(p[place]) * len(before))
    )


def upper_tail(before: Shares, now: Shares, m: float, n: float) -> Shares:
    """P(X ≥ now) where X of the before + now rows fall to the window, each with probability n/(n+m).

    The Poisson-ratio form: right for parts that are small on both sides, and too large otherwise (their
    counts vary less than this allows for).
    """
    from scipy.special import betainc  # scipy costs a second to import

    p: Shares = np.where(now > 0, betainc(np.maximum(now, 1e-9), before + 1.0, n / (n + m)), 1.0)
    return p


def _runs(cells: Cells, counts: Shares) -> Shares:
    """Counts of every cell and, among numbers, of runs that begin at multiples of half their length."""
    values = np.asarray(counts, dtype=np.float64)
    if isinstance(cells, CategoryCells):
        return values
    if not isinstance(cells, NumericCells):
        return values[list(cells.missing)]
    upto = np.concatenate([[0.0], np.cumsum(values[: cells.intervals])])
    found = [values]
    length = 2
    while length <= min(_LONGEST, cells.intervals):
        starts = np.arange(0, cells.intervals - length + 1, length // 2)
        found.append(upto[starts + length] - upto[starts])
        length *= 2
    return np.concatenate(found)
