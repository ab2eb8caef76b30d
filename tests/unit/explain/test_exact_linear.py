"""SHAP values of linear models: against the formula, and against every coalition."""

import numpy as np
import pytest
from every_coalition import shapley
from fitted_models import asked, numbers
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.exported import LinearModel
from modelwarden_server.explain.linear import LinearEngine


def test_columns_of_one_input_are_added_up():
    model = LinearModel(
        coef=np.array([[2.0, -1.0, 0.5, 9.0]]),
        intercept=np.array([3.0]),
        players=np.array([1, 0, 1, -1], dtype=np.int32),
    )
    engine = LinearEngine(model, 3, np.array([1.0, 1.0, 0.0, 5.0]))
    values = engine.values(np.array([[2.0, 4.0, 2.0, 5.0]]))
    np.testing.assert_allclose(values, [[[-3.0, 2.0 + 1.0, 0.0]]])
    np.testing.assert_allclose(engine.expected, [3.0 + 2.0 - 1.0 + 45.0])
    assert engine.units == "value"


@pytest.mark.parametrize(
    ("estimator", "margin_of", "units"),
    [
        (LinearRegression(), lambda said: said, "value"),
        (LogisticRegression(), lambda said: np.log(said / (1 - said)), "margin"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_values_are_those_of_every_coalition_of_what_is_summed_up(estimator, margin_of, units):
    rows, label = numbers()
    model = asked(estimator.fit(rows, label), rows)
    found = model.exact().explain(rows[:4], ["a"] * 4)
    assert (found.units, found.path) == (units, "linear")
    # The background of a linear model is the whole sample: its mean is all that counts.
    sample = Background(rows, np.full(len(rows), 1 / len(rows)), "")
    for row, values in zip(rows, found.values, strict=False):
        expected = shapley(lambda mixed: margin_of(model.predict(mixed)), row, sample)
        np.testing.assert_allclose(values, expected, atol=1e-9)
    np.testing.assert_allclose(found.predictions, margin_of(model.predict(rows[:4])), atol=1e-9)
    np.testing.assert_allclose(found.expected, margin_of(model.predict(rows)).mean(axis=0), atol=1e-9)


def test_values_through_an_exponential_are_left_to_who_asks_predict():
    rows, label = numbers()
    assert "exponential" in asked(PoissonRegressor().fit(rows, label), rows).explainer().why


def test_three_classes_are_explained_in_their_margins():
    rows, label = numbers()
    classes = LogisticRegression().fit(rows, label + (rows[:, 4] > 1))
    found = asked(classes, rows).exact().explain(rows[:2], ["a"] * 2)
    moved = rows[:2, None] - rows.mean(axis=0)
    np.testing.assert_allclose(found.values, moved * classes.coef_[None], atol=1e-12)


def test_values_are_the_same_whatever_else_is_asked_in_one_request():
    rows, label = numbers()
    explainer = asked(LogisticRegression().fit(rows, label), rows).exact()
    together = explainer.explain(rows[:9], ["a"] * 9)
    alone = explainer.explain(rows[4:5], ["b"])
    np.testing.assert_array_equal(together.values[4:5], alone.values)
