"""The few rows that stand for the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.explain.background import MOST, summarised


@given(st.integers(1, 400), st.integers(1, MOST), st.text(max_size=20))
def test_rows_are_of_the_sample_and_weights_are_those_of_their_strata(many, most, seed):
    sample = np.arange(many, dtype=np.float64)[:, None]
    found = summarised(sample, None, seed, most)
    assert len(found.rows) == min(many, most) == len(set(found.rows[:, 0])) == len(found.weights)
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights > 0).all()
    assert str(many) in found.how


def test_the_same_reference_gives_the_same_rows_and_another_others():
    rng = np.random.default_rng(0)
    sample, said = rng.normal(size=(900, 3)), rng.random((900, 2))
    one, again, other = (summarised(sample, said, seed) for seed in ("hash", "hash", "other"))
    np.testing.assert_array_equal(one.rows, again.rows)
    assert (one.rows != other.rows).any()


def test_strata_of_predictions_say_what_is_expected_better_than_any_rows():
    rng = np.random.default_rng(1)
    sample = rng.normal(size=(1000, 1))
    said = 1 / (1 + np.exp(-2 * sample))
    off = []
    for seed in range(20):
        found = summarised(sample, said, str(seed))
        off.append(found.weights @ (1 / (1 + np.exp(-2 * found.rows[:, 0]))) - said.mean())
    drawn = [rng.choice(said[:, 0], 50).mean() - said.mean() for _ in range(20)]
    assert np.std(off) < np.std(drawn) / 5
