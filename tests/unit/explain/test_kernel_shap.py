"""SHAP values of black boxes: against sums over all orders, and by what must always hold."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.enumeration import all_coalitions, shapley_matrix
from modelwarden_server.explain.explanation import Explainer, Explanations
from modelwarden_server.explain.kernel import MOST_SAMPLES, Budget, kernel_explainer
from modelwarden_server.explain.masks import shared_pairs

Floats = npt.NDArray[np.float64]
Model = Callable[[npt.NDArray[Any]], Floats]


def background(rows: npt.NDArray[Any], weights: Floats | None = None) -> Background:
    shares = np.full(len(rows), 1 / len(rows)) if weights is None else weights / weights.sum()
    return Background(rows, shares, f"{len(rows)} rows")


def engine(model: Model, about: Background, samples: int = 2000, tolerance: float = 0.0) -> Explainer:
    return kernel_explainer(BlackBox(model, about, "probability", "asked"), Budget(samples, tolerance))


def by_all_orders(model: Model, row: npt.NDArray[Any], about: Background) -> Floats:
    """(k, d): the mean gain of each input over all orders in which inputs may come; weighs the background."""
    d = len(row)

    def worth(players: tuple[int, ...]) -> Floats:
        mixed = about.rows.copy()
        mixed[:, list(players)] = row[list(players)]
        return np.asarray(about.weights @ model(mixed))

    known = {s: worth(s) for size in range(d + 1) for s in itertools.combinations(range(d), size)}
    phi = np.zeros((d, len(known[()])))
    for order in itertools.permutations(range(d)):
        for at, player in enumerate(order):
            phi[player] += known[tuple(sorted(order[: at + 1]))] - known[tuple(sorted(order[:at]))]
    return np.asarray(phi.T / math.factorial(d))


def tangled(rows: npt.NDArray[Any]) -> Floats:
    """Two outputs, with products of two and three inputs, and a step."""
    x = rows.astype(np.float64)
    p = 1 / (1 + np.exp(-(x[:, 0] * x[:, 1] + x[:, 2] * x[:, 3] * x[:, -1] + (x[:, 1] > 0))))
    return np.stack([p, 1 - p], axis=1)


def wide(rows: npt.NDArray[Any]) -> Floats:
    """One output: sums of products of up to three of twenty inputs, whose values are known by hand."""
    x = rows.astype(np.float64)
    return np.asarray(
        (x[:, :1] - 2 * x[:, 1:2]) + 3 * x[:, 2:3] * x[:, 3:4] + 5 * np.prod(x[:, 4:7], axis=1)[:, None]
    )


def test_few_inputs_are_enumerated_and_equal_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(1)
    about = background(rng.normal(size=(7, 6)), rng.random(7) + 0.1)
    rows = rng.normal(size=(3, 6))
    told = engine(tangled, about).explain(rows, ["a", "b", "c"])
    assert told.path == "enumeration"
    assert told.errors is None
    for row, values in zip(rows, told.values, strict=True):
        assert np.allclose(values, by_all_orders(tangled, row, about), atol=1e-12)
    assert told.model_rows.tolist() == [62 * 7 + 1] * 3


def test_the_weights_of_all_coalitions_give_each_player_its_own_gain() -> None:
    worth = np.array([1.0, -2.0, 0.5, 4.0])
    gains = shapley_matrix(4) @ (all_coalitions(4) @ worth)
    assert np.allclose(gains, worth)


def test_products_of_three_of_twenty_inputs_are_found_from_few_coalitions() -> None:
    row, about = np.ones((1, 20)), background(np.zeros((1, 20)))
    told = engine(wide, about, 256).explain(row, ["a"])
    by_hand = np.zeros(20)
    by_hand[[0, 1, 2, 3, 4, 5, 6]] = [1, -2, 1.5, 1.5, 5 / 3, 5 / 3, 5 / 3]
    assert told.path == "kernel"
    assert np.abs(told.values[0, 0] - by_hand).max() < 0.1
    assert told.model_rows[0] <= 256 + 1


def test_a_model_without_interactions_is_exact_and_asked_no_further_than_the_first_stage() -> None:
    rng = np.random.default_rng(2)
    slopes = rng.normal(size=30)
    about, rows = background(rng.normal(size=(5, 30))), rng.normal(size=(2, 30))
    told = engine(lambda x: (x @ slopes)[:, None], about, tolerance=0.01).explain(rows, ["a", "b"])
    by_hand = slopes * (rows - about.weights @ about.rows)
    assert np.allclose(told.values[:, 0], by_hand, atol=1e-7)
    assert told.errors is not None
    assert told.errors.max() < 1e-6
    assert (told.model_rows == 2 * 64 * 5 + 1).all()


def deep(rows: npt.NDArray[Any]) -> Floats:
    """Effects of every order: what is fitted beside the linear terms does not hold all of it."""
    x = rows.astype(np.float64)
    return np.asarray(np.tanh(x[:, :5].sum(axis=1) * x[:, 5] + np.prod(x[:, 6:11], axis=1)))[:, None]


def test_standard_errors_are_as_large_as_the_errors_are() -> None:
    rng = np.random.default_rng(3)
    about, rows = background(rng.normal(size=(3, 11))), rng.normal(size=(6, 11))
    names = [str(n) for n in range(len(rows))]
    exact = engine(deep, about, 4096).explain(rows, names)
    assert exact.path == "enumeration"
    # Two more inputs that do nothing make them too many to be enumerated.
    more = background(np.hstack([about.rows, np.zeros((3, 2))]))
    told = engine(lambda x: deep(x[:, :11]), more, 300).explain(np.hstack([rows, np.ones((6, 2))]), names)
    assert told.errors is not None
    apart = np.abs(told.values[:, 0, :11] - exact.values[:, 0])
    assert (apart <= 3 * told.errors[:, 0, :11]).mean() > 0.9
    assert told.errors[:, 0, :11].mean() < 6 * apart.mean()


def test_more_coalitions_bring_the_values_to_the_exact_ones() -> None:
    rng = np.random.default_rng(4)
    about, row = background(rng.normal(size=(3, 11))), rng.normal(size=(1, 11))
    exact = engine(deep, about, 4096).explain(row, ["a"]).values
    box = BlackBox(
        lambda x: deep(x[:, :11]), background(np.hstack([about.rows, np.zeros((3, 4))])), "value", ""
    )
    longer = np.hstack([row, np.ones((1, 4))])

    def apart(samples: int) -> float:
        told = [
            kernel_explainer(box, Budget(samples, 0.0)).explain(longer, [name]).values[0, 0, :11]
            for name in "ab"
        ]
        return float(np.abs(np.array(told) - exact[0, 0]).mean())

    assert apart(1600) < 0.5 * apart(200)


def test_early_stopping_holds_the_tolerance_it_was_given() -> None:
    rng = np.random.default_rng(5)
    about, rows = background(rng.normal(size=(4, 20))), rng.normal(size=(4, 20))
    loose, tight = (
        engine(tangled, about, 2000, tolerance).explain(rows, list("abcd")) for tolerance in (0.1, 0.01)
    )
    assert loose.model_rows.sum() < tight.model_rows.sum()
    for told, tolerance in ((loose, 0.1), (tight, 0.01)):
        assert told.errors is not None
        stopped = told.model_rows < 2000 * 4
        within = told.errors.max(axis=(1, 2)) <= tolerance * np.ptp(told.values, axis=2).max(axis=1) + 1e-12
        assert within[stopped].all()


@settings(max_examples=15, deadline=None)
@given(d=st.integers(1, 17), b=st.integers(1, 4), seed=st.integers(0, 1000))
def test_values_sum_to_prediction_less_expectation_and_idle_inputs_have_none(
    d: int, b: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    about, rows = background(rng.normal(size=(b, d))), rng.normal(size=(2, d))
    rows[0, 0] = about.rows[0, 0] if b == 1 else rows[0, 0]
    weights = rng.normal(size=d)

    def model(x: npt.NDArray[Any]) -> Floats:
        return np.asarray(np.sin(x @ weights)[:, None] * [1.0, -0.5])

    told = engine(model, about, 64).explain(rows, ["a", "b"])
    assert np.allclose(told.values.sum(axis=2), told.predictions - told.expected, atol=1e-9)
    assert np.allclose(told.expected, about.weights @ model(about.rows))
    if b == 1:
        assert (told.values[0, :, 0] == 0).all()


def test_a_row_has_the_same_values_whoever_else_is_in_the_request() -> None:
    rng = np.random.default_rng(6)
    about, rows = background(rng.normal(size=(3, 20))), rng.normal(size=(5, 20))
    names = list("abcde")
    together = engine(tangled, about, 200).explain(rows, names)
    explainer = engine(tangled, about, 200)
    explainer.explain(rows[::-1], names[::-1], samples=90)
    alone = explainer.explain(rows[3:4], ["d"])
    assert np.array_equal(together.values[3], alone.values[0])
    assert not np.array_equal(alone.values, explainer.explain(rows[3:4], ["other"]).values)


def test_texts_flags_and_missing_values_are_inputs_as_any() -> None:
    rows = np.array([["red", True, 2.0, None], ["blue", False, np.nan, "x"]], dtype=object)
    about = Background(
        np.array([["blue", False, 1.0, "x"], ["green", False, 3.0, None]], dtype=object),
        np.array([0.5, 0.5]),
        "two",
    )

    def model(x: npt.NDArray[Any]) -> Floats:
        red = np.array([value == "red" for value in x[:, 0]], dtype=np.float64)
        number = np.array([0.0 if value != value else value for value in x[:, 2]], dtype=np.float64)
        return (4 * red + red * x[:, 1].astype(float) + number)[:, None]

    told = engine(model, about).explain(rows, ["a", "b"])
    assert np.allclose(told.values[0, 0, :3], [4.5, 0.5, 0.0])
    assert np.isnan(told.values[0, 0, 3])
    assert np.isnan(told.values[1, 0, 2])
    assert np.isfinite(told.values[1, 0, [0, 1, 3]]).all()


def test_whole_numbers_reach_the_model_as_whole_numbers() -> None:
    kinds = set()

    def model(x: npt.NDArray[Any]) -> Floats:
        kinds.add(x.dtype)
        return x[:, :1].astype(np.float64)

    engine(model, background(np.zeros((2, 15), np.int64)), 40).explain(np.ones((1, 15), np.int64), ["a"])
    assert kinds == {np.dtype(np.int64)}


def test_the_model_is_never_given_more_rows_than_a_tile() -> None:
    sizes = []

    def model(x: npt.NDArray[Any]) -> Floats:
        sizes.append(len(x))
        return tangled(x)

    rng = np.random.default_rng(7)
    box = BlackBox(model, background(rng.normal(size=(30, 16))), "value", "")
    told: Explanations = kernel_explainer(box, Budget(300, 0.0, tile=1000)).explain(
        rng.normal(size=(2, 16)), ["a", "b"]
    )
    assert max(sizes) <= 1000
    assert sum(sizes) == told.model_rows.sum() + 30


def test_what_predict_raises_passes() -> None:
    def model(x: npt.NDArray[Any]) -> Floats:
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        engine(model, background(np.zeros((1, 3)))).explain(np.ones((1, 3)), ["a"])


def test_a_wish_for_very_many_coalitions_is_cut_down() -> None:
    told = engine(wide, background(np.zeros((1, 20)))).explain(np.ones((1, 20)), ["a"], samples=10**9)
    assert told.model_rows[0] <= MOST_SAMPLES + 1


@settings(max_examples=20, deadline=None)
@given(players=st.integers(6, 40), pairs=st.integers(8, 200))
def test_pairs_of_coalitions_are_distinct_and_their_weights_sum_to_one(players: int, pairs: int) -> None:
    drawn = shared_pairs(players, pairs, 1)
    halves = drawn.halves
    whole = {min(mask.tobytes(), (~mask).tobytes()) for mask in halves}
    assert len(whole) == len(halves) <= pairs
    assert (halves.any(axis=1) & ~halves.all(axis=1)).all()
    for first in {len(halves), max(len(halves) // 2, drawn.singles + 1)}:
        weights = drawn.weights(min(first, len(halves)))
        assert np.isclose(weights.sum(), 1)
        assert (weights > 0).all()
