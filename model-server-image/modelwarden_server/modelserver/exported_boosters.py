"""Reads fitted models of xgboost and lightgbm from the texts that these write of themselves.

Runs in the child with whatever version of them the user has, which is never imported here. Must not guess:
what is not known is refused.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from modelwarden_server.modelserver.exported_arrays import (
    Forest,
    NotExportableError,
    trees_header,
)

if TYPE_CHECKING:
    from modelwarden_server.modelserver.exported_arrays import Exported

_XGBOOST_LINKS = {
    "binary:logistic": "logit", "reg:logistic": "logit", "binary:logitraw": "identity",
    "multi:softprob": "softmax", "multi:softmax": "softmax", "reg:squarederror": "identity",
    "reg:linear": "identity", "reg:absoluteerror": "identity", "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity", "count:poisson": "log", "reg:gamma": "log", "reg:tweedie": "log",
    "rank:pairwise": "identity", "rank:ndcg": "identity", "rank:map": "identity",
}  # fmt: skip
_LIGHTGBM_LINKS = {
    "binary": "logit", "cross_entropy": "logit", "multiclass": "softmax", "regression": "identity",
    "regression_l1": "identity", "huber": "identity", "fair": "identity", "quantile": "identity",
    "mape": "identity", "poisson": "log", "gamma": "log", "tweedie": "log", "lambdarank": "identity",
}  # fmt: skip


def readable(estimator: Any) -> bool:
    """Whether it is a fitted model of one of these."""
    for base in type(estimator).__mro__:
        top = base.__module__.partition(".")[0]
        if top == "xgboost":
            return base.__name__ == "Booster" or getattr(estimator, "_Booster", None) is not None
        if top == "lightgbm":
            return base.__name__ == "Booster" or getattr(estimator, "_Booster", None) is not None
    return False


def exported(estimator: Any, library: str) -> Exported:
    """Header and arrays. Raises NotExportableError."""
    return _xgboost(estimator) if library == "xgboost" else _lightgbm(estimator)


def _xgboost(estimator: Any) -> Exported:
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
    missing = getattr(estimator, "missing", None)
    if missing is not None and not math.isnan(missing):
        raise NotExportableError("it takes another value than NaN for missing")
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        raise NotExportableError(f"its booster {learner['gradient_booster']['name']} is not read")
    objective = learner["objective"]["name"]
    link = _XGBOOST_LINKS.get(objective)
    if link is None:
        raise NotExportableError(f"its objective {objective} is not read")
    model = learner["gradient_booster"]["model"]
    told = learner["learner_model_param"]
    outputs = max(int(told.get("num_class", 0)), int(told.get("num_target", 1)), 1)
    trees, groups = model["trees"], model["tree_info"]
    kept = _kept_trees(estimator, booster, model, len(trees))
    forest = Forest()
    for tree, group in list(zip(trees, groups))[:kept]:  # noqa: B905
        forest.add(_xgboost_tree(tree), int(group))
    header = trees_header(estimator, link, link in ("logit", "softmax"), strict=True)
    return forest.sent(header, _xgboost_base(told["base_score"], link, outputs), int(told["num_feature"]))


def _kept_trees(estimator: Any, booster: Any, model: Any, trees: int) -> int:
    """After early stopping scikit-learn's interface predicts with the best iteration's trees only."""
    best = getattr(booster, "best_iteration", None) if hasattr(estimator, "get_booster") else None
    try:
        stopped = booster.attr("best_iteration") is not None
    except AttributeError:
        stopped = False
    indptr = model.get("iteration_indptr")
    if not stopped or best is None or indptr is None:
        return trees
    return int(indptr[min(int(best) + 1, len(indptr) - 1)])


def _xgboost_base(score: Any, link: str, outputs: int) -> Any:
    """What is added to the trees: base_score is told as a prediction, the sum is made before the link."""
    text = score if isinstance(score, str) else json.dumps(score)
    values = np.atleast_1d(np.asarray(json.loads(text), dtype=np.float64))
    if link == "logit":
        values = np.log(values / (1.0 - values))
    elif link == "log":
        values = np.log(values)
    return np.broadcast_to(values, (outputs,)).copy()


def _xgboost_tree(tree: Any) -> dict[str, Any]:
    if any(tree.get("categories_nodes") or ()) or any(tree.get("split_type") or ()):
        raise NotExportableError("it splits by sets of categories")
    if int(tree["tree_param"].get("size_leaf_vector", "1") or 1) > 1:
        raise NotExportableError("its trees have leaves with several values")
    left = np.asarray(tree["left_children"], dtype=np.int64)
    conditions = np.asarray(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    return _renumbered(
        {
            "left": left,
            "right": np.asarray(tree["right_children"], dtype=np.int64),
            "feature": np.asarray(tree["split_indices"], dtype=np.int64),
            "threshold": conditions,
            "missing_left": np.asarray(tree["default_left"], dtype=bool),
            "value": np.where(left < 0, conditions, 0.0)[:, None],
        }
    )


def _renumbered(tree: dict[str, Any]) -> dict[str, Any]:
    """The nodes that a row can come to, children after their node: pruning leaves holes and other orders."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree["left"][node] >= 0:
            waiting += [int(tree["right"][node]), int(tree["left"][node])]
    number = np.full(len(tree["left"]), -1, dtype=np.int64)
    number[order] = np.arange(len(order))
    kept = {name: column[order] for name, column in tree.items()}
    for name in ("left", "right"):
        kept[name] = np.where(kept["left"] < 0 if name == "left" else kept[name] < 0, -1, number[kept[name]])
    return kept


