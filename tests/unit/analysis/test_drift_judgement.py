"""When a feature is called drifted: effect, significance, enough rows; against scipy and by simulation."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from modelwarden_server.analysis.distances import Metric, distance
from modelwarden_server.analysis.drift import Comparison, DriftRule, Judge, judge, score
from modelwarden_server.analysis.significance import discoveries, homogeneity_p, smirnov_p

RULE = DriftRule(metric="PSI", threshold=0.2, minimum_rows=200, false_discovery_rate=0.05)
counts = st.lists(st.tuples(st.integers(20, 500), st.integers(20, 500)), min_size=2, max_size=12)


def comparison(base, target, name="x", ordered=True) -> Comparison:
    return Comparison(name, "PIPELINE_INPUT", np.asarray(base), np.asarray(target), ordered)


@given(counts, st.booleans())
def test_the_chi_square_test_is_scipys_where_no_bucket_is_thin(pairs, ordered):
    base, target = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    wanted = scipy.stats.chi2_contingency(np.stack([base, target]), correction=False)
    if wanted.expected_freq.min() >= 5:
        assert homogeneity_p(base, target, ordered) == pytest.approx(wanted.pvalue, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("ordered", [True, False])
def test_thin_buckets_are_joined_before_testing(ordered):
    base, target = np.array([500, 500, 1, 1]), np.array([500, 500, 0, 2])
    joined = np.array([[500, 502], [500, 502]])
    wanted = scipy.stats.chi2_contingency(joined, correction=False).pvalue
    assert homogeneity_p(base, target, ordered) == pytest.approx(wanted)


def test_one_bucket_is_no_evidence_and_no_rows_no_answer():
    assert homogeneity_p(np.array([9]), np.array([4]), ordered=True) == 1.0
    assert homogeneity_p(np.array([9, 1]), np.array([0, 0]), ordered=True) is None
    assert smirnov_p(np.array([0]), np.array([3])) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0.001, 0.5))
def test_discoveries_are_scipys(p_values, rate):
    wanted = scipy.stats.false_discovery_control(p_values) <= rate
    adjusted = scipy.stats.false_discovery_control(p_values)
    if np.abs(adjusted - rate).min() > 1e-12:
        assert discoveries(p_values, rate) == wanted.tolist()


def test_smirnov_on_single_values_is_scipys():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=3000), rng.normal(0.05, 1, size=2000)
    every = np.sort(np.concatenate([a, b]))
    base, target = (np.bincount(np.searchsorted(every, x), minlength=len(every)) for x in (a, b))
    wanted = scipy.stats.ks_2samp(a, b, method="asymp").pvalue
    assert smirnov_p(base, target) == pytest.approx(wanted, rel=0.05)


P, Q = np.array([20, 30, 50]), np.array([40, 40, 20])


@pytest.mark.parametrize(
    ("metric", "by_hand"),
    [
        (Metric.PSI, -0.2 * np.log(0.5) - 0.1 * np.log(0.75) + 0.3 * np.log(2.5)),
        (Metric.KL, scipy.stats.entropy(P, Q)),
        (Metric.HELLINGER, np.sqrt(((np.sqrt(P / 100) - np.sqrt(Q / 100)) ** 2).sum())),
        (Metric.JS, (scipy.stats.entropy(P, P + Q) + scipy.stats.entropy(Q, P + Q)) / 2),
    ],
)
def test_distances_by_hand(metric, by_hand):
    assert distance(metric, P, Q) == pytest.approx(by_hand)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8))
def test_distances_are_finite_not_negative_and_zero_between_equals(pairs):
    base, target = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    for metric in Metric:
        found = distance(metric, base, target)
        if not base.sum() or not target.sum():
            assert found is None
        else:
            assert np.isfinite(found)
            assert found >= 0 or metric is Metric.KL
            assert distance(metric, base, base) == pytest.approx(0, abs=1e-12)


def test_an_empty_bucket_counts_as_half_a_row():
    wanted = (0.5 - 0.005) * np.log(0.5 / 0.005) + (0.5 - 1) * np.log(0.5)
    assert distance(Metric.PSI, np.array([50, 50, 0]), np.array([0, 100, 0])) == pytest.approx(wanted)


def test_hypothesis_test_is_minus_log10_of_p():
    unordered = comparison([500, 300, 200], [450, 320, 230], ordered=False)
    p = scipy.stats.chi2_contingency([[500, 300, 200], [450, 320, 230]], correction=False).pvalue
    assert score("HypothesisTest", unordered) == pytest.approx(-np.log10(p))
    assert np.isfinite(score("HypothesisTest", comparison([10**6, 0], [0, 10**6])))


def test_a_large_effect_without_enough_rows_is_not_flagged_and_not_tested():
    (feature,) = judge([comparison([500, 500], [10, 150])], RULE)
    assert feature.n == 160
    assert feature.score > 0.2
    assert (feature.p_value, feature.drifted) == (None, False)


def test_a_significant_but_tiny_effect_is_not_flagged():
    (feature,) = judge([comparison([500_000, 500_000], [490_000, 510_000])], RULE)
    assert feature.p_value < 1e-9
    assert not feature.drifted


def test_a_large_effect_that_may_be_chance_is_not_flagged():
    wide = np.full(60, 10)
    rng = np.random.default_rng(2)
    target = rng.multinomial(220, np.full(60, 1 / 60))
    (feature,) = judge([comparison(wide, target, ordered=False)], RULE)
    assert feature.score > 0.2
    assert not feature.drifted


def test_an_attribute_may_have_a_threshold_of_its_own():
    rule = DriftRule("PSI", 0.2, 200, 0.05, thresholds={"x": 5.0})
    base, target = [500, 500], [50, 450]
    assert judge([comparison(base, target, name="y")], rule)[0].drifted
    assert not judge([comparison(base, target, name="x")], rule)[0].drifted


@pytest.mark.parametrize("rule", [RULE, replace(RULE, threshold=None, minimum_rows=100)])
@pytest.mark.parametrize("n", [200, 1000, 5000])
def test_without_drift_thirty_features_raise_practically_no_flag(n, rule):
    rng = np.random.default_rng(n)
    windows, flagged, remembering = 40, 0, Judge()
    base = rng.multinomial(10_000, np.full(10, 0.1), size=30)
    for _ in range(windows):
        target = rng.multinomial(n, np.full(10, 0.1), size=30)
        judged = remembering.judge([comparison(base[i], target[i], name=str(i)) for i in range(30)], rule)
        flagged += any(feature.drifted for feature in judged)
    assert flagged <= windows * 0.01


@pytest.mark.parametrize("n", [200, 500, 1000])
def test_a_real_shift_is_found_among_features_that_did_not_move(n):
    rng = np.random.default_rng(n)
    edges = np.quantile(rng.normal(size=10_000), np.arange(1, 10) / 10)
    found, remembering = 0, Judge()
    base = rng.multinomial(10_000, np.full(10, 0.1), size=30)
    for _ in range(30):
        target = rng.multinomial(n, np.full(10, 0.1), size=30)
        target[7] = np.bincount(np.searchsorted(edges, rng.normal(0.8, 1, n)), minlength=10)
        judged = remembering.judge([comparison(base[i], target[i], name=str(i)) for i in range(30)], RULE)
        found += [feature.name for feature in judged if feature.drifted] == ["7"]
    assert found >= 29
