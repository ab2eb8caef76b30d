"""How sure a share is, and a difference or a ratio of two: intervals and a test, from whole numbers.

Shares are k of n. `alpha` is the chance that an interval misses the truth: 0.05 for one of 95 %.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

_LEAST_EXPECTED = 5.0
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and what it may be, both ends inside."""

    value: float
    low: float
    high: float


@lru_cache(maxsize=256)
def _z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2)


def wilson(k: int, n: int, alpha: float = ALPHA) -> Interval:
    """Wilson's score interval (1927) of a share, for n > 0."""
    p, z = k / n, _z(alpha)
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else max(0.0, middle - half)
    high = 1.0 if k == n else min(1.0, middle + half)
    return Interval(p, low, high)


def newcombe(k: int, n: int, base_k: int, base_n: int, alpha: float = ALPHA) -> Interval:
    """The difference of two shares, k/n - base_k/base_n, with Newcombe's hybrid score interval (1998,
    method 10): made of the two Wilson intervals. Both n > 0.
    """
    one, base = wilson(k, n, alpha), wilson(base_k, base_n, alpha)
    difference = one.value - base.value
    return Interval(
        difference,
        max(-1.0, difference - math.hypot(one.value - one.low, base.high - base.value)),
        min(1.0, difference + math.hypot(one.high - one.value, base.value - base.low)),
    )


def ratio(k: int, n: int, base_k: int, base_n: int, alpha: float = ALPHA) -> Interval | None:
    """The ratio of two shares, with Katz's interval (1978) of its logarithm. Both n > 0; None over a share of
    0.

    Without a single k there is no logarithm: then half a row is added to each k and n, for the high end
    alone, and the low end is 0.
    """
    if not base_k:
        return None
    value = (k / n) / (base_k / base_n)
    if not k:
        centre = (0.5 / (n + 0.5)) / ((base_k + 0.5) / (base_n + 0.5))
        error = math.sqrt(1 / 0.5 - 1 / (n + 0.5) + 1 / (base_k + 0.5) - 1 / (base_n + 0.5))
        return Interval(0.0, 0.0, centre * math.exp(_z(alpha) * error))
    error = math.sqrt(1 / k - 1 / n + 1 / base_k - 1 / base_n)
    spread = math.exp(_z(alpha) * error)
    return Interval(value, value / spread, value * spread)


def two_shares_p(k: int, n: int, base_k: int, base_n: int) -> float:
    """p, two-sided, of the same share in both: Pearson's χ² without a correction, or Fisher's exact test
    where a cell is expected to hold fewer than 5 rows. Both n > 0.
    """
    hits, rows = k + base_k, n + base_n
    if hits in (0, rows):
        return 1.0
    if min(n, base_n) * min(hits, rows - hits) / rows < _LEAST_EXPECTED:
        from scipy.stats import fisher_exact  # costs a second to import: only small groups pay

        return float(fisher_exact([[k, n - k], [base_k, base_n - base_k]]).pvalue)
    pooled = hits / rows
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / base_n))
    return math.erfc(abs(k / n - base_k / base_n) / spread / math.sqrt(2))


def paired_difference(gained: int, lost: int, n: int, alpha: float = ALPHA) -> Interval:
    """How much a share of the same n rows changed when `gained` rows became right and `lost` wrong.

    Wald's interval with Agresti and Min's half rows (2005): a change of no row at all has an interval, too.
    """
    b, c, rows = gained + 0.5, lost + 0.5, n + 2
    centre = (b - c) / rows
    half = _z(alpha) * math.sqrt(b + c - (b - c) ** 2 / rows) / rows
    change = (gained - lost) / n
    # The half rows pull towards 0, so that a change of nearly all rows may end up outside.
    return Interval(change, max(-1.0, min(change, centre - half)), min(1.0, max(change, centre + half)))
