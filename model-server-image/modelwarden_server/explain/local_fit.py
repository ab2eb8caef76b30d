"""A weighted ridge regression from sums of products, and from the same sums how sure it is. No model.

The sample comes in GROUPS groups, whose sums of products add up to those of all rows. How far each group
pulls the coefficients gives their standard errors (the grouped sandwich of Liang and Zeger 1986). Each of
SEEDS seeds has a third of the groups: how far what they say by themselves agrees bounds the stability of the
whole from below.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.stability import agreement

SEEDS: Final = 3
GROUPS: Final = 12
"""Groups of the sample, as many of each seed."""
ALPHA: Final = 1.0
"""The ridge: that of lime's package."""


@dataclass(frozen=True, eq=False)
class LocalFit:
    """Coefficients (k, p), their standard errors (k, p), weighted R2 (k,), and the stability over seeds."""

    values: Floats
    errors: Floats
    fit: Floats
    stability: float


def sums_of_products(columns: npt.NDArray[np.floating[Any]], weights: Floats) -> Floats:
    """(GROUPS, c, c) of columns (m, c) with weights (m,); m is a multiple of GROUPS, group after group.

    In the columns' own precision within a group: single precision takes half the time, and is enough for
    columns of about the size of 1.
    """
    grouped = columns.reshape(GROUPS, -1, columns.shape[1])
    roots = np.sqrt(weights).astype(columns.dtype).reshape(GROUPS, -1, 1)
    weighted = grouped * roots
    return np.stack([one.T @ one for one in weighted]).astype(np.float64)


def fitted(sums: Floats, parts: int) -> LocalFit:
    """The fit of the columns 1, parts, outputs, of which `sums` (GROUPS, c, c) are the sums of products."""
    inner = 1 + parts
    whole = sums.sum(axis=0)
    solution = _ridge(whole, inner)
    # A group's pull on the coefficients, to first order: what moves them when the group counts more.
    pulls = sums[:, :inner, inner:] - sums[:, :inner, :inner] @ solution
    flat = pulls.transpose(1, 0, 2).reshape(inner, -1)
    moved = np.linalg.solve(_left(whole, inner), flat).reshape(inner, len(sums), -1)
    spread = ((moved - moved.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    of_seed = np.stack([_ridge(one, inner) for one in sums.reshape(SEEDS, -1, *whole.shape).sum(axis=1)])
    return LocalFit(
        values=np.asarray(solution[1:].T),
        errors=np.sqrt(spread[1:].T * GROUPS / (GROUPS - 1)),
        fit=_r_squared(whole, solution),
        stability=agreement(np.abs(of_seed[:, 1:]).mean(axis=2)),
    )


def _left(sums: Floats, inner: int) -> Floats:
    """The normal equations' left side: the ridge leaves the intercept free."""
    left = sums[:inner, :inner].copy()
    left[np.arange(1, inner), np.arange(1, inner)] += ALPHA
    left[0, 0] = max(left[0, 0], np.finfo(float).tiny)
    return left


def _ridge(sums: Floats, inner: int) -> Floats:
    """(inner, k): intercept and coefficients of each output."""
    return np.asarray(np.linalg.solve(_left(sums, inner), sums[:inner, inner:]))


def _r_squared(sums: Floats, solution: Floats) -> Floats:
    """(k,): the share of the outputs' weighted variance that the fit explains; 1 where there is none."""
    inner = len(solution)
    of_outputs = np.diag(sums)[inner:]
    total = of_outputs - sums[0, inner:] ** 2 / max(float(sums[0, 0]), np.finfo(float).tiny)
    cross = sums[:inner, inner:]
    left = of_outputs - 2 * (solution * cross).sum(axis=0)
    left += (solution * (sums[:inner, :inner] @ solution)).sum(axis=0)
    some = total > 1e-12 * np.maximum(of_outputs, np.finfo(float).tiny)
    return np.asarray(1 - np.divide(left, total, out=np.zeros_like(total), where=some))
