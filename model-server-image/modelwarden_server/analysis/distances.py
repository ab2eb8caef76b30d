"""How far two distributions over the same buckets are apart. Pure formulas over counts; all logarithms are
natural.

P is the base's share of a bucket, Q the target's. The formulas are the documented ones of Arthur's drift
metrics; what those leave open is settled here:

* an empty bucket: where a logarithm needs a share above zero (PSI, KL), the empty side counts as half a
  row, 0.5/n, the other shares as they are. (A constant such as 0.0001 would make the score of a small
  window depend on the constant.) A bucket empty on both sides counts for nothing;
* Jensen-Shannon is the divergence, not its square root: at most ln 2;
* Hellinger is the plain Euclidean norm of √P - √Q, without 1/√2: at most √2.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers

Shares = npt.NDArray[np.float64]

_HALF_ROW = 0.5


class Metric(StrEnum):
    """The documented names of drift metrics that are a distance of shares."""

    PSI = "PSI"
    KL = "KLDivergence"
    JS = "JSDivergence"
    HELLINGER = "HellingerDistance"


def distance(metric: Metric, base: Integers, target: Integers) -> float | None:
    """The metric over two vectors of counts. None if one side has no row."""
    if not base.sum() or not target.sum():
        return None
    return _FORMULAS[metric](np.asarray(base), np.asarray(target))


def _shares(counts: Integers) -> Shares:
    shares: Shares = counts / counts.sum()
    return shares


def _filled(counts: Integers) -> Shares:
    filled: Shares = np.where(counts > 0, counts, _HALF_ROW) / counts.sum()
    return filled


def _psi(base: Integers, target: Integers) -> float:
    used = (base > 0) | (target > 0)
    p, q = _filled(base)[used], _filled(target)[used]
    return float(np.sum((p - q) * np.log(p / q)))


def _kl(base: Integers, target: Integers) -> float:
    used = base > 0
    p, q = _shares(base)[used], _filled(target)[used]
    return float(np.sum(p * np.log(p / q)))


def _entropy(shares: Shares) -> float:
    held = shares[shares > 0]
    return float(-np.sum(held * np.log(held)))


def _js(base: Integers, target: Integers) -> float:
    p, q = _shares(base), _shares(target)
    return max(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _hellinger(base: Integers, target: Integers) -> float:
    return float(np.linalg.norm(np.sqrt(_shares(base)) - np.sqrt(_shares(target))))


_FORMULAS: dict[Metric, Callable[[Integers, Integers], float]] = {
    Metric.PSI: _psi,
    Metric.KL: _kl,
    Metric.JS: _js,
    Metric.HELLINGER: _hellinger,
}
