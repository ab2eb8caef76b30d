"""Boosted regression trees: fitted by scikit-learn in a Job, applied here from arrays.

A prediction is a base plus one value of each tree. Equal to scikit-learn's own. Must not know what is
predicted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.trees import Floats, Matrix, OneTree, Trees, joined

_ROWS_AT_ONCE: Final = 4096
_ROUNDS: Final = 200
_PATIENCE: Final = 10
_RATE: Final = 0.05
_LEAVES: Final = 15
_HELD_BACK: Final = 0.15


@dataclass(frozen=True, eq=False)
class Boosted:
    """`value[leaf]` is what the leaf adds to `base`."""

    trees: Trees
    value: Floats
    base: float

    def predict(self, matrix: Matrix) -> Floats:
        """The prediction of each row."""
        found = np.empty(len(matrix))
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            piece = matrix[start : start + _ROWS_AT_ONCE]
            found[start : start + len(piece)] = self.value[self.trees.leaves(piece)].sum(axis=1)
        return found + self.base

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an artefact."""
        return self.trees.arrays(prefix) | {f"{prefix}_value": self.value}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str, base: Any, features: int) -> "Boosted":
        """The trees in an artefact. Raises ValueError for what `boost` would not make."""
        trees = Trees.of(arrays, prefix, features)
        value = arrays.get(f"{prefix}_value")
        if value is None or value.shape != trees.feature.shape or not np.isfinite(value).all():
            raise ValueError(f"{prefix}_value does not fit the nodes")
        if not isinstance(base, float) or not np.isfinite(base):
            raise ValueError(f"{prefix} has no base")
        return cls(trees, value.astype(np.float64), base)


def boost(matrix: Matrix, target: Floats, seed: int) -> Boosted:
    """Trees for the mean of `target` given the features, as many as help on rows held back. By scikit-learn,
    which only Jobs import; on one thread, so that sums do not depend on how many there are.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    fitted = HistGradientBoostingRegressor(
        learning_rate=_RATE,
        max_iter=_ROUNDS,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=max(20, len(target) // 200),
        early_stopping=True,
        validation_fraction=_HELD_BACK,
        n_iter_no_change=_PATIENCE,
        random_state=seed,
    )
    with threadpool_limits(limits=1):
        fitted.fit(np.ascontiguousarray(matrix), target)
    return converted(fitted)


def converted(fitted: Any) -> Boosted:
    """A fitted `sklearn.ensemble.HistGradientBoostingRegressor` without categorical features, for rows
    without NaN.
    """
    trees, values = [], []
    for (predictor,) in fitted._predictors:
        nodes = predictor.nodes
        is_leaf = nodes["is_leaf"].astype(np.bool_)
        left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
        trees.append(
            OneTree(nodes["feature_idx"].astype(np.int64), nodes["num_threshold"], left, right, is_leaf)
        )
        values.append(np.where(is_leaf, nodes["value"], 0.0))
    return Boosted(joined(trees), np.concatenate(values), float(fitted._baseline_prediction.reshape(-1)[0]))
