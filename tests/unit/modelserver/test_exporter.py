"""What the exporter reads of fitted estimators is what these predict; it finds the one that predict asks."""

import types
from collections.abc import Callable, Iterator
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn import ensemble, linear_model, tree
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from modelwarden_server.explain.exported import Exported, LinearModel, of_wire
from modelwarden_server.modelserver.exported_arrays import NotExportableError
from modelwarden_server.modelserver.exporter import Exporter, exported

RNG = np.random.default_rng(7)
X = RNG.normal(size=(300, 4)).astype(np.float32).astype(np.float64)
SCORE = X @ [1.0, -2.0, 0.5, 0.0] + 0.3 * X[:, 0] * X[:, 1]
TWO, THREE = (SCORE > 0).astype(int), np.digitize(SCORE, [-1.0, 1.0])
POSITIVE = np.exp(0.3 * SCORE)
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small fits in many threads wait for each other on a busy machine."""
    with threadpool_limits(1):
        yield


def predicted(model: Exported, x: np.ndarray) -> np.ndarray:
    """An evaluation of its own, one row and node after the other."""
    if isinstance(model, LinearModel):
        raw = x @ model.coef.T + model.intercept
    else:
        raw = np.array([_summed(model, row) for row in x])
    if model.link == "identity":
        return raw
    if model.link == "log":
        return np.exp(raw)
    if model.link == "logit":
        positive = 1 / (1 + np.exp(-raw[:, 0]))
        return np.stack([1 - positive, positive], axis=1)
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _summed(model: Any, row: np.ndarray) -> np.ndarray:
    total = model.base.copy()
    for root, output in zip(model.roots, model.outputs, strict=True):
        node = root
        while model.feature[node] >= 0:
            value = row[model.feature[node]]
            value = np.float64(np.float32(value)) if model.single else value
            limit = model.threshold[node]
            if np.isnan(value):
                left = model.missing_left[node]
            else:
                left = value < limit if model.strict else value <= limit
            node = model.left[node] if left else model.right[node]
        if output < 0:
            total += model.scale * model.value[node]
        else:
            total[output] += model.scale * model.value[node, 0]
    return total


CLASSIFIERS = {
    "logistic": (linear_model.LogisticRegression(), TWO, X),
    "logistic of three": (linear_model.LogisticRegression(), THREE, X),
    "discriminant": (LinearDiscriminantAnalysis(), THREE, X),
    "discriminant of two": (LinearDiscriminantAnalysis(), TWO, X),
    "stochastic": (linear_model.SGDClassifier(loss="log_loss"), TWO, X),
    "tree": (tree.DecisionTreeClassifier(max_depth=5), THREE, HOLES),
    "best first": (tree.DecisionTreeClassifier(max_leaf_nodes=9), TWO, X),
    "forest": (ensemble.RandomForestClassifier(5, max_depth=4), THREE, HOLES),
    "extra trees": (ensemble.ExtraTreesClassifier(5, max_depth=4), TWO, X),
    "boosting": (ensemble.GradientBoostingClassifier(n_estimators=5), TWO, X),
    "boosting of three": (ensemble.GradientBoostingClassifier(n_estimators=4, subsample=0.8), THREE, X),
    "exponential boosting": (ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=5), TWO, X),
    "boosting from zero": (ensemble.GradientBoostingClassifier(init="zero", n_estimators=3), TWO, X),
    "histograms": (ensemble.HistGradientBoostingClassifier(max_iter=5), TWO, HOLES),
    "histograms of three": (ensemble.HistGradientBoostingClassifier(max_iter=4), THREE, HOLES),
    "xgboost": (xgboost.XGBClassifier(n_jobs=1, n_estimators=5, max_depth=3, gamma=1.0), TWO, HOLES),
    "lightgbm": (lightgbm.LGBMClassifier(n_jobs=1, n_estimators=5, verbose=-1), TWO, HOLES),
    "lightgbm of three": (lightgbm.LGBMClassifier(n_jobs=1, n_estimators=4, verbose=-1), THREE, X),
    "lightgbm, steeper": (lightgbm.LGBMClassifier(n_jobs=1, n_estimators=4, sigmoid=2.0, verbose=-1), TWO, X),
    "xgboost of three": (xgboost.XGBClassifier(n_jobs=1, n_estimators=4, max_depth=3), THREE, HOLES),
}  # fmt: skip
REGRESSORS = {
    "least squares": (linear_model.LinearRegression(), SCORE, X),
    "ridge": (linear_model.RidgeCV(), SCORE, X),
    "of two targets": (linear_model.Ridge(), np.stack([SCORE, POSITIVE], axis=1), X),
    "elastic net": (linear_model.ElasticNet(alpha=0.1), SCORE, X),
    "poisson": (linear_model.PoissonRegressor(), POSITIVE, X),
    "tweedie": (linear_model.TweedieRegressor(power=0), SCORE, X),
    "tree": (tree.DecisionTreeRegressor(max_depth=4), SCORE, HOLES),
    "forest": (ensemble.RandomForestRegressor(5, max_depth=4), SCORE, X),
    "boosting": (ensemble.GradientBoostingRegressor(n_estimators=5), SCORE, X),
    "histograms": (ensemble.HistGradientBoostingRegressor(max_iter=5), SCORE, HOLES),
    "histograms, poisson": (ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=5), POSITIVE, X),
    "xgboost": (xgboost.XGBRegressor(n_jobs=1, n_estimators=5, max_depth=3), SCORE, HOLES),
    "lightgbm": (lightgbm.LGBMRegressor(n_jobs=1, n_estimators=5, verbose=-1), SCORE, HOLES),
    "lightgbm, poisson": (
        lightgbm.LGBMRegressor(n_jobs=1, objective="poisson", n_estimators=5, verbose=-1),
        POSITIVE,
        X,
    ),
    "xgboost, poisson": (
        xgboost.XGBRegressor(n_jobs=1, objective="count:poisson", n_estimators=5),
        POSITIVE,
        X,
    ),
}


@pytest.mark.parametrize(("model", "y", "x"), CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_a_classifier_s_arrays_give_its_probabilities(model: Any, y: np.ndarray, x: np.ndarray) -> None:
    model.fit(x, y)
    read = of_wire(*exported(model))
    assert read.classifies
    np.testing.assert_allclose(predicted(read, x[:60]), model.predict_proba(x[:60]), atol=2e-6)


@pytest.mark.parametrize(("model", "y", "x"), REGRESSORS.values(), ids=REGRESSORS.keys())
def test_a_regressor_s_arrays_give_its_values(model: Any, y: np.ndarray, x: np.ndarray) -> None:
    model.fit(x, y)
    read = of_wire(*exported(model))
    assert not read.classifies
    found = predicted(read, x[:60])
    expected = np.asarray(model.predict(x[:60]))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=2e-6, atol=2e-6)


def test_xgboost_s_early_stopping_leaves_later_trees_out() -> None:
    model = xgboost.XGBClassifier(n_jobs=1, n_estimators=40, early_stopping_rounds=2, learning_rate=1.0)
    model.fit(X[:200], TWO[:200], eval_set=[(X[200:], 1 - TWO[200:])], verbose=False)
    read = of_wire(*exported(model))
    np.testing.assert_allclose(predicted(read, X[:20]), model.predict_proba(X[:20]), atol=2e-6)


REFUSED = {
    "of three, stochastic": linear_model.SGDClassifier(loss="log_loss"),
    "starts elsewhere": ensemble.GradientBoostingClassifier(
        init=linear_model.LogisticRegression(), n_estimators=2
    ),
    "a network": MLPClassifier((3,), max_iter=5000, tol=0.1),
    "dart": xgboost.XGBClassifier(n_jobs=1, booster="dart", n_estimators=2),
    "another missing value": xgboost.XGBClassifier(n_jobs=1, missing=-1.0, n_estimators=2),
    "forest of lightgbm": lightgbm.LGBMClassifier(
        n_jobs=1, boosting_type="rf", n_estimators=2, subsample=0.5, subsample_freq=1, verbose=-1
    ),
    "categories": ensemble.HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]),
}


@pytest.mark.parametrize("model", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_exact_arrays_is_refused_with_a_reason(model: Any) -> None:
    several = isinstance(model, linear_model.SGDClassifier)
    x = np.abs(np.round(X)) if isinstance(model, ensemble.HistGradientBoostingClassifier) else X
    try:
        model.fit(x, THREE if several else TWO)
    except ValueError:
        model.fit(x, TWO)
    with pytest.raises(NotExportableError, match=r"\w"):
        exported(model)


def project(**named: Any) -> types.ModuleType:
    module = types.ModuleType("entrypoint")
    vars(module).update(named)
    return module


def exporter_of(predict: Callable[[Any], Any], **named: Any) -> Exporter:
    module = project(predict=predict, **named)
    return Exporter(lambda: [module], predict)


class Wrapper:
    """A project's own class around a model."""

    def __init__(self, model: Any) -> None:
        self.inner = {"best": [model]}


