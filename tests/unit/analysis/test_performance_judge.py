"""The verdict on models of several classes and on regressions, and on what is too little to say anything."""

import numpy as np
import pyarrow as pa
import pytest
from outcome_kinds import CLASSES, NUMBER, people, space

from modelwarden.resources.attributes import OutputType
from modelwarden_server.analysis.partials import merge, total
from modelwarden_server.analysis.performance.fixed_point import Scale
from modelwarden_server.analysis.performance.verdict import NOT_ESTIMATED, PerformanceJudge


def totals(outcomes, data):
    table = pa.table(data)
    packed, labels, at = (
        outcomes.packed(table),
        outcomes.labels(table),
        np.zeros(table.num_rows, dtype=np.int64),
    )
    return total(
        [merge([outcomes.fold_rows(at, packed), outcomes.fold_labels(at, packed, labels)])], outcomes.size
    )


def classes(seed: int, n: int, right: float):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1, 1, 1], n)
    said = scores.argmax(axis=1)
    true = np.where(rng.random(n) < right, said, (said + rng.integers(1, 3, n)) % 3)
    return (
        people(rng, n)
        | {f"p{c}": scores[:, i] for i, c in enumerate("abc")}
        | {"kind": np.array(list("abc"))[true], "said": np.array(list("abc"))[said]}
    )


def numbers(seed: int, n: int, error: float):
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1, n)
    return people(rng, n) | {"guess": y + rng.normal(0, error, n), "y": y}


@pytest.mark.parametrize(("right", "worse"), [(0.9, False), (0.8, True)])
def test_several_classes_are_judged_by_accuracy_and_recall(right, worse):
    outcomes = space(CLASSES)
    judge = PerformanceJudge(outcomes, totals(outcomes, classes(1, 5000, 0.9)), 0.5, 200)
    verdict = judge.by_labels(totals(outcomes, classes(2, 1000, right)))
    assert [v.value.metric for v in verdict.values] == ["accuracy", "recall"]
    assert (verdict.judged, verdict.worse) == (True, worse)


@pytest.mark.parametrize(("rare", "looks_at"), [(0, 1), (3, 1), (40, 2)])
def test_a_class_with_few_labels_or_none_in_a_window_makes_the_model_no_worse(rare, looks_at):
    outcomes = space(CLASSES)
    common = classes(1, 9000, 0.9)
    kept = np.flatnonzero(common["kind"] == "a")
    few = np.flatnonzero(common["kind"] == "b")
    judge = PerformanceJudge(outcomes, totals(outcomes, common), 0.5, 200)
    window = {name: values[np.append(kept[:1000], few[:rare])] for name, values in common.items()}
    verdict = judge.by_labels(totals(outcomes, window))
    assert (verdict.judged, verdict.worse) == (True, False)
    recall = next(v for v in verdict.values if v.value.metric == "recall")
    of_classes = [np.mean(window["said"][window["kind"] == k] == k) for k in "ab"[:looks_at]]
    assert recall.value.value == pytest.approx(np.mean(of_classes))


def sure(seed: int, n: int, spread: float):
    """Classes whose predictions are right the more often the higher their score is, but not as often as it
    says; a smaller spread of inputs has the model less sure.
    """
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([spread] * 3, n)
    data = classes(seed, n, 1.0) | {f"p{c}": scores[:, i] for i, c in enumerate("abc")}
    right = rng.random(n) < 0.2 + 0.6 * scores.max(axis=1)
    true = np.where(right, scores.argmax(axis=1), (scores.argmax(axis=1) + 1) % 3)
    return data | {"kind": np.array(list("abc"))[true]}


def test_the_accuracy_of_several_classes_is_estimated_by_the_predicted_class_s_score():
    outcomes = space(CLASSES)
    judge = PerformanceJudge(outcomes, totals(outcomes, sure(1, 6000, 1.0)), 0.5, 200)
    within = 0
    for seed in range(2, 22):
        window = totals(outcomes, sure(seed, 800, 2.5))
        (said,) = judge.by_estimate(window).values
        real = judge.by_labels(window).values[0].value.value
        within += said.lower <= real <= said.upper
        assert (said.metric, said.n, judge.missed(window)) == ("accuracy", 800, False)
    assert within >= 17
    assert judge.by_estimate(totals(outcomes, sure(30, 4000, 6.0))).worse, "less sure: fewer are right"
    assert not judge.by_estimate(totals(outcomes, sure(31, 4000, 1.0))).worse


def test_estimates_of_several_classes_are_withheld_where_they_cannot_be_trusted():
    outcomes = space(CLASSES)
    unsure = totals(outcomes, sure(1, 3000, 60.0))
    withheld = PerformanceJudge(outcomes, unsure, 0.5, 200).by_estimate(totals(outcomes, sure(2, 500, 0.3)))
    assert "scores that the reference does not have" in withheld.withheld
    few = PerformanceJudge(outcomes, totals(outcomes, sure(1, 300, 1.0)), 0.5, 200)
    assert few.by_estimate(unsure).withheld.startswith("the reference has 300 labelled rows")
    numbered = space(NUMBER, OutputType.REGRESSION, scale=Scale.of(-4, 4, 0))
    other = PerformanceJudge(numbered, totals(numbered, numbers(1, 500, 0.5)), 0.5, 200)
    assert other.by_estimate(other.baseline).withheld == NOT_ESTIMATED


@pytest.mark.parametrize(("error", "worse"), [(0.5, False), (0.65, True)])
def test_a_regression_is_judged_by_its_mean_absolute_error(error, worse):
    outcomes = space(NUMBER, OutputType.REGRESSION, scale=Scale.of(-4, 4, 0))
    judge = PerformanceJudge(outcomes, totals(outcomes, numbers(1, 5000, 0.5)), 0.5, 200)
    verdict = judge.by_labels(totals(outcomes, numbers(2, 1000, error)))
    assert [v.value.metric for v in verdict.values] == ["mae"]
    assert (verdict.judged, verdict.worse) == (True, worse)


def test_without_a_reference_or_with_few_labels_there_is_no_verdict():
    outcomes = space(CLASSES)
    few = PerformanceJudge(outcomes, totals(outcomes, classes(1, 5000, 0.9)), 0.5, 200)
    verdict = few.by_labels(totals(outcomes, classes(2, 150, 0.2)))
    assert (verdict.judged, verdict.worse, verdict.values[0].value.withheld) == (False, False, "n=150 < 200")
    alone = PerformanceJudge(outcomes, None, 0.5, 200).by_labels(totals(outcomes, classes(2, 1000, 0.2)))
    assert (alone.judged, alone.worse) == (False, False)
    assert alone.values[0].value.value == pytest.approx(0.2, abs=0.05)
