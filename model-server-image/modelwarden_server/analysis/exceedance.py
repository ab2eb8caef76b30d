"""Are more rows beyond a limit than the reference explains? An exact one-sided test.

The limit is the reference's own r-th smallest score of m, so the share of other rows of the same kind beyond
it is not known but has the distribution Beta(m − r + 1, r), whatever the scores' distribution: the number of
n rows beyond it is beta-binomial. For an endless reference that is the binomial test with p = 1 − r/m; for a
small one it allows for the limit's own luck.
"""

from dataclasses import dataclass

import numpy as np

_AT_ONCE = 20_000
_NOTHING = 1e-18


@dataclass(frozen=True, slots=True)
class Limit:
    """The reference's `rank`-th smallest score of `rows` (from 1): what lies beyond is `> value`."""

    value: float
    rank: int
    rows: int

    @property
    def expected(self) -> float:
        """The share of rows of the reference's kind that is to be expected beyond it."""
        return (self.rows - self.rank + 1) / (self.rows + 1)


def exceedance_p(beyond: int, rows: int, limit: Limit) -> float:
    """P(at least `beyond` of `rows` rows of the reference's kind lie beyond the limit). 1.0 for none."""
    if beyond <= 0:
        return 1.0
    a, b = limit.rows - limit.rank + 1, limit.rank
    mean = rows * a / (a + b)
    if beyond > mean:
        return min(1.0, _summed(beyond, rows, 1, rows, (a, b)))
    return max(0.0, 1.0 - _summed(beyond - 1, 0, -1, rows, (a, b)))


def _summed(start: int, end: int, step: int, rows: int, shape: tuple[int, int]) -> float:
    """The probabilities from `start` to `end` (included), until they come to nothing."""
    total, at = 0.0, start
    while (at <= end) if step > 0 else (at >= end):
        last = min(at + _AT_ONCE - 1, end) if step > 0 else max(at - _AT_ONCE + 1, end)
        terms = _probability(np.arange(at, last + step, step, dtype=np.float64), rows, shape)
        total += float(terms.sum())
        if terms[-1] * (abs(end - last) + 1) < _NOTHING * max(total, 1e-290):
            break
        at = last + step
    return total


def _probability(k: "np.ndarray[tuple[int], np.dtype[np.float64]]", rows: int, shape: tuple[int, int]):  # type: ignore[no-untyped-def]
    from scipy.special import betaln  # scipy costs a second to import: only those pay who ask

    a, b = shape
    choose = -np.log(rows + 1) - betaln(rows - k + 1, k + 1)
    return np.exp(choose + betaln(k + a, rows - k + b) - betaln(a, b))