def _lightgbm(estimator: Any) -> Exported:
    booster = getattr(estimator, "booster_", estimator)
    model = booster.dump_model()
    name, *parameters = str(model.get("objective", "")).split()
    link = _LIGHTGBM_LINKS.get(name)
    if link is None or model.get("average_output") or "sqrt" in parameters:
        raise NotExportableError(f"its objective {model.get('objective')} is not read")
    told = dict(p.split(":", 1) for p in parameters if ":" in p)
    scale = float(told.get("sigmoid", 1.0)) if name == "binary" else 1.0
    outputs = int(model["num_tree_per_iteration"])
    forest = Forest()
    for place, tree in enumerate(model["tree_info"]):
        if tree.get("num_cat") or "leaf_coeff" in json.dumps(tree["tree_structure"])[:10_000]:
            raise NotExportableError("it splits by sets of categories, or has linear leaves")
        forest.add(_lightgbm_tree(tree["tree_structure"]), place % outputs)
    header = trees_header(estimator, link, link in ("logit", "softmax"), scale=scale, single=False)
    return forest.sent(header, np.zeros(outputs), int(model["max_feature_idx"]) + 1)


def _lightgbm_tree(root: Any) -> dict[str, Any]:
    nodes: list[dict[str, Any]] = []
    waiting: list[tuple[Any, int, str]] = [(root, -1, "")]
    while waiting:
        node, parent, side = waiting.pop()
        number = len(nodes)
        if parent >= 0:
            nodes[parent][side] = number
        if "split_feature" not in node:
            nodes.append(
                {"left": -1, "right": -1, "feature": -1, "threshold": 0.0, "missing_left": False,
                 "value": float(node["leaf_value"])}
            )  # fmt: skip
            continue
        nodes.append(
            {"left": -1, "right": -1, "feature": int(node["split_feature"]),
             "threshold": float(node["threshold"]), "missing_left": _missing_left(node), "value": 0.0}
        )  # fmt: skip
        waiting += [(node["right_child"], number, "right"), (node["left_child"], number, "left")]
    tree: dict[str, Any] = {name: np.array([node[name] for node in nodes]) for name in nodes[0]}
    tree["value"] = tree["value"][:, None]
    return tree


def _missing_left(node: Any) -> bool:
    if node["decision_type"] != "<=":
        raise NotExportableError("it splits by sets of categories")
    if node["missing_type"] == "Zero":
        raise NotExportableError("it takes 0 for missing")
    if node["missing_type"] == "None":
        return float(node["threshold"]) >= 0.0  # NaN is taken for 0
    return bool(node["default_left"])
