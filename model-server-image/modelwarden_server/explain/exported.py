"""Fitted models as plain arrays: what the exporter in the child finds, and what exact engines work on.

On the wire a model is a JSON header and a list of arrays in a stated order (`LINEAR_ARRAYS`, `TREE_ARRAYS`).
They come from the user's process: `of_wire` checks all of it before anything is computed. That a model is the
one behind `predict` is not believed either: that is for verify.py. Must not know estimators or explain.

Words: an *encoded* column is one that reaches the fitted estimator; a *player* is a raw input of `predict`,
by its position. `raw` is what a model sums up before its link.

Header of a linear model: {"kind": "linear", "link": …, "estimator": …, "classifies": …}.
Header of trees: the same with "kind": "trees" and "scale", "strict", "single".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats

Link = Literal["identity", "logit", "log", "softmax"]
"""What the estimator's prediction is of `raw` (n, k):
identity: raw itself, k outputs (values; of a forest that classifies the mean of its leaves' probabilities);
logit:    1/(1+e^-raw), k = 1, two outputs: (1-p, p);
log:      e^raw, k outputs;
softmax:  e^raw_c / sum of e^raw, k >= 2 outputs."""
Integers = npt.NDArray[np.int32]

UNKNOWN: Final = -1
"""In `players`: not known yet which raw input moves this encoded column. verify.py finds it."""
LEAF: Final = -1
"""In `left`, `right` and `feature`: this node is a leaf."""
LINEAR_ARRAYS: Final = ("coef", "intercept", "players")
TREE_ARRAYS: Final = (
    "left", "right", "feature", "threshold", "missing_left", "value", "roots", "outputs", "base", "players",
)  # fmt: skip
MOST_COLUMNS: Final = 20_000
MOST_NODES: Final = 20_000_000
MOST_OUTPUTS: Final = 1000
DEEPEST: Final = 64


@dataclass(frozen=True, eq=False)
class LinearModel:
    """raw = encoded @ coef.T + intercept."""

    coef: Floats
    """(k, e)"""
    intercept: Floats
    """(k,)"""
    players: Integers
    """(e,): the raw input of each encoded column. The exporter sends UNKNOWN: verify.py finds them, and does
    not believe what is sent."""
    link: Link = "identity"
    classifies: bool = False
    """Outputs are probabilities."""
    estimator: str = ""
    """LogisticRegression …: for sentences."""


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """raw = base + scale * (sum over trees of the value of the leaf that the row comes to).

    All nodes of all trees one after the other; a node's children come after it, each node has one parent.
    A row goes left where x <= threshold (`strict`: x < threshold), and NaN goes left where missing_left.
    """

    left: Integers
    """(nodes,): the node's number in these arrays, or LEAF."""
    right: Integers
    feature: Integers
    """(nodes,): encoded column, or LEAF."""
    threshold: Floats
    """(nodes,): anything finite in leaves."""
    missing_left: npt.NDArray[np.bool_]
    value: Floats
    """(nodes, w): only of leaves is it read. w = k, or 1 where each tree is of one output."""
    roots: Integers
    """(trees,): the first node of each tree, ascending; the first is 0."""
    outputs: Integers
    """(trees,): of which column of raw each tree is (w = 1), or -1: of all k (w = k)."""
    base: Floats
    """(k,)"""
    players: Integers
    """(e,)"""
    scale: float = 1.0
    """The learning rate where values do not hold it; one by the number of trees for a mean."""
    link: Link = "identity"
    classifies: bool = False
    strict: bool = False
    """x < threshold instead of x <= threshold (xgboost)."""
    single: bool = True
    """x is made single precision before it is compared (scikit-learn's trees, xgboost), not so by
    HistGradientBoosting and lightgbm."""
    estimator: str = ""


Exported = LinearModel | TreeEnsemble


def to_wire(model: Exported) -> tuple[dict[str, Any], list[npt.NDArray[Any]]]:
    """Header and arrays of a model. The exporter, which has no part of ours, makes the same."""
    header: dict[str, Any] = {
        "link": model.link,
        "classifies": model.classifies,
        "estimator": model.estimator,
    }
    if isinstance(model, LinearModel):
        return header | {"kind": "linear"}, [getattr(model, name) for name in LINEAR_ARRAYS]
    trees = {"kind": "trees", "scale": model.scale, "strict": model.strict, "single": model.single}
    return header | trees, [getattr(model, name) for name in TREE_ARRAYS]


def of_wire(header: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]) -> Exported:
    """The model of a header and arrays of any number type, checked wholly: whatever a row holds, it comes to
    a leaf in at most DEEPEST steps. Raises ValueError with what is wrong.
    """
    kind = header.get("kind")
    if kind not in ("linear", "trees"):
        raise ValueError(f"kind is {kind!r}: it must be linear or trees")
    link = header.get("link")
    if link not in get_args(Link):
        raise ValueError(f"link is {link!r}: it must be one of {', '.join(get_args(Link))}")
    names = LINEAR_ARRAYS if kind == "linear" else TREE_ARRAYS
    if len(arrays) != len(names):
        raise ValueError(f"{len(arrays)} arrays came, not the {len(names)} of {kind}: {', '.join(names)}")
    given = dict(zip(names, arrays, strict=True))
    common: dict[str, Any] = {
        "players": _integers(given, "players"),
        "link": cast("Link", link),
        "classifies": header.get("classifies") is True,
        "estimator": str(header.get("estimator", ""))[:100],
    }
    if not 1 <= len(common["players"]) <= MOST_COLUMNS or common["players"].min() < UNKNOWN:
        raise ValueError(f"players: 1 to {MOST_COLUMNS} columns, each an input's position or {UNKNOWN}")
    if kind == "linear":
        linear = LinearModel(
            coef=_floats(given, "coef", 2), intercept=_floats(given, "intercept", 1), **common
        )
        if linear.coef.shape != (len(linear.intercept), len(linear.players)):
            raise ValueError("coef must be (outputs, columns) as intercept and players have them")
        _check_outputs(len(linear.intercept), linear.link)
        return linear
    return _trees(header, given, common)


