"""A small table of planted harm and of harmless change; the full one: `python -m benchmarks.truth_table`."""

import numpy as np
import pytest

from benchmarks.performance_truth import (
    BY_ESTIMATE,
    HARM,
    HARMLESS,
    PerformanceWorld,
    late_labels_alarm,
)
from modelwarden_server.analysis.performance.verdict import Coverage, settled


@pytest.fixture(scope="module")
def world():
    return PerformanceWorld.of(np.random.default_rng(1))


@pytest.mark.parametrize("harm", HARM)
def test_a_model_that_got_worse_is_found_by_its_labels(world, harm):
    rng = np.random.default_rng(2)
    assert sum(world.by_labels(HARM[harm](rng, 1000)) for _ in range(10)) >= 9


@pytest.mark.parametrize("harm", BY_ESTIMATE)
def test_harm_by_changed_inputs_is_found_without_a_label(world, harm):
    rng = np.random.default_rng(3)
    assert sum(world.by_estimate(BY_ESTIMATE[harm](rng, 1000)) for _ in range(10)) >= 9


@pytest.mark.parametrize("change", HARMLESS)
def test_harmless_change_raises_no_alarm(world, change):
    rng = np.random.default_rng(4)
    assert not any(world.by_labels(HARMLESS[change](rng, 1000)) for _ in range(20))


@pytest.mark.parametrize("known", [True, False])
def test_labels_of_one_kind_that_come_later_raise_no_alarm(world, known):
    assert not late_labels_alarm(np.random.default_rng(5), world, 1000, delay_known=known)


@pytest.mark.parametrize(
    ("shares", "aged", "expected"),
    [
        ([0.1, 0.5, 0.9, 0.9, 0.9], [None] * 5, [False, False, True, False, False]),
        ([0.3, 0.3, 0.3, 0.3], [None] * 4, [True, True, False, False]),
        ([0.2, 0.5], [None] * 2, [False, False]),
        ([0.97], [None], [True]),
        ([0.5, 0.5, 0.5], [False, True, True], [False, True, True]),
        ([0.97, 0.5, 0.2], [False, True, True], [True, False, False]),
        ([0.0, 0.0], [True, True], [False, False]),
    ],
)
def test_a_window_is_settled_when_it_has_the_labels_that_windows_get(shares, aged, expected):
    windows = [Coverage(1000, round(1000 * share), old) for share, old in zip(shares, aged, strict=True)]
    assert settled(windows) == expected