Wrapper.__module__ = "entrypoint"
LOGISTIC = linear_model.LogisticRegression().fit(X, TWO)
SCALED = make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(X, TWO)
SEARCHED = GridSearchCV(SCALED, {"logisticregression__C": [1.0]}, cv=2).fit(X, TWO)
PLACES = {
    "a global": {"model": LOGISTIC},
    "a container": {"models": {"a": [(1, LOGISTIC)]}},
    "an object of the project": {"model": Wrapper(LOGISTIC)},
    "among others": {"numpy": np, "names": ["a"], "model": LOGISTIC, "text": CountVectorizer()},
}


@pytest.mark.parametrize("named", PLACES.values(), ids=PLACES.keys())
def test_an_estimator_is_found_wherever_the_project_keeps_it(named: dict[str, Any]) -> None:
    exporter = exporter_of(lambda x: LOGISTIC.predict_proba(x)[:, 1], **named)
    header, arrays = exporter.export(X[:9])
    assert (header["estimator"], len(arrays)) == ("LogisticRegression", 3)
    np.testing.assert_array_equal(exporter.encode(X[:9]), X[:9])
    assert "predict_proba" not in vars(LOGISTIC)


@pytest.mark.parametrize("model", [SCALED, SEARCHED])
def test_the_encoding_is_what_a_pipeline_gives_its_last_step(model: Any) -> None:
    exporter = exporter_of(model.predict_proba, model=model)
    header, arrays = exporter.export(X[:9])
    steps = getattr(model, "best_estimator_", model)
    encoded = exporter.encode(X)
    np.testing.assert_allclose(encoded, steps[0].transform(X))
    np.testing.assert_allclose(predicted(of_wire(header, arrays), encoded), model.predict_proba(X), atol=1e-9)


