"""An isolation forest: grown by scikit-learn in a Job, scored here from arrays, with what made a row so.

The score of a row is 2^(−E[h]/c(n)) (Liu, Ting, Zhou 2008): h is the length of its path in a tree plus c of
the rows that share its leaf, n the rows a tree was grown on, c(n) = 2(ln(n−1) + γ) − 2(n−1)/n the expected
length. 0.5 is ordinary, towards 1 anomalous. Equal to scikit-learn's `-score_samples`.

Must not know where a feature comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.trees import NO_FEATURE, Floats, Matrix, OneTree, Trees, joined

TREES: Final = 100
SAMPLE: Final = 256
_FEW: Final = 800
"""Below so many rows it is quicker to follow each row than to ask every node."""
_BLOCK: Final = 32_768
_FOLLOWED: Final = 4096
_MOST_COUNTED: Final = 255

Mask = npt.NDArray[np.uint8]
"""1 where a row is meant, 0 where not."""


@dataclass(frozen=True, eq=False)
class Forest:
    """`length[node]` is the path length of a row that ends in the node; of an inner node what is expected of
    the rows that the tree was grown on and that came by. `sample`: on how many rows each tree was grown.
    """

    trees: Trees
    length: Floats
    sample: int
    _plan: "_Plan" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_plan", _Plan(self.trees, self.length))

    def score(self, matrix: Matrix) -> Floats:
        """The score of each row, 0 to 1."""
        total = self._totals(matrix)
        usual = len(self.trees.roots) * float(expected_length(np.array([self.sample]))[0])
        return np.asarray(np.exp2(-total / usual))

    def contributions(self, matrix: Matrix) -> Floats:
        """By how much each feature made the path of each row shorter than expected: shape (rows, features).

        Each step down changes the expected length; what it takes away counts for the feature that was asked.
        A row's numbers sum to E[h] at the roots less its own, so they explain its score, all of it.
        """
        rows, features = matrix.shape
        found = np.zeros((rows, features))
        for start in range(0, rows, _FOLLOWED):
            piece = matrix[start : start + _FOLLOWED]
            found[start : start + len(piece)] = self._followed(piece)
        return found / len(self.trees.roots)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an artefact."""
        return self.trees.arrays("forest") | {"forest_length": self.length}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], sample: int, features: int) -> "Forest":
        """The forest in an artefact. Raises ValueError for what `grow` would not make."""
        trees = Trees.of(arrays, "forest", features)
        length = arrays.get("forest_length")
        if length is None or length.shape != trees.feature.shape or not np.isfinite(length).all():
            raise ValueError("forest_length does not fit the nodes")
        if sample < 2 or len(trees.roots) > _MOST_COUNTED or length.min() < 0:
            raise ValueError("the forest has no sample, too many trees or negative lengths")
        return cls(trees, length.astype(np.float64), sample)

    def _totals(self, matrix: Matrix) -> Floats:
        """The sum of the path lengths of each row over all trees."""
        if len(matrix) < _FEW:
            return np.asarray(self.length[self.trees.leaves(matrix)].sum(axis=1))
        total = np.empty(len(matrix))
        for start in range(0, len(matrix), _BLOCK):
            piece = matrix[start : start + _BLOCK]
            total[start : start + len(piece)] = self._plan.totals(piece)
        return total

    def _followed(self, matrix: Matrix) -> Floats:
        rows, features = matrix.shape
        trees = self.trees
        flat = matrix.ravel(order="F")
        row = np.repeat(np.arange(rows, dtype=np.int64), len(trees.roots))
        node = np.broadcast_to(trees.roots, (rows, len(trees.roots))).ravel()
        found = np.zeros(rows * features)
        while len(node):
            inner = trees.feature[node] != NO_FEATURE
            node, row = node[inner], row[inner]
            asked = trees.feature[node].astype(np.int64)
            low = flat[asked * rows + row] <= trees.threshold[node]
            child = np.where(low, trees.left[node], trees.right[node])
            taken = self.length[node] - self.length[child]
            found += np.bincount(row * features + asked, taken, minlength=len(found))
            node = child
        return found.reshape(rows, features)


