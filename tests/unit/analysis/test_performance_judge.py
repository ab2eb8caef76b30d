"""The verdict on models of several classes and on regressions, and on what is too little to say anything."""

import numpy as np
import pyarrow as pa
import pytest
from outcome_kinds import CLASSES, NUMBER, people, space

from modelwarden.resources.attributes import OutputType
from modelwarden_server.analysis.partials import merge, total
from modelwarden_server.analysis.performance.fixed_point import Scale
from modelwarden_server.analysis.performance.verdict import PerformanceJudge


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
        | {"kind": np.array(list("abc"))[true]}
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
    assert "two classes" in judge.by_estimate(totals(outcomes, classes(3, 1000, 0.9))).withheld


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
