"""Metrics from counts equal scikit-learn's, and their intervals cover what they promise to cover."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from modelwarden_server.analysis.performance.blocks import RegressionBlock
from modelwarden_server.analysis.performance.classification import (
    LossSums,
    by_name,
    calibration,
    losses,
    of_all_classes,
    ranking,
    rates,
)
from modelwarden_server.analysis.performance.confusion import BinaryConfusion, Confusion
from modelwarden_server.analysis.performance.fixed_point import Scale
from modelwarden_server.analysis.performance.intervals import of_counts, share, tied_share
from modelwarden_server.analysis.performance.packing import doubles_packed
from modelwarden_server.analysis.performance.regression import ErrorSums, errors
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts, score_bins


def scored(rng, n: int):
    score = rng.beta(2, 3, n)
    return score, (rng.random(n) < score**1.3).astype(int)


def counts(score, label) -> BinaryCounts:
    bins = score_bins(score)
    tables = [np.bincount(bins[chosen], minlength=BINS) for chosen in (label >= 0, label == 1, label == 0)]
    return BinaryCounts(*(t.astype(np.int64) for t in tables))


def confusion(said, label) -> BinaryConfusion:
    return BinaryConfusion(
        *(int(x) for x in (
            (said & (label == 1)).sum(), (said & (label == 0)).sum(),
            (~said & (label == 0)).sum(), (~said & (label == 1)).sum(),
        ))
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7])
def test_rates_at_a_threshold_are_those_of_scikit_learn(threshold):
    score, label = scored(np.random.default_rng(1), 3000)
    said = score >= threshold
    found = by_name(rates(confusion(said, label)))
    expected = {
        "accuracy": sk.accuracy_score(label, said),
        "balanced_accuracy": sk.balanced_accuracy_score(label, said),
        "precision": sk.precision_score(label, said),
        "recall": sk.recall_score(label, said),
        "specificity": sk.recall_score(1 - label, ~said),
        "f1": sk.f1_score(label, said),
        "false_positive_rate": 1 - sk.recall_score(1 - label, ~said),
        "false_negative_rate": 1 - sk.recall_score(label, said),
    }
    assert {name: value.value for name, value in found.items()} == pytest.approx(expected, abs=1e-15)
    assert all(v.lower <= v.value <= v.upper for v in found.values())


def test_auc_is_exact_on_the_grid_and_else_within_half_of_the_ties():
    score, label = scored(np.random.default_rng(2), 5000)
    on_grid = np.floor(score * 1000) / 1000
    found = ranking(counts(on_grid, label))
    assert found.value == pytest.approx(sk.roc_auc_score(label, on_grid), abs=1e-12)
    c = counts(score, label)
    bound = tied_share(c.positives.astype(float), c.negatives.astype(float)) / 2
    assert abs(ranking(c).value - sk.roc_auc_score(label, score)) <= bound < 0.002


def test_losses_are_those_of_scikit_learn_and_the_curve_adds_up():
    score, label = scored(np.random.default_rng(3), 4000)
    right = np.where(label == 1, score, 1 - score)
    sums = LossSums(float(-np.log(right).sum()), float(((1 - right) ** 2).sum()))
    found = by_name(losses(sums, counts(score, label)))
    assert found["log_loss"].value == pytest.approx(sk.log_loss(label, score))
    assert found["brier"].value == pytest.approx(sk.brier_score_loss(label, score))
    per_row = -np.log(right)
    assert found["log_loss"].error == pytest.approx(per_row.std() / np.sqrt(4000), rel=0.02)
    curve, error = calibration(counts(score, label))
    assert sum(point.positive.n for point in curve) == 4000
    assert [p.score for p in curve] == sorted(p.score for p in curve)
    assert 0.02 < error.value < 0.15


def test_macro_averages_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    true = rng.choice(5, 2000, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    said = np.where(rng.random(2000) < 0.7, true, rng.choice(5, 2000))
    table = sk.confusion_matrix(true, said, labels=range(6)).T
    found = by_name(of_all_classes(Confusion(tuple("abcdef"), table.astype(np.int64))))
    assert found["accuracy"].value == sk.accuracy_score(true, said)
    for name, score in (("precision", sk.precision_score), ("recall", sk.recall_score), ("f1", sk.f1_score)):
        assert found[name].value == pytest.approx(score(true, said, average="macro")), name
        assert 0.005 < found[name].error < 0.06
    assert found["false_negative_rate"].value == pytest.approx(1 - found["recall"].value)


def test_a_class_that_is_never_true_has_no_recall_and_misses_nothing():
    found = by_name(
        of_all_classes(Confusion(("a", "b", "c"), np.array([[60, 0, 0], [30, 0, 0], [10, 0, 0]])))
    )
    assert found["recall"].value == pytest.approx(0.6)
    assert found["false_negative_rate"].value == pytest.approx(0.4)


def errors_of(y, guess):
    block = RegressionBlock(Scale.of(float(y.min()), float(y.max()), float(y.mean())))
    totals = np.zeros(block.size, dtype=np.int64)
    for _, codes, values in block.entries_of(doubles_packed(guess), y):
        np.add.at(totals, codes, values)
    return by_name(errors(ErrorSums.of(block, totals)))


def test_errors_of_a_regression_are_those_of_scikit_learn():
    rng = np.random.default_rng(5)
    y = rng.normal(1e6, 3.0, 2000)
    guess = y + rng.normal(0.2, 1.0, 2000)
    found = errors_of(y, guess)
    assert found["rmse"].value == pytest.approx(sk.root_mean_squared_error(y, guess), rel=1e-7)
    assert found["mae"].value == pytest.approx(sk.mean_absolute_error(y, guess), rel=1e-7)
    assert found["r2"].value == pytest.approx(sk.r2_score(y, guess), rel=1e-7)
    assert found["mean_error"].value == pytest.approx((guess - y).mean(), rel=1e-6)


@pytest.mark.parametrize("size", [1e160, 1e250])
def test_errors_whose_squares_are_no_numbers_are_withheld(size):
    rng = np.random.default_rng(5)
    y = rng.normal(0, size, 200)
    found = errors_of(y, y + rng.normal(0, size, 200))
    assert {v.value for v in found.values()} == {None}
    assert "too large" in found["mae"].withheld


def test_wilsons_interval_is_scipys():
    found = share("accuracy", 41, 50)
    expected = stats.binomtest(41, 50).proportion_ci(method="wilson")
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_intervals_hold_the_true_value_about_as_often_as_they_promise():
    rng = np.random.default_rng(6)
    big, known = scored(rng, 400_000)
    truth = by_name([*rates(confusion(big >= 0.5, known)), ranking(counts(big, known))])
    hits = dict.fromkeys(("accuracy", "f1", "balanced_accuracy", "auc"), 0)
    for _ in range(300):
        score, label = scored(rng, 400)
        found = by_name([*rates(confusion(score >= 0.5, label)), ranking(counts(score, label))])
        for name in hits:
            hits[name] += found[name].lower <= truth[name].value <= found[name].upper
    assert all(hit >= 0.92 * 300 for hit in hits.values()), hits


@pytest.mark.parametrize(
    ("rows", "why"), [((3, 2, 4, 1), "n=10 < 30"), ((0, 0, 0, 0), "there are no such rows")]
)
def test_too_few_rows_tell_nothing(rows, why):
    assert {v.withheld for v in rates(BinaryConfusion(*rows)) if v.metric in ("accuracy", "f1")} == {why}


def test_one_class_alone_has_no_auc_and_no_recall_of_the_other():
    score = np.linspace(0.1, 0.9, 100)
    label = np.zeros(100, dtype=int)
    assert ranking(counts(score, label)).withheld == "only one of the classes is there"
    found = by_name(rates(confusion(score >= 0.5, label)))
    assert (found["recall"].value, found["recall"].withheld) == (None, "there are no such rows")
    assert found["accuracy"].value == pytest.approx(0.5)


def test_the_delta_method_on_a_share_is_its_standard_error():
    found = of_counts("x", np.array([30.0, 70.0]), lambda c: c[..., 0] / c.sum(axis=-1))
    assert found.error == pytest.approx(np.sqrt(0.3 * 0.7 / 100), rel=1e-3)
