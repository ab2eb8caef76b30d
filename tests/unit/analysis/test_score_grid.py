"""The grid of scores: counts at its thresholds are exact, whatever doubles the scores are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.analysis.score_grid import BINS, THRESHOLDS, score_bins

ON_GRID = st.integers(0, BINS - 1).map(lambda k: k / 1000.0)
NEAR_GRID = ON_GRID.flatmap(lambda t: st.sampled_from([np.nextafter(t, -1), t, np.nextafter(t, 2)]))


@given(st.lists(st.floats(0, 1) | NEAR_GRID, max_size=50))
def test_at_each_threshold_of_the_grid_the_bins_count_what_the_scores_say(scores: list[float]) -> None:
    values = np.array(scores, dtype=np.float64)
    counts = np.bincount(score_bins(values), minlength=BINS)
    at_least = counts[::-1].cumsum()[::-1]
    np.testing.assert_array_equal(at_least[1:], (values[:, None] >= THRESHOLDS[1:]).sum(axis=0))


def test_scores_beyond_the_ends_fall_into_the_outer_bins_and_nan_into_none() -> None:
    found = score_bins(np.array([-1.0, -0.0, 0.0, 1.0, 2.0, np.inf, np.nan]))
    assert found.tolist() == [0, 0, 0, 1000, 1000, 1000, -1]
