"""Our scores of an isolation forest are scikit-learn's, on whatever data; and what made a row so adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from modelwarden_server.analysis import forest as forest_module
from modelwarden_server.analysis.artefact import Artefact, pack, unpack
from modelwarden_server.analysis.forest import Forest, converted, expected_length, grow

MANY = 900
"""Rows from which on every node is asked, instead of every row followed."""


def _normal(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(400, 5))


def _ties(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 3, size=(300, 4)).astype(float)


def _two_rows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(2, 3))


def _mostly_constant(rng: np.random.Generator) -> np.ndarray:
    return np.column_stack([np.ones(200), rng.normal(size=200), np.zeros(200)])


def _huge_and_tiny(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(300, 3)) * np.array([1e30, 1e-30, 1.0])


def _close_together(rng: np.random.Generator) -> np.ndarray:
    """Neighbours in single precision, so that rounding a threshold the wrong way would show."""
    steps = rng.integers(0, 6, size=(300, 2))
    return np.float32(1.0) + steps * np.spacing(np.float32(1.0))


def _heavy_tails(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_cauchy(size=(1000, 8))


DATA = [_normal, _ties, _two_rows, _mostly_constant, _huge_and_tiny, _close_together, _heavy_tails]


def _peer(data: np.ndarray, trees: int) -> IsolationForest:
    peer = IsolationForest(n_estimators=trees, max_samples=min(256, len(data)), random_state=3, n_jobs=1)
    return peer.fit(data.astype(np.float32))


@pytest.mark.parametrize("make", DATA, ids=lambda make: make.__name__)
def test_scores_are_those_of_scikit_learn_followed_row_by_row_or_asked_node_by_node(make) -> None:
    rng = np.random.default_rng(1)
    data = make(rng).astype(np.float32)
    peer = _peer(data, 100 if make is _heavy_tails else 25)
    ours = converted(peer, min(256, len(data)))
    # Rows of the data, others between and beside them, and values that are the thresholds themselves.
    others = rng.choice(data.ravel(), size=(MANY, data.shape[1])) * rng.choice([1, 1, 2, -1], size=(MANY, 1))
    thresholds = np.resize(ours.trees.threshold, (200, data.shape[1]))
    rows = np.asfortranarray(np.concatenate([data, others, thresholds]).astype(np.float32))
    theirs = -peer.score_samples(np.ascontiguousarray(rows))
    np.testing.assert_allclose(ours.score(rows), theirs, rtol=0, atol=1e-9)
    few = np.concatenate([ours.score(np.asfortranarray(rows[i : i + 100])) for i in range(0, len(rows), 100)])
    np.testing.assert_allclose(few, theirs, rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(1, 4))
def test_any_small_forest_scores_as_scikit_learn(seed: int, rows: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.round(rng.normal(size=(rows, features)), int(rng.integers(0, 4))).astype(np.float32)
    peer = IsolationForest(n_estimators=5, max_samples=rows, random_state=seed % 1000).fit(data)
    ours = converted(peer, rows).score(np.asfortranarray(data))
    np.testing.assert_allclose(ours, -peer.score_samples(data), rtol=0, atol=1e-9)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    ours = converted(_peer(rng.normal(size=(300, 3)), 20), 256)
    rows = np.asfortranarray(rng.normal(size=(2000, 3)).astype(np.float32))
    whole = ours.score(rows)
    monkeypatch.setattr(forest_module, "_BLOCK", 901)
    np.testing.assert_array_equal(ours.score(rows), whole)


def test_the_same_seed_grows_the_same_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest_module, "TREES", 20)
    data = np.asfortranarray(np.random.default_rng(2).normal(size=(500, 4)).astype(np.float32))
    one, same = (grow(data, 9).arrays() for _ in range(2))
    assert all(np.array_equal(one[name], same[name]) for name in one)


def test_contributions_explain_all_of_a_rows_path() -> None:
    rng = np.random.default_rng(4)
    ours = converted(_peer(rng.normal(size=(600, 4)), 20), 256)
    rows = np.asfortranarray(rng.normal(size=(50, 4)).astype(np.float32) * 3)
    usual = ours.length[ours.trees.roots].mean()
    path = ours.length[ours.trees.leaves(rows)].mean(axis=1)
    np.testing.assert_allclose(ours.contributions(rows).sum(axis=1), usual - path, atol=1e-9)


def test_expected_lengths_are_those_of_the_paper() -> None:
    # c(1) = 0, c(2) = 1, c(256) = 2(ln 255 + 0.5772156649) - 2·255/256 = 10.2448
    np.testing.assert_allclose(expected_length(np.array([1, 2, 256])), [0.0, 1.0, 10.244770920116851])


def _arrays() -> dict[str, np.ndarray]:
    data = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    return unpack(pack(Artefact("f", {}, converted(_peer(data, 3), 64).arrays()))).arrays


@pytest.mark.parametrize(
    ("name", "place", "value", "said"),
    [
        ("forest_left", 0, 10**6, "no later node"),
        ("forest_right", 1, 0, "no later node"),
        ("forest_feature", 0, 2, "feature that there is not"),
        ("forest_threshold", 0, np.nan, "no number"),
        ("forest_roots", 0, -1, "no node"),
        ("forest_length", 0, np.inf, "does not fit"),
    ],
)
def test_arrays_that_no_training_makes_are_refused(name: str, place: int, value: float, said: str) -> None:
    arrays = {key: array.copy() for key, array in _arrays().items()}
    Forest.of(arrays, 64, 2)
    arrays[name][place] = value
    with pytest.raises(ValueError, match=said):
        Forest.of(arrays, 64, 2)


def test_a_missing_array_is_named() -> None:
    arrays = dict(_arrays())
    del arrays["forest_left"]
    with pytest.raises(ValueError, match="forest_left is missing"):
        Forest.of(arrays, 64, 2)
