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
Counts = Integers | Shares
"""Whole rows, or what a reference moved along its season counts for."""

_HALF_ROW = 0.5


class Metric(StrEnum):
    """The documented names of drift metrics that are a distance of shares."""

    PSI = "PSI"
    KL = "KLDivergence"
    JS = "JSDivergence"
    HELLINGER = "HellingerDistance"


def distance(metric: Metric, base: Counts, target: Counts) -> float | None:
    """The metric over two vectors of counts. None if one side has no row."""
    if not base.sum() or not target.sum():
        return None
    return float(_FORMULAS[metric](base, target))


def distances(metric: Metric, bases: Counts, targets: Counts) -> Shares:
    """The metric of each row of counts in `bases` with the same row of `targets`. Every row has a count."""
    return _FORMULAS[metric](bases, targets)


def _shares(counts: Counts) -> Shares:
    shares: Shares = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def _filled(counts: Counts, used: npt.NDArray[np.bool_]) -> Shares:
    """Shares with half a row where there is none; 1 where a bucket counts for nothing: ln 1 is 0."""
    filled = np.where(counts > 0, counts, _HALF_ROW) / counts.sum(axis=-1, keepdims=True)
    return np.where(used, filled, 1.0)


def _psi(base: Counts, target: Counts) -> Shares:
    used = (base > 0) | (target > 0)
    p, q = _filled(base, used), _filled(target, used)
    return np.asarray(np.sum((p - q) * np.log(p / q), axis=-1))


def _kl(base: Counts, target: Counts) -> Shares:
    used = base > 0
    p, q = _filled(base, used), _filled(target, used)
    return np.asarray(np.sum(np.where(used, p * np.log(p / q), 0.0), axis=-1))


def _entropy(shares: Shares) -> Shares:
    return -np.asarray(np.sum(shares * np.log(np.where(shares > 0, shares, 1.0)), axis=-1))


def _js(base: Counts, target: Counts) -> Shares:
    p, q = _shares(base), _shares(target)
    return np.maximum(0.0, _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _hellinger(base: Counts, target: Counts) -> Shares:
    return np.asarray(np.linalg.norm(np.sqrt(_shares(base)) - np.sqrt(_shares(target)), axis=-1))


_FORMULAS: dict[Metric, Callable[[Counts, Counts], Shares]] = {
    Metric.PSI: _psi,
    Metric.KL: _kl,
    Metric.JS: _js,
    Metric.HELLINGER: _hellinger,
}
