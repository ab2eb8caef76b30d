"""How large a distance arises by chance alone, at the sizes that are really compared.

Both sides are samples, so both are drawn: base* of m rows and target* of n rows from the reference's own
shares, `_DRAWS` times, and the metric between them. The tail is continued by the gamma distribution of the
same mean and variance (a distance between two samples of one distribution is about (1/n + 1/m)/c·χ² with
buckets-1 degrees, which is a gamma distribution), so that "one in ten thousand" needs no ten thousand draws.
Equal questions have equal answers: the draws are seeded by the question. Must not know which columns there
are.
"""

from dataclasses import dataclass
from typing import Final
from zlib import crc32

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.distances import Metric, distances

_DRAWS: Final = 400
_SEEN_OFTEN: Final = 4
"""A quantile with so many draws beyond it is taken as it is."""
_MARGIN: Final = 1.1
"""What was drawn is finite, and thin buckets have heavier tails than a gamma distribution: to the safe side.
"""
Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Question:
    """`base` are counts by bucket (their sum says how many rows the reference counts for); n the window's
    rows.
    """

    metric: Metric
    base: Shares
    n: int


def chance_distance(question: Question, level: float) -> float:
    """The distance that two samples of one distribution exceed with probability `level`."""
    total = float(question.base.sum())
    if not total or question.n < 1:
        return float("inf")
    m, n = max(1, round(total)), question.n
    shares = question.base / total
    rng = np.random.default_rng([crc32(question.metric.encode()), n, m, len(shares)])
    drawn = distances(question.metric, rng.multinomial(m, shares, _DRAWS), rng.multinomial(n, shares, _DRAWS))
    if level * _DRAWS >= _SEEN_OFTEN:
        return float(np.quantile(drawn, 1 - level))
    return _MARGIN * _continued(drawn, level, root=question.metric is Metric.HELLINGER)


def _continued(drawn: Shares, level: float, root: bool) -> float:
    """The quantile 1-level of what was drawn. Hellinger is a root: its square is what is gamma."""
    values = drawn**2 if root else drawn
    mean, variance = float(values.mean()), float(values.var(ddof=1))
    if mean <= 0 or variance <= 0:
        return float(drawn.max(initial=0.0))
    from scipy.special import gammainccinv  # scipy costs a second to import

    quantile = float(gammainccinv(mean**2 / variance, level)) * variance / mean
    return float(np.sqrt(quantile)) if root else quantile


def rounded_down(n: float) -> int:
    """n with two digits: thresholds learnt for fewer rows are higher, so rounding errs to the safe side."""
    if n < 1:
        return 0
    unit = 10 ** max(0, int(np.floor(np.log10(n))) - 1)
    return int(n // unit * unit)
