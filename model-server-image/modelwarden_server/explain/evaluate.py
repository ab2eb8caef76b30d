"""What the arrays of an exported model predict. Must not explain."""

from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.exported import LEAF, Exported, LinearModel, Link, TreeEnsemble
from modelwarden_server.explain.missing import Bits

_STEPS_AT_ONCE: Final = 65_536
_HIGHEST_MARGIN: Final = 700.0
"""e to it is still finite."""


def raw(model: Exported, encoded: Floats) -> Floats:
    """(n, e) -> (n, k): what the model sums up before its link. A linear model of a NaN gives NaN."""
    if isinstance(model, LinearModel):
        return np.asarray(encoded @ model.coef.T + model.intercept)
    found = np.empty((len(encoded), len(model.base)))
    at_once = max(1, _STEPS_AT_ONCE // len(model.roots))
    for start in range(0, len(encoded), at_once):
        found[start : start + at_once] = _summed(model, encoded[start : start + at_once])
    return found


def linked(link: Link, margin: Floats) -> Floats:
    """(n, k) -> (n, outputs): what the estimator predicts; (1-p, p) of a logit."""
    if link == "identity":
        return margin
    if link == "log":
        return np.asarray(np.exp(np.minimum(margin, _HIGHEST_MARGIN)))
    if link == "logit":
        p = sigmoid(margin[:, 0])
        return np.stack([sigmoid(-margin[:, 0]), p], axis=1)
    powers = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def sigmoid(margin: Floats) -> Floats:
    """1/(1+e^-margin), without overflow."""
    power = np.exp(-np.abs(margin))
    return np.where(margin >= 0, 1.0, power) / (1.0 + power)


def comparable(model: TreeEnsemble, encoded: Floats) -> npt.NDArray[np.floating]:
    """The encoded rows in the precision in which the trees compare."""
    return encoded.astype(np.float32) if model.single else encoded


def thresholds(model: TreeEnsemble) -> npt.NDArray[np.floating]:
    """The thresholds in the same precision, rounded to the side on which each comparison stays as it is."""
    if not model.single:
        return model.threshold
    with np.errstate(under="ignore", over="ignore"):
        near = model.threshold.astype(np.float32)
    wide = near.astype(np.float64)
    wrong = wide < model.threshold if model.strict else wide > model.threshold
    with np.errstate(under="ignore", over="ignore"):
        return np.where(wrong, np.nextafter(near, np.float32(np.inf if model.strict else -np.inf)), near)


def goes_left(
    model: TreeEnsemble,
    values: npt.NDArray[np.floating],
    bounds: npt.NDArray[np.floating],
    missing_left: Bits,
) -> Bits:
    """Which values go left at nodes with these bounds: arrays that broadcast."""
    low = values < bounds if model.strict else values <= bounds
    missing = np.isnan(values)
    return np.asarray(np.where(missing, missing_left, low) if missing.any() else low)


def _summed(model: TreeEnsemble, encoded: Floats) -> Floats:
    rows, trees = len(encoded), len(model.roots)
    flat, bounds = comparable(model, encoded).ravel(), thresholds(model)
    first = np.repeat(np.arange(rows) * encoded.shape[1], trees)
    node = np.tile(model.roots, rows).astype(np.int64)
    under = np.flatnonzero(model.feature[node] != LEAF)
    while len(under):
        here = node[under]
        values = flat[first[under] + model.feature[here]]
        left = goes_left(model, values, bounds[here], model.missing_left[here])
        node[under] = np.where(left, model.left[here], model.right[here])
        under = under[model.feature[node[under]] != LEAF]
    found = model.value[node].reshape(rows, trees, -1)
    if model.outputs[0] < 0:
        summed = found.sum(axis=1)
    else:
        summed = np.zeros((rows, len(model.base)))
        for output in range(len(model.base)):
            summed[:, output] = found[:, model.outputs == output, 0].sum(axis=1)
    return np.asarray(model.base + model.scale * summed)
