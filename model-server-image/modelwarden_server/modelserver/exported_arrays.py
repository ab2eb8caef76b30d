"""The arrays of trees and linear models as they are sent: the order that explain/exported.py reads.

Runs in the child, Python 3.8 and numpy alone. Must not know any library's estimators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Exported = tuple[dict[str, Any], list[Any]]


UNKNOWN = -1
LEAF = -1


class NotExportableError(ValueError):
    """Why an estimator is not sent as arrays, in a sentence: the black box explains it then."""


def linear(estimator: Any, coef: Any, intercept: Any, link: str, *, classifies: bool) -> Exported:
    """A linear model: coef (k, e), intercept (k,) or a number."""
    weights = np.atleast_2d(np.asarray(coef, dtype=np.float64))
    shift = np.broadcast_to(np.asarray(intercept, dtype=np.float64).reshape(-1), (len(weights),)).copy()
    header = _header(estimator, "linear", link, classifies)
    return header, [weights, shift, np.full(weights.shape[1], UNKNOWN, dtype=np.int32)]


class Forest:
    """Trees laid one after the other."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[Any]] = {}
        self._roots: list[int] = []
        self._outputs: list[int] = []
        self._nodes = 0

    def add(self, tree: dict[str, Any], output: int) -> None:
        """One tree: left, right (-1 in leaves), feature, threshold, missing_left of each node, value (nodes,
        w); children come after their node. `output`: which column of raw it is of, -1: of all."""
        left = np.asarray(tree["left"], dtype=np.int64)
        leaf = left < 0
        self._roots.append(self._nodes)
        self._outputs.append(output)
        moved = {
            "left": np.where(leaf, LEAF, left + self._nodes),
            "right": np.where(leaf, LEAF, np.asarray(tree["right"], dtype=np.int64) + self._nodes),
            "feature": np.where(leaf, LEAF, tree["feature"]),
            "threshold": np.where(leaf, 0.0, tree["threshold"]),
            "missing_left": np.asarray(tree["missing_left"], dtype=bool) & ~leaf,
            "value": np.where(leaf[:, None], tree["value"], 0.0),
        }
        for name, piece in moved.items():
            self._pieces.setdefault(name, []).append(piece)
        self._nodes += len(left)

    def sent(self, header: dict[str, Any], base: Any, columns: int) -> Exported:
        """Header and arrays. base (k,); columns: of the matrix that reaches the trees."""
        if not self._roots:
            raise NotExportableError("it has no trees")
        whole = {name: np.concatenate(pieces) for name, pieces in self._pieces.items()}
        integers = {name: whole[name].astype(np.int32) for name in ("left", "right", "feature")}
        return header, [
            integers["left"],
            integers["right"],
            integers["feature"],
            whole["threshold"].astype(np.float64),
            whole["missing_left"],
            whole["value"].astype(np.float64),
            np.array(self._roots, dtype=np.int32),
            np.array(self._outputs, dtype=np.int32),
            np.asarray(base, dtype=np.float64).reshape(-1),
            np.full(columns, UNKNOWN, dtype=np.int32),
        ]


def trees_header(estimator: Any, link: str, classifies: bool, **told: Any) -> dict[str, Any]:
    """The header of trees; `told`: scale, strict, single where they are not 1, False, True."""
    return {
        **_header(estimator, "trees", link, classifies),
        "scale": float(told.get("scale", 1.0)),
        "strict": bool(told.get("strict", False)),
        "single": bool(told.get("single", True)),
    }


def _header(estimator: Any, kind: str, link: str, classifies: bool) -> dict[str, Any]:
    return {"kind": kind, "link": link, "classifies": classifies, "estimator": type(estimator).__name__}