class _Plan:
    """Every node is asked of all rows of a block: no row jumps through memory, and a processor compares many
    rows at once. Which leaf a row is in is a mask; rows are counted by the length that their leaf means.
    """

    def __init__(self, trees: Trees, length: Floats) -> None:
        self._trees = trees
        leaves = np.flatnonzero(trees.leaf)
        self._lengths, group = np.unique(length[leaves], return_inverse=True)
        self._group = np.full(len(trees.feature), -1, dtype=np.int32)
        self._group[leaves] = group
        # Arrays of one value: numpy would convert a number anew at each comparison.
        self._thresholds = [trees.threshold[i : i + 1] for i in range(len(trees.feature))]
        self._feature: list[int] = trees.feature.tolist()
        self._left: list[int] = trees.left.tolist()
        self._right: list[int] = trees.right.tolist()
        self._groups: list[int] = self._group.tolist()
        self._masks: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]] = []

    def totals(self, matrix: Matrix) -> Floats:
        """The sum of the path lengths of each row over all trees."""
        rows = len(matrix)
        columns = [np.ascontiguousarray(matrix[:, i]) for i in range(matrix.shape[1])]
        block = _Block(columns, list(np.zeros((len(self._lengths), rows), dtype=np.uint8)), [])
        everybody = np.ones(rows, dtype=np.uint8)
        for root in self._trees.roots.tolist():
            self._ask(root, everybody, 0, block)
        total = np.zeros(rows)
        for length, counted in zip(self._lengths.tolist(), block.counted, strict=True):
            total += length * counted
        return total

    def _ask(self, node: int, here: Mask, depth: int, block: "_Block") -> None:
        feature = self._feature[node]
        if feature < 0:
            counted = block.counted[self._groups[node]]
            np.add(counted, here, counted)
            return
        if depth == len(block.masks):
            block.masks.append((np.empty(len(here), dtype=np.bool_), np.empty_like(here)))
        asked, high = block.masks[depth]
        low = asked.view(np.uint8)
        np.less_equal(block.columns[feature], self._thresholds[node], asked)
        np.bitwise_and(low, here, low)
        np.bitwise_xor(low, here, high)
        self._ask(self._left[node], low, depth + 1, block)
        self._ask(self._right[node], high, depth + 1, block)


@dataclass
class _Block:
    columns: list[npt.NDArray[np.float32]]
    counted: list[Mask]
    masks: list[tuple[npt.NDArray[np.bool_], Mask]]


def expected_length(rows: npt.NDArray[np.integer]) -> Floats:
    """c(n): the expected length of a path that ends in n rows which no split has told apart. Shape of
    `rows`.
    """
    n = rows.astype(np.float64)
    found = np.zeros(n.shape)
    many = n > 2
    found[n == 2] = 1.0
    found[many] = 2.0 * (np.log(n[many] - 1.0) + np.euler_gamma) - 2.0 * (n[many] - 1.0) / n[many]
    return found


def grow(matrix: Matrix, seed: int) -> Forest:
    """A forest of 100 trees, each on at most 256 rows. By scikit-learn, which only Jobs import.

    `matrix` has at least two rows and one feature, and nothing that is not finite.
    """
    from sklearn.ensemble import IsolationForest

    sample = min(SAMPLE, len(matrix))
    grown = IsolationForest(n_estimators=TREES, max_samples=sample, random_state=seed, n_jobs=1)
    return converted(grown.fit(np.ascontiguousarray(matrix)), sample)


def converted(grown: Any, sample: int) -> Forest:
    """A fitted `sklearn.ensemble.IsolationForest` (all features in each tree) as arrays."""
    trees, lengths = [], []
    for estimator in grown.estimators_:
        tree = estimator.tree_
        leaf = np.asarray(tree.children_left < 0)
        trees.append(OneTree(tree.feature, tree.threshold, tree.children_left, tree.children_right, leaf))
        lengths.append(_lengths(tree, leaf))
    return Forest(joined(trees), np.concatenate(lengths), sample)


def _lengths(tree: Any, leaf: npt.NDArray[np.bool_]) -> Floats:
    """Depth plus c of the rows in a leaf; in an inner node the mean over its rows."""
    rows = tree.n_node_samples.astype(np.int64)
    left, right = tree.children_left, tree.children_right
    depth = np.zeros(len(rows))
    for node in np.flatnonzero(~leaf):  # parents come first
        depth[left[node]] = depth[right[node]] = depth[node] + 1
    found: Floats = np.where(leaf, depth + expected_length(rows), 0.0)
    for node in np.flatnonzero(~leaf)[::-1]:
        one, other = left[node], right[node]
        found[node] = (rows[one] * found[one] + rows[other] * found[other]) / (rows[one] + rows[other])
    return found
