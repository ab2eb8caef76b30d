"""From the values of sampled coalitions to SHAP values and their standard errors: linear maps. No model.

What is fitted are half differences of paired coalitions, u(S) = (v(S) - v(complement of S)) / 2, an odd
function of the signs z (1: in, -1: out). Kernel SHAP fits it by sum_i beta_i z_i under the coalitions'
weights and the full coalition's value; phi_i = 2 beta_i (Lundberg and Lee 2017, Covert and Lee 2021). Fitting
more terms beside the linear ones leaves what it converges to as it is, and takes their noise away (as do
PolySHAP and regression-adjusted estimators, Witter and others 2025). Ours are all products of three signs at
once: a Gaussian process with the kernel e3(l z z'), e3 the third elementary symmetric polynomial, which power
sums give without listing triples. `l` is how much each player matters, by the linear fit: triples of players
that matter are where interaction is. phi_i = 2 beta_i + 2/3 sum of gamma_T over triples T with i.

Standard errors are those of the jackknife: leaving out one pair moves phi by its column of the map times its
leave-one-out residual, both in closed form.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.linalg import lapack

from modelwarden_server.explain.explanation import Floats

NOISES: Final = (0.01, 0.1, 1.0, 10.0)
"""Variance of what is not in triples, as a multiple of that of triples: the likeliest is taken."""
_LEAST_RELEVANCE = 0.02
_EXACT = 1e-8
_FLAT = 1e-10


@dataclass(frozen=True, eq=False)
class Estimate:
    """SHAP values (players, k), and their standard errors (players, k)."""

    values: Floats
    errors: Floats


@dataclass(frozen=True, eq=False)
class Fit:
    """What was fitted to some pairs: the estimate, and what it says of other pairs."""

    estimate: Estimate
    likelihood: float
    left_out: Floats
    """(m, k): by how much the half difference of each pair differs from what the others say of it."""
    matters: Floats
    whole: Floats
    """(m + 1, players): signs of the pairs, and of the full coalition."""
    slopes: Floats
    """(players, k)"""
    pulls: Floats
    """(m + 1, k)"""

    def predicted(self, signs: Floats) -> Floats:
        """(n, k): half differences of other pairs (n, players)."""
        size = _kernel(self.whole[-1:], self.whole[-1:], self.matters)
        return np.asarray(signs @ self.slopes + _kernel(signs, self.whole, self.matters) / size @ self.pulls)


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of a row."""

    halves: Floats
    """(m, k): half differences of the pairs."""
    total: Floats
    """(k,): the value of all players less that of none."""


def linear_map(signs: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(players, m) and (players,): times half differences and total, Kernel SHAP's values."""
    players = signs.shape[1]
    weighted = signs.T * weights
    gram = weighted @ signs
    inverse = np.linalg.inv(gram + _FLAT * players * np.eye(players))
    spread = inverse.sum(axis=1) / inverse.sum()
    free = 2 * inverse @ weighted
    return np.asarray(free - np.outer(spread, free.sum(axis=0))), spread


def relevance(values: Floats) -> Floats:
    """(players,): how much each player matters by values (players, k), of mean about 1."""
    scale = np.sqrt((values**2).sum(axis=0))
    shares = np.divide(values, scale, out=np.zeros_like(values), where=scale > 0)
    size = np.sqrt((shares**2).mean(axis=1))
    mean = float(size.mean())
    return np.asarray(size / mean if mean > 0 else np.ones_like(size)) + _LEAST_RELEVANCE


def fitted(signs: Floats, weights: Floats, seen: Observed, matters: Floats, noise: float) -> Fit:
    """The fit to pairs (m, players) with `weights` (m,), for players that matter as (players,) says. Time
    grows with m cubed.

    Raises numpy.linalg.LinAlgError for a noise with which the pairs cannot be told apart.
    """
    m, players = signs.shape
    whole = np.vstack([signs, np.ones(players)])
    values = np.vstack([seen.halves, seen.total / 2])
    size = _kernel(whole[-1:], whole[-1:], matters)
    kernel = _kernel(whole, whole, matters) / size
    kernel[np.diag_indices(m + 1)] += np.append(noise * weights.mean() / weights, _EXACT)
    inverse, log_determinant = _inverted(kernel)
    on_signs = inverse @ whole
    gram = whole.T @ on_signs
    gram[np.diag_indices(players)] += _FLAT * float(np.trace(gram)) / players
    linear = np.linalg.solve(gram, on_signs.T)
    residual = inverse - on_signs @ linear
    to_values = 2 * linear + (_triples_to_values(whole, matters) / size) @ residual
    phi = to_values @ values
    phi += (seen.total - phi.sum(axis=0)) / players  # rounding: the sum is exact by construction
    pulls = residual @ values
    apart = np.diag(residual)[:, None]
    left_out = np.divide(pulls, apart, out=np.zeros_like(pulls), where=apart > _EXACT)[:m]
    errors = np.sqrt((to_values[:, :m] ** 2) @ (left_out**2))
    free = max(m + 1 - players, 1)
    spread = np.maximum((values * pulls).sum(axis=0), np.finfo(float).tiny)
    on_gram = float(np.linalg.slogdet(gram)[1])
    likelihood = -0.5 * (len(spread) * (log_determinant + on_gram) + free * float(np.log(spread).sum()))
    return Fit(
        Estimate(phi, errors),
        likelihood,
        left_out,
        matters,
        whole,
        np.asarray(linear @ values, dtype=np.float64),
        pulls,
    )


def adjusted(fit: Fit, signs: Floats, to_values: Floats, halves: Floats) -> Estimate:
    """The estimate from more pairs (m, players), of which the fit had the first: its values, and Kernel
    SHAP's (by `to_values` (players, m), see linear_map) of what the fit leaves over. Time grows with m."""
    known = len(fit.left_out)
    over = np.concatenate([fit.left_out, halves[known:] - fit.predicted(signs[known:])])
    return Estimate(fit.estimate.values + to_values @ over, np.sqrt((to_values**2) @ (over**2)))


def _kernel(signs: Floats, others: Floats, matters: Floats) -> Floats:
    """(m, n) the covariance of values by products of three signs, the same of all with themselves. Newton:
    e3 = (p1^3 - 3 p1 p2 + 2 p3) / 6, p_r = sum_i (l_i z_i z_i')^r."""
    first, second = (signs * matters) @ others.T, float((matters**2).sum())
    third = (signs * matters**3) @ others.T
    return np.asarray((first * (first**2 - 3 * second) + 2 * third) / 6)


def _triples_to_values(signs: Floats, matters: Floats) -> Floats:
    """(players, m): the covariance of those values with SHAP values."""
    own = signs * matters
    others = own.sum(axis=1, keepdims=True) - own
    pairs = (others**2 - (float((matters**2).sum()) - matters**2)) / 2
    return np.asarray((own * pairs).T * (2 / 3))


def _inverted(matrix: Floats) -> tuple[Floats, float]:
    """The inverse and the logarithm of the determinant of a positive definite matrix."""
    factor, failed = lapack.dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError("the covariance of the pairs is not positive definite")
    lower, _ = lapack.dpotri(factor, lower=1)
    inverse = np.tril(lower, -1)
    inverse = inverse + inverse.T
    inverse[np.diag_indices(len(matrix))] = np.diag(lower)
    return np.asarray(inverse), 2 * float(np.log(np.diag(factor)).sum())
