"""Binary trees as flat arrays, and the way of rows down to their leaves. Of a forest and of boosted trees.

Thresholds are single precision, rounded down: for a value in single precision `x <= t` means the same then as
against the threshold in double precision. Must not know what a leaf says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
"""Rows by features, in the order of columns (Fortran): what is asked is always one feature of many rows."""
Nodes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
NO_FEATURE: Final = -1
_MOST_NODES: Final = 5_000_000
_DEEPEST: Final = 64
_STEPS_AT_ONCE: Final = 32_768
_ARRAYS: Final = ("feature", "threshold", "left", "right", "roots")


@dataclass(frozen=True, eq=False)
class Trees:
    """All nodes of all trees one after the other, parents before children. A leaf has NO_FEATURE and is its
    own child. Rows with `x <= threshold` go left.
    """

    feature: Nodes
    threshold: npt.NDArray[np.float32]
    left: Nodes
    right: Nodes
    roots: Nodes

    @property
    def leaf(self) -> npt.NDArray[np.bool_]:
        """Which nodes are leaves."""
        return np.asarray(self.feature == NO_FEATURE)

    def arrays(self, prefix: str) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an artefact."""
        return {f"{prefix}_{name}": getattr(self, name) for name in _ARRAYS}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str, features: int) -> "Trees":
        """The trees in an artefact, checked wholly: a row comes to a leaf whatever it holds. Raises
        ValueError.
        """
        found = [_taken(arrays, f"{prefix}_{name}") for name in _ARRAYS]
        feature, left, right, roots = (found[i].astype(np.int32) for i in (0, 2, 3, 4))
        trees = cls(feature, found[1].astype(np.float32), left, right, roots)
        _check(trees, features, prefix)
        return trees

    def leaves(self, matrix: Matrix) -> Nodes:
        """The leaf that each row comes to in each tree: shape (rows, trees)."""
        found = np.empty((len(matrix), len(self.roots)), dtype=np.int32)
        at_once = max(1, _STEPS_AT_ONCE // len(self.roots))
        for start in range(0, len(matrix), at_once):
            piece = matrix[start : start + at_once]
            found[start : start + len(piece)] = self._followed(piece)
        return found

    def _followed(self, matrix: Matrix) -> Nodes:
        rows = len(matrix)
        flat = matrix.ravel(order="F")
        row = np.repeat(np.arange(rows, dtype=np.int32), len(self.roots))
        node = np.tile(self.roots, rows)
        # Where a feature stands in `flat`; a leaf asks for the first one, and stays where it is.
        start = np.maximum(self.feature, 0) * np.int32(rows)
        for _ in range(self.depth):
            low = flat.take(start.take(node) + row) <= self.threshold.take(node)
            # NaN goes right, as everything that is not at most the threshold; encoders give none.
            node = np.where(low, self.left.take(node), self.right.take(node))
        return node.reshape(rows, len(self.roots))

    @cached_property
    def depth(self) -> int:
        """The longest way from a root to a leaf, in steps."""
        return _depth(self)


@dataclass(frozen=True, eq=False)
class OneTree:
    """A tree as a library gives it: children by their place in it, thresholds in double precision.

    A leaf has a `left` that is negative (or its own); its feature and threshold mean nothing.
    """

    feature: npt.NDArray[np.integer]
    threshold: Floats
    left: npt.NDArray[np.integer]
    right: npt.NDArray[np.integer]
    is_leaf: npt.NDArray[np.bool_]


def joined(trees: Sequence[OneTree]) -> Trees:
    """All of them as one."""
    sizes = [len(tree.feature) for tree in trees]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in _ARRAYS[:4]}
    for tree, start in zip(trees, starts[:-1], strict=True):
        own = np.arange(len(tree.feature)) + start
        parts["feature"].append(np.where(tree.is_leaf, NO_FEATURE, tree.feature))
        parts["threshold"].append(np.where(tree.is_leaf, 0.0, tree.threshold))
        parts["left"].append(np.where(tree.is_leaf, own, tree.left.astype(np.int64) + start))
        parts["right"].append(np.where(tree.is_leaf, own, tree.right.astype(np.int64) + start))
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return Trees(
        whole["feature"].astype(np.int32),
        rounded_down(whole["threshold"]),
        whole["left"].astype(np.int32),
        whole["right"].astype(np.int32),
        starts[:-1].astype(np.int32),
    )


def rounded_down(values: Floats) -> npt.NDArray[np.float32]:
    """The largest single-precision number that is not above each value."""
    with np.errstate(over="ignore"):
        near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _taken(arrays: Mapping[str, npt.NDArray[Any]], name: str) -> npt.NDArray[Any]:
    if name not in arrays:
        raise ValueError(f"array {name} is missing")
    array = arrays[name]
    if array.ndim != 1 or not 0 < len(array) <= _MOST_NODES:
        raise ValueError(f"array {name} has the shape {array.shape}")
    return array


def _check(trees: Trees, features: int, prefix: str) -> None:
    nodes = len(trees.feature)
    if any(len(a) != nodes for a in (trees.threshold, trees.left, trees.right)):
        raise ValueError(f"{prefix}: arrays of nodes have different lengths")
    if trees.roots.min() < 0 or trees.roots.max() >= nodes or len(trees.roots) > nodes:
        raise ValueError(f"{prefix}: a root is no node")
    inner = ~trees.leaf
    own = np.arange(nodes)
    if inner.any() and not 0 <= trees.feature[inner].min() <= trees.feature[inner].max() < features:
        raise ValueError(f"{prefix}: a node asks for a feature that there is not")
    if np.isnan(trees.threshold).any():
        raise ValueError(f"{prefix}: a threshold is no number")
    for children in (trees.left, trees.right):
        # Children come after their parents, so every way down ends.
        if (children[inner] <= own[inner]).any() or children.max() >= nodes:
            raise ValueError(f"{prefix}: a child is no later node")
    if trees.depth > _DEEPEST:
        raise ValueError(f"{prefix}: a tree is deeper than {_DEEPEST}")


def _depth(trees: Trees) -> int:
    inner, level, depth = ~trees.leaf, trees.roots, 0
    while len(level := level[inner[level]]) and depth <= _DEEPEST:
        level = np.unique(np.concatenate([trees.left[level], trees.right[level]]))
        depth += 1
    return depth