def _trees(
    header: Mapping[str, Any], given: Mapping[str, npt.NDArray[Any]], common: Mapping[str, Any]
) -> TreeEnsemble:
    scale = header.get("scale", 1.0)
    if not isinstance(scale, int | float) or not np.isfinite(scale):
        raise ValueError("scale must be a finite number")
    trees = TreeEnsemble(
        left=_integers(given, "left"),
        right=_integers(given, "right"),
        feature=_integers(given, "feature"),
        threshold=_floats(given, "threshold", 1, infinite=True),
        missing_left=given["missing_left"].astype(np.bool_),
        value=_floats(given, "value", 2),
        roots=_integers(given, "roots"),
        outputs=_integers(given, "outputs"),
        base=_floats(given, "base", 1),
        scale=float(scale),
        strict=header.get("strict") is True,
        single=header.get("single") is True,
        **common,
    )
    _check_outputs(len(trees.base), trees.link)
    _check_shapes(trees)
    _check_ways(trees)
    return trees


def _check_outputs(outputs: int, link: Link) -> None:
    least, most = {"logit": (1, 1), "softmax": (2, MOST_OUTPUTS)}.get(link, (1, MOST_OUTPUTS))
    if not least <= outputs <= most:
        raise ValueError(f"{outputs} outputs do not go with link {link}: {least} to {most}")


def _check_shapes(trees: TreeEnsemble) -> None:
    nodes, k = len(trees.left), len(trees.base)
    if not 1 <= nodes <= MOST_NODES:
        raise ValueError(f"{nodes} nodes: 1 to {MOST_NODES} are taken")
    for name in ("right", "feature", "threshold", "missing_left"):
        if getattr(trees, name).shape != (nodes,):
            raise ValueError(f"{name} must have one entry a node")
    whole = bool((trees.outputs == -1).all())
    if trees.value.shape != (nodes, k if whole else 1):
        raise ValueError("value must be (nodes, outputs), or (nodes, 1) where each tree is of one output")
    if not whole and (trees.outputs.min() < 0 or trees.outputs.max() >= k):
        raise ValueError("outputs must be -1 for all trees, or an output for each")
    if len(trees.roots) != len(trees.outputs) or len(trees.roots) < 1:
        raise ValueError("roots and outputs must have one entry a tree")


def _check_ways(trees: TreeEnsemble) -> None:
    """Children come after their node, in the same tree, and each node but a root is one node's child."""
    nodes = len(trees.left)
    number = np.arange(nodes)
    inner = trees.feature != LEAF
    if ((trees.feature < LEAF) | (trees.feature >= len(trees.players))).any():
        raise ValueError("feature must be an encoded column, or -1 in leaves")
    for child in (trees.left, trees.right):
        if (child[~inner] != LEAF).any() or (child[inner] <= number[inner]).any() or child.max() >= nodes:
            raise ValueError("children must come after their node, and leaves have none")
    if np.isnan(trees.threshold[inner]).any():
        raise ValueError("threshold must be a number")
    children = np.concatenate([trees.left[inner], trees.right[inner]])
    expected = np.setdiff1d(number, trees.roots, assume_unique=False)
    if trees.roots[0] != 0 or (np.diff(trees.roots) <= 0).any() or trees.roots[-1] >= nodes:
        raise ValueError("roots must ascend from 0")
    if not np.array_equal(np.sort(children), expected):
        raise ValueError("each node must be a root or one node's child")
    tree = np.searchsorted(trees.roots, number, side="right")
    if (tree[trees.left[inner]] != tree[inner]).any() or (tree[trees.right[inner]] != tree[inner]).any():
        raise ValueError("the nodes of a tree must stand together")
    level, depth = trees.roots, 0
    while len(level := level[inner[level]]):
        level, depth = np.concatenate([trees.left[level], trees.right[level]]), depth + 1
        if depth > DEEPEST:
            raise ValueError(f"trees are deeper than {DEEPEST}")


def _floats(given: Mapping[str, npt.NDArray[Any]], name: str, axes: int, *, infinite: bool = False) -> Floats:
    array = given[name]
    if array.dtype.kind not in "fiu" or array.ndim != axes:
        raise ValueError(f"{name} must be numbers with {axes} axes")
    found = np.ascontiguousarray(array, dtype=np.float64)
    if not infinite and not np.isfinite(found).all():
        raise ValueError(f"{name} must be finite")
    return found


def _integers(given: Mapping[str, npt.NDArray[Any]], name: str) -> Integers:
    array = given[name]
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(f"{name} must be whole numbers with one axis")
    if len(array) and (array.min() < -(2**31) or array.max() >= 2**31):
        raise ValueError(f"{name} must fit 32 bits")
    return np.ascontiguousarray(array, dtype=np.int32)
