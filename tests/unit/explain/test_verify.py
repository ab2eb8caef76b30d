"""That a model read from arrays is the one behind predict is shown, or it is not used."""

import numpy as np
import pytest
from every_coalition import shapley
from fitted_models import asked, numbers
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.verify import Unverified


def people(rows=300):
    """Rows of numbers and words as objects; a word that only the last row has."""
    numeric, label = numbers(rows=rows)
    cells = numeric.astype(object)
    cells[:, 1] = np.array(["red", "green", "blue"])[np.abs(numeric[:, 1] * 3).astype(int) % 3]
    cells[:, 3] = numeric[:, 3].round().astype(int)
    cells[-1, 1] = "violet"
    return cells, label


def prepared(estimator, cells, label):
    words = OneHotEncoder(sparse_output=False)
    columns = make_column_transformer((words, [1]), (StandardScaler(), [0, 2, 3]), ("passthrough", [4]))
    return make_pipeline(columns, estimator).fit(cells, label)


def encode_of(pipeline):
    return lambda rows: np.asarray(pipeline[:-1].transform(rows), dtype=np.float64)


@pytest.mark.parametrize(
    ("predict", "outputs", "units"),
    [
        (lambda model, rows: model.predict_proba(rows)[:, 1], 1, "probability"),
        (lambda model, rows: model.predict_proba(rows)[:, ::-1], 2, "probability"),
        (lambda model, rows: model.decision_function(rows), 1, "value"),
    ],
    ids=["positive", "swapped", "margin"],
)
def test_outputs_in_any_order_are_recognised(predict, outputs, units):
    rows, label = numbers()
    boosted = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(rows, label)
    model = asked(boosted, rows, predict=lambda x: predict(boosted, x))
    found = model.exact().explain(rows[:3], ["a"] * 3)
    np.testing.assert_allclose(found.predictions, model.predict(rows[:3]), atol=1e-12)
    np.testing.assert_allclose(found.values.sum(axis=2), found.predictions - found.expected, atol=1e-12)
    assert (found.values.shape, found.units) == ((3, outputs, 5), units)


@pytest.mark.parametrize(
    ("predict", "why"),
    [
        (lambda model, rows: model.predict_proba(rows)[:, 1] ** 2, "something else than predict"),
        (lambda model, rows: model.predict(rows), "something else than predict"),
        (lambda model, rows: np.where(rows[:, 0] > 1, 0.5, model.predict_proba(rows)[:, 1]), "predict"),
        (lambda _, rows: np.random.default_rng().random(len(rows)), "predict"),
    ],
    ids=["squared", "labels", "a rule of its own", "random"],
)
def test_a_predict_that_says_something_else_is_not_explained_from_the_model_in_it(predict, why):
    rows, label = numbers()
    forest = RandomForestClassifier(5, random_state=0).fit(rows, label)
    found = asked(forest, rows, predict=lambda x: predict(forest, x)).explainer()
    assert isinstance(found, Unverified)
    assert why in found.why


@pytest.mark.parametrize(
    ("preparation", "why"),
    [
        (PCA(3), "both move"),
        (PolynomialFeatures(interaction_only=True), "both move"),
    ],
    ids=["components", "products"],
)
def test_columns_made_of_several_inputs_are_refused_by_naming_two(preparation, why):
    rows, label = numbers()
    pipeline = make_pipeline(preparation, LogisticRegression()).fit(rows, label)
    found = asked(pipeline[-1], rows, encode=encode_of(pipeline), predict=pipeline.predict_proba).explainer()
    assert isinstance(found, Unverified)
    assert why in found.why


def test_an_encoding_that_looks_at_other_rows_is_refused():
    rows, label = numbers()
    model = LogisticRegression().fit(rows, label)

    def ranked(given):
        return given - given.mean(axis=0)

    found = asked(model, rows, encode=ranked).explainer()
    assert isinstance(found, Unverified)


def test_too_few_rows_show_nothing():
    rows, label = numbers()
    model = asked(LogisticRegression().fit(rows, label), rows[:5], background=3)
    assert "5 rows" in model.explainer().why


def test_what_cannot_be_seen_is_said_and_what_predict_raises_is_passed_on():
    rows, label = numbers()
    model = LogisticRegression().fit(rows, label)

    def blind(given):
        raise ValueError("predict does not ask it")

    assert "predict does not ask it" in asked(model, rows, encode=blind).explainer().why
    with pytest.raises(ZeroDivisionError):
        asked(model, rows, predict=lambda _: 1 / 0).explainer()


def test_words_and_numbers_are_explained_as_the_inputs_they_were():
    cells, label = people()
    pipeline = prepared(GradientBoostingClassifier(n_estimators=5, random_state=0), cells, label)
    forest = prepared(RandomForestClassifier(5, random_state=0), cells, label)
    for fitted, exact in ((forest, forest.predict_proba), (pipeline, None)):
        model = asked(fitted[-1], cells[:-1], encode=encode_of(fitted), predict=fitted.predict_proba)
        found = model.exact().explain(cells[:3], ["a"] * 3)
        np.testing.assert_allclose(found.values.sum(axis=2), found.predictions - found.expected, atol=1e-12)
        for row, values in zip(cells[:3], found.values, strict=True):
            if exact:
                np.testing.assert_allclose(values, shapley(exact, row, model.background), atol=1e-12)


def test_a_category_that_the_reference_has_not_is_given_to_its_input():
    cells, label = people()
    pipeline = prepared(LogisticRegression(C=100), cells, label)
    encode = encode_of(pipeline)
    model = asked(pipeline[-1], cells[:-1], encode=encode, predict=pipeline.predict_proba)
    found = model.exact().explain(cells[-1:], ["a"])
    sample = Background(cells[:-1], np.full(len(cells) - 1, 1 / (len(cells) - 1)), "")

    def margin(rows):
        p = pipeline.predict_proba(rows)
        return np.log(p / p[:, ::-1])

    assert found.failures is None
    np.testing.assert_allclose(found.values[0], shapley(margin, cells[-1], sample), atol=1e-9)


def test_a_row_of_which_predict_says_something_else_is_not_explained_and_the_others_are():
    rows, label = numbers()
    boosted = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(rows, label)

    def with_a_rule(given):
        return np.where(given[:, 0] > 50, 0.0, boosted.predict_proba(given)[:, 1])

    asked_rows = rows[:3].copy()
    asked_rows[1, 0] = 99.0
    found = asked(boosted, rows, predict=with_a_rule).exact().explain(asked_rows, ["a", "b", "c"])
    assert found.failures is not None
    assert [failure is None for failure in found.failures] == [True, False, True]
    assert np.isnan(found.values[1]).all()
    assert not np.isnan(found.values[[0, 2]]).any()


def test_many_inputs_are_looked_at_in_few_rows_each():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 150))
    model = LogisticRegression().fit(rows, rows[:, 0] > 0)
    calls = []

    def encode(given):
        calls.append(len(given))
        return given

    explainer = asked(model, rows, encode=encode).exact()
    found = explainer.explain(rows[:1], ["a"])
    np.testing.assert_allclose(found.values[0, 1], model.coef_[0] * (rows[0] - rows.mean(axis=0)))
    assert max(calls) <= 8192
    assert sum(calls) < 45_000
