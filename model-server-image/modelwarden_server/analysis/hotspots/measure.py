"""What rules come to on the half of the rows that they were not found on: metric, interval, the rest, p.

Shares: Wilson's interval, and Fisher's exact test of rows within against all others (hypergeometric tail).
Means: the normal interval of the mean, and Welch's test. One-sided: worse than the rest. Must not search.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.outcomes import SHARES, Loss, Metric
from modelwarden_server.analysis.hotspots.table import Floats, Mask

Z_95: Final = 1.959963984540054
_ECHO_Z: Final = 2.5758293035489004
"""One-sided 0.5 %: what a rule must still be worse by without the rows of a stronger one, to be told too."""
_DEEPER_Z: Final = 1.6448536269514722
"""One-sided 5 %: what a part must be worse by than the rest of a rule, to be told instead."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric of one rule. `n` rows the metric is taken over, `loss` their sum of losses (of shares: how
    many are bad). `value`, its 95 % interval, and the value of all other rows are None without such rows.

    `difference` is how much worse it is than the rest, in the metric's unit; z and p are of the test.
    """

    n: int
    loss: float
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rest_n: int = 0
    rest: float | None = None
    difference: float | None = None
    z: float = 0.0
    p: float = 1.0
    p_adjusted: float = 1.0


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Which of two rules explains the other, by one metric. Shapes (rules, rules).

    `echo[a, b]`: without the rows of b, those of a are no worse than the rows outside of both.
    `explained[a, b]`: a lies within b and is no worse than the rest of b.
    """

    echo: npt.NDArray[np.bool_]
    explained: npt.NDArray[np.bool_]


def value_of(metric: Metric, share: float) -> float:
    """The metric's value from the mean loss. Of F1 from 1 − J: 2J / (1 + J)."""
    if metric is Metric.F1:
        return 2 * (1 - share) / (2 - share)
    return 1 - share if metric in SHARES else share


def measured(masks: Sequence[Mask], loss: Loss) -> list[Measured]:
    """Each rule's rows (as masks) by one loss, all of them of the judged half."""
    counted = loss.loss[loss.counts]
    whole = len(counted), float(counted.sum()), float((counted**2).sum())
    found = []
    for mask in masks:
        inside = counted[mask[loss.counts]]
        part = len(inside), float(inside.sum()), float((inside**2).sum())
        found.append(_share(loss.metric, part, whole) if loss.metric in SHARES else _mean(part, whole))
    return _adjusted(found)


