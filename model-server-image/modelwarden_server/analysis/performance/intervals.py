"""What a metric's value is worth: intervals of 95 %, and values that are withheld for want of rows. Pure.

Shares: Wilson (1927). AUC: Hanley and McNeil (1982). Smooth functions of counts: the delta method, counts
being multinomial. A mean: its own standard error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

Z: Final = 1.959963984540054
LEAST_ROWS: Final = 30
"""Labelled rows that a rate needs to be told."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Value:
    """One metric. `value` is None where it is withheld or cannot be (a rate of nothing): `withheld` says why.
    `error` is the standard error behind the interval.
    """

    metric: str
    value: float | None
    n: int
    lower: float | None = None
    upper: float | None = None
    error: float | None = None
    withheld: str | None = None

    def named(self, metric: str) -> "Value":
        """The same value under another name."""
        return replace(self, metric=metric)


def nothing(metric: str, n: int, why: str) -> Value:
    """A value that is not told."""
    return Value(metric, None, n, withheld=why)


def share(metric: str, part: float, whole: float, least: int = LEAST_ROWS) -> Value:
    """part of whole, with Wilson's interval."""
    n = int(whole)
    if whole <= 0:
        return nothing(metric, 0, "there are no such rows")
    if n < least:
        return nothing(metric, n, f"n={n} < {least}")
    p = part / whole
    middle = (p + Z**2 / (2 * whole)) / (1 + Z**2 / whole)
    half = Z / (1 + Z**2 / whole) * math.sqrt(p * (1 - p) / whole + Z**2 / (4 * whole**2))
    # Exact at the ends, where rounding could leave the value outside of its interval.
    lower, upper = min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half))
    return Value(metric, p, n, lower, upper, half / Z)


def around(
    metric: str, value: float, error: float, n: int, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Value:
    """A value with a standard error."""
    lower, upper = max(bounds[0], value - Z * error), min(bounds[1], value + Z * error)
    return Value(metric, value, n, lower, upper, error)


def of_counts(
    metric: str, counts: Floats, function: Callable[[Floats], Floats], least: int = LEAST_ROWS
) -> Value:
    """A smooth function of multinomial counts between 0 and 1. `function` takes counts of shape (…, cells)
    and must not care how large they are in all.
    """
    n = float(counts.sum())
    if n < max(1, least):
        return nothing(metric, int(n), f"n={int(n)} < {least}" if n else "there are no such rows")
    value = float(function(counts))
    if not math.isfinite(value):
        return nothing(metric, int(n), "it would divide by nothing")
    used = np.flatnonzero(counts > 0)
    step = max(n * 1e-4, 1e-6)
    moved = np.repeat(counts[None, :], len(used), axis=0)
    moved[np.arange(len(used)), used] += step
    slopes = (function(moved) - value) / step
    slopes = np.where(np.isfinite(slopes), slopes, 0.0)
    c = counts[used]
    variance = float((c * slopes**2).sum() - (c * slopes).sum() ** 2 / n)
    return around(metric, value, math.sqrt(max(variance, 0.0)), int(n), (0.0, 1.0))


def area(positives: Floats, negatives: Floats, least: int = LEAST_ROWS) -> Value:
    """AUC of ascending bins of score: the share of pairs in the right order, pairs in one bin counting half.

    Within a bin nothing is known of the order: the true area is within `tied / 2` (see `tied_share`) of it.
    """
    p, m = float(positives.sum()), float(negatives.sum())
    n = int(p + m)
    if not p or not m:
        return nothing("auc", n, "only one of the classes is there")
    if n < least:
        return nothing("auc", n, f"n={n} < {least}")
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    a = float((positives * (below + negatives / 2)).sum() / (p * m))
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (p - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (p * m)
    # At 0 and 1 the formula knows no variance: as if half a pair were in the wrong order.
    floor = min(0.5, 0.5 / min(p, m)) ** 2 / 4 if a in (0.0, 1.0) else 0.0
    return around("auc", a, math.sqrt(max(variance, floor, 0.0)), n, (0.0, 1.0))


def tied_share(positives: Floats, negatives: Floats) -> float:
    """The share of pairs of a positive and a negative row that are in one bin."""
    pairs = float(positives.sum()) * float(negatives.sum())
    return float((positives * negatives).sum()) / pairs if pairs else 0.0
