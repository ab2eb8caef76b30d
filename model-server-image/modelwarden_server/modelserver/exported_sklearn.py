"""Reads fitted estimators of scikit-learn: linear models, trees, forests, gradient boosting.

Runs in the child with whatever version of it the user has, which is never imported here. Formulas are those
of scikit-learn's own predict, predict_proba and decision_function. Must not guess: what is not known is
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from modelwarden_server.modelserver.exported_arrays import (
    Forest,
    NotExportableError,
    linear,
    trees_header,
)

if TYPE_CHECKING:
    from modelwarden_server.modelserver.exported_arrays import Exported

_VALUES = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "Lars",
    "LarsCV",
    "LassoLars", "LassoLarsCV", "LassoLarsIC", "MultiTaskLasso", "MultiTaskElasticNet", "BayesianRidge",
    "ARDRegression", "HuberRegressor", "TheilSenRegressor", "SGDRegressor", "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV", "LinearSVR", "QuantileRegressor", "PassiveAggressiveRegressor",
)  # fmt: skip
_DECISIONS = (
    "LinearSVC",
    "RidgeClassifier",
    "RidgeClassifierCV",
    "Perceptron",
    "PassiveAggressiveClassifier",
)
_LINKS = {"PoissonRegressor": "log", "GammaRegressor": "log"}


def readable(estimator: Any) -> bool:
    """Whether it is a fitted estimator of a kind that is read."""
    reader = _reader(estimator)
    if reader is None:
        return False
    fitted = ("coef_", "tree_", "estimators_", "_predictors")
    return any(name in getattr(estimator, "__dict__", {}) for name in fitted)


def exported(estimator: Any) -> Exported:
    """Header and arrays. Raises NotExportableError."""
    reader = _reader(estimator)
    if reader is None:
        raise NotExportableError(f"{type(estimator).__name__} is not read")
    found: Exported = reader(estimator)
    return found


def _reader(estimator: Any) -> Any:
    for base in type(estimator).__mro__:
        if base.__module__.startswith("sklearn."):
            reader = _READERS.get(base.__name__)
            if reader is not None:
                return reader
    return None


def _value(estimator: Any) -> Exported:
    return linear(estimator, estimator.coef_, estimator.intercept_, "identity", classifies=False)


def _mean_by_log(estimator: Any) -> Exported:
    return linear(estimator, estimator.coef_, estimator.intercept_, "log", classifies=False)


def _tweedie(estimator: Any) -> Exported:
    link = estimator.link
    if link == "auto":
        link = "identity" if estimator.power <= 0 else "log"
    return linear(estimator, estimator.coef_, estimator.intercept_, link, classifies=False)


def _logistic(estimator: Any) -> Exported:
    classes = len(estimator.classes_)
    together = getattr(estimator, "multi_class", "auto")
    if classes == 2:
        # Fitted as multinomial, the two classes' margins are d and -d: their softmax is the sigmoid of 2d.
        double = 2.0 if together == "multinomial" else 1.0
        return linear(
            estimator, double * estimator.coef_, double * estimator.intercept_, "logit", classifies=True
        )
    if together == "ovr" or estimator.solver == "liblinear":
        raise NotExportableError("one-against-rest probabilities have no linear margin")
    return linear(estimator, estimator.coef_, estimator.intercept_, "softmax", classifies=True)


def _discriminant(estimator: Any) -> Exported:
    link = "logit" if len(estimator.classes_) == 2 else "softmax"
    return linear(estimator, estimator.coef_, estimator.intercept_, link, classifies=True)


def _stochastic(estimator: Any) -> Exported:
    if estimator.loss not in ("log_loss", "log"):
        return _value(estimator)
    if len(estimator.classes_) != 2:
        raise NotExportableError("one-against-rest probabilities have no linear margin")
    return linear(estimator, estimator.coef_, estimator.intercept_, "logit", classifies=True)


def _tree(estimator: Any) -> dict[str, Any]:
    """A fitted tree's nodes; value as the estimator's predict or predict_proba gives it for the leaf."""
    tree = estimator.tree_
    nodes = len(tree.children_left)
    value = np.asarray(tree.value, dtype=np.float64)
    if hasattr(estimator, "classes_"):
        if value.shape[1] != 1:
            raise NotExportableError("it predicts several targets")
        value = value[:, 0, :]
        # Counts in older versions, shares in newer ones.
        value = value / np.maximum(value.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    else:
        value = value[:, :, 0]
    missing = getattr(tree, "missing_go_to_left", None)
    return {
        "left": tree.children_left,
        "right": tree.children_right,
        "feature": tree.feature,
        "threshold": tree.threshold,
        "missing_left": np.zeros(nodes, dtype=bool) if missing is None else missing,
        "value": value,
    }


def _single_tree(estimator: Any) -> Exported:
    forest = Forest()
    tree = _tree(estimator)
    forest.add(tree, -1)
    header = trees_header(estimator, "identity", hasattr(estimator, "classes_"))
    return forest.sent(header, np.zeros(tree["value"].shape[1]), int(estimator.n_features_in_))


def _forest(estimator: Any) -> Exported:
    forest, width = Forest(), 0
    for member in estimator.estimators_:
        tree = _tree(member)
        width = tree["value"].shape[1]
        forest.add(tree, -1)
    header = trees_header(
        estimator, "identity", hasattr(estimator, "classes_"), scale=1.0 / len(estimator.estimators_)
    )
    return forest.sent(header, np.zeros(width), int(estimator.n_features_in_))


def _boosting(estimator: Any) -> Exported:
    init = estimator.init_
    if not (isinstance(init, str) or type(init).__name__ in ("DummyClassifier", "DummyRegressor")):
        raise NotExportableError("it starts from another estimator")
    stages = np.asarray(estimator.estimators_)
    outputs = stages.shape[1]
    base = np.asarray(
        estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32)),
        dtype=np.float64,
    ).reshape(-1)
    forest = Forest()
    for stage in stages:
        for output, member in enumerate(stage):
            forest.add(_tree(member), output)
    classifies = hasattr(estimator, "classes_")
    link = "identity" if not classifies else "logit" if outputs == 1 else "softmax"
    # The exponential loss fits half of the log-odds.
    double = 2.0 if classifies and estimator.loss == "exponential" else 1.0
    header = trees_header(estimator, link, classifies, scale=double * estimator.learning_rate)
    return forest.sent(header, double * base, int(estimator.n_features_in_))


_HISTOGRAM_LINKS = {
    "IdentityLink": "identity", "LogLink": "log", "LogitLink": "logit", "MultinomialLogit": "softmax",
}  # fmt: skip


def _histogram_boosting(estimator: Any) -> Exported:
    loss = estimator._loss
    link = _HISTOGRAM_LINKS.get(type(getattr(loss, "link", None)).__name__)
    if link is None:
        raise NotExportableError(f"its loss {type(loss).__name__} is not read")
    if getattr(estimator, "is_categorical_", None) is not None and np.any(estimator.is_categorical_):
        raise NotExportableError("it splits by sets of categories")
    forest = Forest()
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            forest.add(_histogram_tree(predictor.nodes), output)
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1)
    header = trees_header(estimator, link, hasattr(estimator, "classes_"), single=False)
    return forest.sent(header, base, int(estimator.n_features_in_))


def _histogram_tree(nodes: Any) -> dict[str, Any]:
    leaf = nodes["is_leaf"].astype(bool)
    if "is_categorical" in (nodes.dtype.names or ()) and np.any(nodes["is_categorical"][~leaf]):
        raise NotExportableError("it splits by sets of categories")
    name = "num_threshold" if "num_threshold" in (nodes.dtype.names or ()) else "threshold"
    return {
        "left": np.where(leaf, -1, nodes["left"].astype(np.int64)),
        "right": np.where(leaf, -1, nodes["right"].astype(np.int64)),
        "feature": nodes["feature_idx"].astype(np.int64),
        "threshold": nodes[name],
        "missing_left": nodes["missing_go_to_left"].astype(bool),
        "value": nodes["value"][:, None],
    }


_READERS: dict[str, Callable[[Any], Exported]] = {
    **dict.fromkeys((*_VALUES, *_DECISIONS), _value),
    **dict.fromkeys(_LINKS, _mean_by_log),
    "TweedieRegressor": _tweedie,
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "LinearDiscriminantAnalysis": _discriminant,
    "SGDClassifier": _stochastic,
    "DecisionTreeClassifier": _single_tree,
    "DecisionTreeRegressor": _single_tree,
    "ForestClassifier": _forest,
    "ForestRegressor": _forest,
    "GradientBoostingClassifier": _boosting,
    "GradientBoostingRegressor": _boosting,
    "BaseHistGradientBoosting": _histogram_boosting,
}