def wilson(bad: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    p, z2 = bad / n, Z_95**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * np.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


_Sums = tuple[int, float, float]


def _share(metric: Metric, part: _Sums, whole: _Sums) -> Measured:
    n, bad = part[0], part[1]
    m, others = whole[0] - n, whole[1] - bad
    if not n:
        return Measured(0, 0.0, rest_n=m, rest=value_of(metric, others / m) if m else None)
    value = value_of(metric, bad / n)
    low, high = sorted(value_of(metric, share) for share in wilson(bad, n))
    if not m:
        return Measured(n, bad, value, low, high)
    rest, pooled = value_of(metric, others / m), whole[1] / whole[0]
    spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = float((bad / n - others / m) / spread) if spread > 0 else 0.0
    p = fisher(round(bad), n, round(whole[1]), whole[0])
    return Measured(n, bad, value, low, high, m, rest, rest - value, z, p)


def fisher(bad: int, n: int, all_bad: int, rows: int) -> float:
    """Fisher's exact test, one-sided: how likely at least `bad` of `n` drawn rows are bad, of `rows` of which
    `all_bad` are (the upper tail of the hypergeometric distribution, by logarithms of factorials).
    """
    from scipy.special import gammaln  # costs a moment to import: only a training measures

    def chosen(of: Floats | int, some: Floats | int) -> Floats:
        return np.asarray(gammaln(of + 1.0) - gammaln(some + 1.0) - gammaln(of - some + 1.0))

    k = np.arange(max(bad, n + all_bad - rows), min(n, all_bad) + 1, dtype=np.float64)
    logs = chosen(all_bad, k) + chosen(rows - all_bad, n - k) - chosen(rows, n)
    return float(min(1.0, np.exp(logs).sum()))


def _mean(part: _Sums, whole: _Sums) -> Measured:
    n, total = part[0], part[1]
    m, others = whole[0] - n, whole[1] - total
    rest = others / m if m else None
    if not n:
        return Measured(0, 0.0, rest_n=m, rest=rest)
    value, square = total / n, _error_of_mean(part)
    half = Z_95 * np.sqrt(square)
    ends = (max(0.0, float(value - half)), float(value + half))
    if rest is None or n < 2 or m < 2:
        return Measured(n, total, value, *ends, m, rest)
    other = _error_of_mean((m, others, whole[2] - part[2]))
    if not square + other > 0 or not np.isfinite(square + other):
        return Measured(n, total, value, *ends, m, rest, value - rest)
    from scipy.special import stdtr

    t = float((value - rest) / np.sqrt(square + other))
    degrees = (square + other) ** 2 / (square**2 / (n - 1) + other**2 / (m - 1))
    return Measured(n, total, value, *ends, m, rest, value - rest, t, float(stdtr(degrees, -t)))


def _error_of_mean(sums: _Sums) -> float:
    """The squared standard error of the mean."""
    n, total, squares = sums
    if n < 2:
        return 0.0
    return max(0.0, (squares - total * total / n) / (n - 1)) / n


def _adjusted(found: Sequence[Measured]) -> list[Measured]:
    """Holm (1979) over all that was measured: whatever else is true, the chance that any rule which is no
    worse than the rest gets an adjusted p below a level is at most that level.
    """
    p = np.array([one.p for one in found])
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [replace(one, p_adjusted=float(a)) for one, a in zip(found, adjusted, strict=True)]


def overlaps(masks: Sequence[Mask], loss: Loss) -> Overlaps:
    """How the rules' rows explain one another, on the judged half."""
    if not masks:
        return Overlaps(np.zeros((0, 0), dtype=np.bool_), np.zeros((0, 0), dtype=np.bool_))
    counted = loss.loss[loss.counts]
    inside = _stacked([mask[loss.counts] for mask in masks])
    total, deviation = float(counted.sum()), float(counted.std()) if len(counted) else 0.0
    both = _common(inside, inside)
    if loss.metric in SHARES:
        lost = _common(inside, inside & (counted > 0))
    else:
        lost = np.array([[counted[one & other].sum() for other in inside] for one in inside]).reshape(
            both.shape
        )
    n, w = np.diag(both)[:, None], np.diag(lost)[:, None]
    outside = len(counted) - n - n.T + both
    z = _z((n - both, w - lost), (outside, total - w - w.T + lost), deviation)
    within = _z((both, lost), (n.T - both, w.T - lost), deviation)
    contained = (both >= n) & (n < n.T)
    return Overlaps(echo=z < _ECHO_Z, explained=contained & (within < _DEEPER_Z))


def shared(masks: Sequence[Mask]) -> Floats:
    """Rows of two rules both, as a share of the smaller one's. Shape (rules, rules). On packed bits."""
    rows = _stacked(masks)
    both = _common(rows, rows)
    counts = np.diag(both)
    found: Floats = both / np.maximum(1, np.minimum(counts[:, None], counts[None, :]))
    return found


def _stacked(masks: Sequence[Mask]) -> npt.NDArray[np.bool_]:
    return np.stack(masks) if masks else np.zeros((0, 0), dtype=np.bool_)


def _common(ones: npt.NDArray[np.bool_], others: npt.NDArray[np.bool_]) -> Floats:
    """How many rows each of the ones has in common with each of the others, on packed bits."""
    found = np.zeros((len(ones), len(others)))
    packed = _words(others)
    for place, one in enumerate(_words(ones)):
        found[place] = np.bitwise_count(packed & one).sum(axis=1, dtype=np.int64)
    return found


def _words(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    bits = np.packbits(rows, axis=1)
    whole = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), dtype=np.uint8)
    whole[:, : bits.shape[1]] = bits
    return whole.view(np.uint64)


def jaccard(one: Mask, other: Mask) -> float:
    """Rows of both by rows of either; 0 without any."""
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 0.0


def _z(part: tuple[Floats, Floats], rest: tuple[Floats, Floats], deviation: float) -> Floats:
    """z of the mean of a part above that of the rest; 0 where one of them is empty."""
    n, m = part[0], rest[0]
    there = (n > 0) & (m > 0)
    a, b = np.where(there, n, 1), np.where(there, m, 1)
    spread = np.maximum(deviation, 1e-300) * np.sqrt(1 / a + 1 / b)
    z: Floats = np.where(there, (part[1] / a - rest[1] / b) / spread, 0.0)
    return z
