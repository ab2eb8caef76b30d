"""Estimates without labels hold what labels say later where only inputs changed, else they are withheld."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from modelwarden_server.analysis.performance.classification import by_name, ranking, rates
from modelwarden_server.analysis.performance.confusion import BinaryConfusion
from modelwarden_server.analysis.performance.estimate import calibrated, estimated
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts, score_bins


def truth(score):
    return 0.05 + 0.85 * score**2


def counts(rng, n, a=2.0, b=2.0):
    score = rng.beta(a, b, n)
    label = rng.random(n) < truth(score)
    bins = score_bins(score)
    tables = [np.bincount(bins[c], minlength=BINS).astype(np.int64) for c in (label >= 0, label, ~label)]
    return BinaryCounts(*tables)


def real(c: BinaryCounts, at=500):
    p, m = c.positives, c.negatives
    four = (p[at:].sum(), m[at:].sum(), m[:at].sum(), p[:at].sum())
    return by_name([*rates(BinaryConfusion(*map(int, four))), ranking(c)])


def test_the_calibration_is_scikit_learns_isotonic_regression_where_every_bin_has_rows():
    rng = np.random.default_rng(1)
    bins = np.repeat(np.arange(0, BINS, 10), 40)
    label = rng.random(len(bins)) < truth(bins / 1000)
    positives = np.bincount(bins[label], minlength=BINS)
    negatives = np.bincount(bins[~label], minlength=BINS)
    found = calibrated(BinaryCounts(positives + negatives, positives, negatives))
    places = np.arange(0, BINS, 10)
    shares = positives[places] / 40
    expected = IsotonicRegression().fit_transform(places, shares)
    assert found.by_bin[places] == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b"), [(2.0, 2.0), (3.0, 1.5), (1.5, 4.0)])
def test_where_only_inputs_changed_the_band_holds_what_labels_say(a, b):
    rng = np.random.default_rng(2)
    hits = dict.fromkeys(("accuracy", "recall", "precision", "f1", "balanced_accuracy", "auc"), 0)
    for _ in range(40):
        calibration = calibrated(counts(rng, 4000))
        window = counts(rng, 1000, a, b)
        said, was = by_name(estimated(calibration, window.rows, 500)), real(window)
        for metric in hits:
            hits[metric] += said[metric].lower <= was[metric].value <= said[metric].upper
    assert all(hit >= 0.85 * 40 for hit in hits.values()), hits


def test_losses_are_estimated_too():
    rng = np.random.default_rng(3)
    window = counts(rng, 50_000, 3, 2)
    said = by_name(estimated(calibrated(counts(rng, 50_000)), window.rows, 500))
    middles = (np.arange(BINS) + 0.5) / 1000
    brier = (window.positives * (1 - middles) ** 2 + window.negatives * middles**2).sum() / 50_000
    assert said["brier"].value == pytest.approx(brier, abs=0.004)
    assert said["log_loss"].lower < said["log_loss"].value < said["log_loss"].upper


def test_scores_that_the_reference_does_not_have_are_counted():
    rng = np.random.default_rng(4)
    score = rng.uniform(0.2, 0.6, 5000)
    label = rng.random(5000) < score
    bins = score_bins(score)
    c = BinaryCounts(*(np.bincount(bins[x], minlength=BINS) for x in (label >= 0, label, ~label)))
    rows = np.zeros(BINS, dtype=np.int64)
    rows[[100, 300, 500, 900]] = 25
    assert calibrated(c).outside(rows) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("positives", "negatives", "why"),
    [(100, 100, "200 labelled rows"), (10, 900, "fewer than 30 rows of one class")],
)
def test_a_reference_that_says_too_little_is_told(positives, negatives, why):
    p, m = np.zeros(BINS, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
    p[700], m[300] = positives, negatives
    assert why in calibrated(BinaryCounts(p + m, p, m))