def test_texts_are_encoded_by_the_user_s_own_transformers() -> None:
    rows = np.array([["a", 1.0], ["b", 2.0], ["a", 3.0], ["c", 4.0]], dtype=object)
    columns = ColumnTransformer([("one", OneHotEncoder(), [0])], remainder="passthrough")
    model = make_pipeline(columns, ensemble.RandomForestClassifier(3)).fit(rows, [0, 1, 0, 1])
    exporter = exporter_of(model.predict_proba, model=model)
    header, arrays = exporter.export(rows)
    encoded = exporter.encode(rows)
    assert encoded.tolist() == [[1, 0, 0, 1], [0, 1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4]]
    np.testing.assert_allclose(predicted(of_wire(header, arrays), encoded), model.predict_proba(rows))


def test_rows_predicted_in_pieces_are_put_together() -> None:
    def predict(x: Any) -> Any:
        return np.concatenate([LOGISTIC.predict_proba(x[at : at + 4]) for at in range(0, len(x), 4)])

    exporter = exporter_of(predict, model=LOGISTIC)
    assert exporter.export(X[:10])[1]
    np.testing.assert_array_equal(exporter.encode(X[:10]), X[:10])


def test_xgboost_s_own_matrices_are_read() -> None:
    booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(HOLES, TWO), 3)
    exporter = exporter_of(lambda x: booster.predict(xgboost.DMatrix(x)), booster=booster)
    header, arrays = exporter.export(HOLES[:20])
    encoded = exporter.encode(HOLES[:20])
    np.testing.assert_array_equal(np.isnan(encoded), np.isnan(HOLES[:20]))
    found = predicted(of_wire(header, arrays), encoded)[:, 1]
    np.testing.assert_allclose(found, booster.predict(xgboost.DMatrix(HOLES[:20])), atol=2e-6)


NOT_FOUND: dict[str, tuple[dict[str, Any], Callable[[Any], Any], str]] = {
    "nothing": ({}, lambda x: x[:, 0], "no fitted estimator"),
    "not fitted": ({"m": linear_model.Ridge()}, lambda x: x[:, 0], "no fitted estimator"),
    "not asked": ({"m": LOGISTIC}, lambda x: x[:, 0], "asks none"),
    "several": (
        {"m": LOGISTIC, "n": SCALED},
        lambda x: LOGISTIC.predict_proba(x) + SCALED.predict_proba(x),
        "several",
    ),
    "not all rows": ({"m": LOGISTIC}, lambda x: LOGISTIC.predict_proba(x[:2]), "asks none"),
}  # fmt: skip


@pytest.mark.parametrize(("named", "predict", "why"), NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_what_is_not_behind_predict_is_not_sent(
    named: dict[str, Any], predict: Callable[[Any], Any], why: str
) -> None:
    header, arrays = exporter_of(predict, **named).export(X[:5])
    assert not arrays
    assert why in header["why"]
