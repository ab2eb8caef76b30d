"""SHAP values of trees: against the definition, over every coalition."""

import numpy as np
import pytest
from every_coalition import shapley, shapley_by_background_row
from fitted_models import asked, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from threadpoolctl import threadpool_limits

from modelwarden_server.explain import trees
from modelwarden_server.explain.background import Background
from modelwarden_server.explain.evaluate import linked, raw, thresholds
from modelwarden_server.explain.exported import TreeEnsemble
from modelwarden_server.explain.leaf_games import Arena, PairGames, TableGames
from modelwarden_server.explain.tree_paths import TreePaths
from modelwarden_server.explain.trees import TreeBackground, TreeEngine

SMALL = {"n_estimators": 8, "random_state": 0}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    # Threads that wait for each other take most of the time of so small trees.
    with threadpool_limits(1):
        yield


@pytest.mark.parametrize(
    ("estimator", "units"),
    [
        (RandomForestClassifier(**SMALL), "probability"),
        (RandomForestClassifier(**SMALL, max_depth=2), "probability"),
        (ExtraTreesClassifier(**SMALL, max_depth=4), "probability"),
        (RandomForestRegressor(**SMALL), "value"),
        (GradientBoostingRegressor(**SMALL), "value"),
        (HistGradientBoostingRegressor(max_iter=8, random_state=0), "value"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_values_are_those_of_every_coalition_of_predict(estimator, units):
    rows, label = numbers()
    model = asked(estimator.fit(rows, label if units == "probability" else rows[:, 0] * 7 + label), rows)
    found = model.exact().explain(rows[:4], ["a"] * 4)
    assert (found.units, found.path) == (units, "trees")
    for row, values in zip(rows, found.values, strict=False):
        np.testing.assert_allclose(values, shapley(model.predict, row, model.background), atol=1e-10)


def test_three_classes_of_a_forest_are_each_explained():
    rows, label = numbers()
    forest = RandomForestClassifier(**SMALL).fit(rows, label + (rows[:, 4] > 1))
    model = asked(forest, rows)
    found = model.exact().explain(rows[:3], ["a"] * 3)
    for row, values in zip(rows, found.values, strict=False):
        np.testing.assert_allclose(values, shapley(forest.predict_proba, row, model.background), atol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [
        GradientBoostingClassifier(**SMALL),
        GradientBoostingClassifier(**SMALL, max_depth=9),
        HistGradientBoostingClassifier(max_iter=8, random_state=0),
    ],
    ids=["shallow", "deep", "histogram"],
)
def test_boosted_probabilities_are_margins_carried_over_for_each_background_row(estimator):
    rows, label = numbers()
    boosted = estimator.fit(rows, label)
    model = asked(boosted, rows)
    found = model.exact().explain(rows[:4], ["a"] * 4)

    def margin(mixed):
        return boosted.decision_function(mixed)[:, None]

    of_background = model.background.rows
    for row, values in zip(rows, found.values, strict=False):
        alone = shapley_by_background_row(margin, row, of_background)[:, 0]
        rise = boosted.predict_proba(row[None])[:, 1] - boosted.predict_proba(of_background)[:, 1]
        run = margin(row[None])[:, 0] - margin(of_background)[:, 0]
        # Where both are the same, a chord has become the tangent.
        tangent = np.prod(boosted.predict_proba(of_background), axis=1)
        slope = np.divide(rise, run, out=tangent, where=np.abs(run) > 1e-9)
        expected = (model.background.weights * slope) @ alone
        np.testing.assert_allclose(values, [-expected, expected], atol=1e-10)
    assert found.units == "probability"


def test_a_softmax_is_explained_in_margins():
    rows, label = numbers()
    boosted = GradientBoostingClassifier(**SMALL).fit(rows, label + (rows[:, 4] > 1))
    model = asked(boosted, rows)
    found = model.exact().explain(rows[:2], ["a"] * 2)
    assert found.units == "margin"
    for row, values in zip(rows, found.values, strict=False):
        expected = shapley(boosted.decision_function, row, model.background)
        np.testing.assert_allclose(values, expected, atol=1e-10)


def test_a_missing_input_is_followed_down_the_trees_and_has_no_value_of_its_own():
    rows, label = numbers()
    rows[::3, 2] = np.nan
    forest = RandomForestClassifier(**SMALL).fit(rows, label)
    model = asked(forest, rows)
    found = model.exact().explain(rows[:2], ["a", "b"])
    expected = shapley(forest.predict_proba, rows[0], model.background)
    assert np.isnan(found.values[0, :, 2]).all()
    np.testing.assert_allclose(found.values[0][:, [0, 1, 3, 4]], expected[:, [0, 1, 3, 4]], atol=1e-12)
    assert not np.isnan(found.values[1]).any()


@st.composite
def ensembles(draw: st.DrawFn) -> TreeEnsemble:
    """Trees of any shape over six columns of four players, one of them nobody's."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    left, right, feature, roots = [], [], [], []
    for _ in range(draw(st.integers(1, 4))):
        roots.append(len(left))
        waiting = [None]
        while waiting:
            side = waiting.pop()
            node = len(left)
            if side:
                side[0][side[1]] = node
            splits = len(left) - roots[-1] + len(waiting) < 40 and rng.random() < 0.7
            left.append(-1), right.append(-1), feature.append(int(rng.integers(6)) if splits else -1)
            waiting += [(right, node), (left, node)] if splits else []
    nodes = len(left)
    return TreeEnsemble(
        left=np.array(left, dtype=np.int32), right=np.array(right, dtype=np.int32),
        feature=np.array(feature, dtype=np.int32), threshold=rng.integers(-2, 3, nodes).astype(float),
        missing_left=rng.random(nodes) < 0.5, value=rng.normal(size=(nodes, 1)),
        roots=np.array(roots, dtype=np.int32), outputs=np.full(len(roots), -1, dtype=np.int32),
        base=np.ones(1), players=np.array([0, 1, 2, 0, 2, 3], dtype=np.int32),
        scale=0.5, strict=draw(st.booleans()), single=draw(st.booleans()),
        link=draw(st.sampled_from(["identity", "log"])),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(ensembles(), st.integers(0, 2**32 - 1))
def test_any_trees_over_columns_that_share_a_player(model, seed):
    rng = np.random.default_rng(seed)
    encoded = rng.integers(-3, 4, (7, 6)).astype(float)
    encoded[rng.random((7, 6)) < 0.1] = np.nan
    background = Background(encoded[1:], rng.dirichlet(np.ones(6)), "")
    engine = TreeEngine(model, 4, TreeBackground(background.rows, background.weights))

    def game_of(row):
        # One column a player: which of its columns come from the row is told by 0 and 1.
        def game(taken):
            others = np.tile(encoded[1:], (len(taken) // 6, 1))
            return raw(model, np.where(taken[:, model.players] == 1, row, others))

        return game

    apart = raw(model, encoded[:1]) - raw(model, encoded[1:])
    rise = linked(model.link, raw(model, encoded[:1])) - linked(model.link, raw(model, encoded[1:]))
    slope = np.where(np.abs(apart) > 1e-9, rise / np.where(apart == 0, 1, apart), 1.0)[:, 0]
    weights = background.weights * (slope if model.link == "log" else 1.0)
    nobody = Background(np.zeros((6, 4)), weights, "")
    expected = shapley(game_of(encoded[0]), np.ones(4), nobody)
    np.testing.assert_allclose(engine.values(encoded[:1])[0], expected, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(ensembles(), st.integers(0, 2**32 - 1), st.booleans())
def test_a_table_and_pairs_give_the_same(model, seed, summed):
    rng = np.random.default_rng(seed)
    encoded = rng.integers(-3, 4, (6, 6)).astype(float)
    paths = TreePaths.of(model, thresholds(model), model.roots, model.players.astype(np.int16))
    failed = paths.codes(encoded[1:])
    weights = rng.dirichlet(np.ones(5))
    arena = Arena(paths, failed, model.value[paths.leaves], 5, weights if summed else None)
    shares = None if summed else weights[:, None]
    code = paths.codes(encoded[:1])[:, 0]
    table, pairs = TableGames(arena).values(code, shares), PairGames(arena).values(code, shares)
    np.testing.assert_allclose(table, pairs, atol=1e-12)


def test_trees_that_are_not_kept_in_memory_give_the_same(monkeypatch):
    rows, label = numbers()
    model = asked(RandomForestClassifier(**SMALL).fit(rows, label), rows)
    expected = model.exact().explain(rows[:5], ["a"] * 5).values
    for name, value in (("_PAIRS_AT_ONCE", 300), ("_KEPT_PAIRS", 600), ("_CODES_AT_ONCE", 100)):
        monkeypatch.setattr(trees, name, value)
    explainer = model.exact()
    for rows_for_lists in (0, 40):
        monkeypatch.setattr(trees, "_ROWS_FOR_LISTS", rows_for_lists)
        np.testing.assert_allclose(explainer.explain(rows[:5], ["a"] * 5).values, expected, atol=1e-13)


def test_trees_too_large_are_not_taken(monkeypatch):
    rows, label = numbers()
    model = asked(RandomForestClassifier(**SMALL).fit(rows, label), rows)
    for bound in ("MOST_PAIRS", "MOST_PAIRS_IN_ALL"):
        with monkeypatch.context() as patch:
            patch.setattr(trees, bound, 60)
            assert "leaves" in model.explainer().why


@given(st.floats(width=64, allow_nan=False), st.floats(width=32, allow_nan=False), st.booleans())
def test_a_threshold_in_single_precision_divides_as_in_double(threshold, value, strict):
    model = TreeEnsemble(
        *np.zeros((3, 1), dtype=np.int32), threshold=np.array([threshold]),
        missing_left=np.zeros(1, dtype=bool), value=np.zeros((1, 1)), roots=np.zeros(1, dtype=np.int32),
        outputs=np.zeros(1, dtype=np.int32),
        base=np.zeros(1), players=np.zeros(1, dtype=np.int32), strict=strict,
    )  # fmt: skip
    bound = thresholds(model)[0]
    one = np.float32(value)
    assert (one < bound if strict else one <= bound) == (
        np.float64(one) < threshold if strict else np.float64(one) <= threshold
    )
