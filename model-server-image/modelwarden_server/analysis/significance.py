"""Whether a difference is more than chance: tests on counts, and the correction for asking many questions at
once.

The base is a sample too, not the truth: every test here has two samples, so a small reference cannot make
noise look certain. (In the same terms, PSI of two samples of one distribution is about (1/n + 1/m)·χ² with
buckets-1 degrees.)
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.distances import Counts

_LEAST_EXPECTED = 5.0


def homogeneity_p(base: Counts, target: Counts, ordered: bool) -> float | None:
    """p of the χ² test that both counts come from one distribution. None if one side is empty.

    χ² is only near its distribution where every expected count is at least 5 (Cochran): buckets below are
    joined with their neighbour if buckets are `ordered`, else with one another. One bucket left means no
    evidence: p = 1.
    """
    m, n = float(base.sum()), float(target.sum())
    if not m or not n:
        return None
    both = np.stack([base, target]).astype(np.float64)
    least = _LEAST_EXPECTED * (m + n) / min(m, n)
    both = _joined(both, least) if ordered else _pooled(both, least)
    if both.shape[1] < 2:
        return 1.0
    expected = both.sum(axis=1, keepdims=True) * both.sum(axis=0) / (m + n)
    return chi_square_tail(float(((both - expected) ** 2 / expected).sum()), both.shape[1] - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(χ² with these degrees of freedom ≥ statistic)."""
    from scipy.special import gammaincc  # scipy costs a second to import: only those pay who ask

    return float(gammaincc(degrees / 2, statistic / 2))


def smirnov_p(base: Counts, target: Counts) -> float | None:
    """p of the two-sample Kolmogorov-Smirnov test on ordered counts; None if one side is empty.

    The largest gap of the two distribution functions is taken at the borders of the buckets, so it is at most
    the true one, and short of it by at most the share of the largest bucket: p errs upwards.
    """
    m, n = float(base.sum()), float(target.sum())
    if not m or not n:
        return None
    from scipy.special import kolmogorov

    gap = float(np.abs(np.cumsum(base) / m - np.cumsum(target) / n).max())
    return float(kolmogorov(gap * np.sqrt(m * n / (m + n))))


def discoveries(p_values: Sequence[float], rate: float) -> list[bool]:
    """Benjamini and Hochberg (1995): which of these may be called significant at false
    discovery rate `rate`.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    passed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / max(1, len(p)))
    found = np.zeros(len(p), dtype=np.bool_)
    if len(passed):
        found[order[: passed[-1] + 1]] = True
    return [bool(one) for one in found]


def _pooled(both: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.float64]:
    weak = both.sum(axis=0) < least
    if not weak.any():
        return both
    pool = both[:, weak].sum(axis=1, keepdims=True)
    strong = both[:, ~weak]
    if pool.sum() >= least or not strong.shape[1]:
        return np.hstack([strong, pool])
    smallest = int(strong.sum(axis=0).argmin())
    strong[:, [smallest]] += pool
    return strong


def _joined(both: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.float64]:
    if (both.sum(axis=0) >= least).all():
        return both
    groups: list[npt.NDArray[np.float64]] = []
    gathered = np.zeros(2)
    for bucket in both.T:
        gathered = gathered + bucket
        if gathered.sum() >= least:
            groups.append(gathered)
            gathered = np.zeros(2)
    if gathered.sum() and groups:
        groups[-1] = groups[-1] + gathered
    return np.stack(groups or [gathered], axis=1)
