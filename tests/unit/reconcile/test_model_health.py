"""Harm makes a model unhealthy: what persists in predictions, in many inputs, between inputs, in the rows."""

from datetime import UTC, datetime, timedelta

import pytest

from modelwarden.reconcile.monitoredmodel.data import model_healthy, performance_of
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.report import (
    DataQualityReport,
    DriftReport,
    EstimatedPerformance,
    FeatureDrift,
    LagQuality,
    MetricValue,
    PairDrift,
    PerformanceReport,
    RepeatQuality,
    StatusReport,
    ValueQuality,
    VolumeQuality,
)

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
SPEC = MonitoredModelSpec.model_validate(
    {
        "inputType": "TABULAR",
        "outputType": "REGRESSION",
        "attributes": [
            {"name": "aa", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 0},
            {"name": "pp", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "tt"},
            {"name": "tt", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "attributeLink": "pp"},
        ],
        "storage": {"persistentVolumeClaim": {"size": "1Gi"}},
    }
)


def feature(name, *, stage="PIPELINE_INPUT", drifted=False, persistent=True) -> FeatureDrift:
    facts = {"score": 0.3, "threshold": 0.1, "p_value": 0.0, "n": 900}
    return FeatureDrift(name=name, stage=stage, drifted=drifted, persistent=persistent, **facts)


def pair(*, broken, persistent=True) -> PairDrift:
    return PairDrift(one="aa", other="bb", change=0.3, p_value=0.0, broken=broken, persistent=persistent)


def report(features=(), pairs=(), **quality) -> StatusReport:
    drift = DriftReport(
        window_start=START, window_end=END, rows=900, metric="PSI", state="Ok", features=features, pairs=pairs
    )
    parts = {
        "volume": VolumeQuality(rows=900, raised=False),
        "lag": LagQuality(raised=False),
        "repeats": RepeatQuality(share=0.0, raised=False),
    }
    found = DataQualityReport(window_start=START, window_end=END, rows=900, **(parts | quality))
    return StatusReport(model_id="m", active_reference="r", drift=drift, data_quality=found)


def value(*, raised=True, persistent=True) -> ValueQuality:
    facts = {"attribute": "aa", "question": "missing", "rows": 9, "share": 0.1, "reference_share": 0.0}
    return ValueQuality(raised=raised, persistent=persistent, **facts)


HARM = {
    Reason.PREDICTIONS_DRIFTED: report([feature("pp", stage="PREDICTED_VALUE", drifted=True), feature("aa")]),
    Reason.INPUTS_DRIFTED: report([feature("aa", drifted=True), feature("bb")]),
    Reason.DEPENDENCE_BROKEN: report([feature("aa")], [pair(broken=True)]),
    Reason.DATA_UNSOUND: report([feature("aa")], values=(value(),)),
    Reason.VOLUME_UNUSUAL: report([feature("aa")], volume=VolumeQuality(rows=9, raised=True)),
    Reason.ROWS_LATE: report([feature("aa")], lag=LagQuality(raised=True)),
}


@pytest.mark.parametrize("reason", HARM)
def test_harm_is_told_by_its_reason(reason):
    verdict = model_healthy(HARM[reason], SPEC)
    assert (verdict.status, verdict.reason) == ("False", reason)
    assert verdict.message


def test_rows_that_come_again_are_harm_too():
    verdict = model_healthy(report([feature("aa")], repeats=RepeatQuality(share=0.2, raised=True)), SPEC)
    assert (verdict.status, verdict.reason) == ("False", Reason.DATA_UNSOUND)


def performance(**facts) -> PerformanceReport:
    estimate = EstimatedPerformance(metrics=(MetricValue(metric="auc", value=0.5, worse=True),), trusted=True)
    return PerformanceReport(window_start=START, window_end=END, rows=900, estimated=estimate, **facts)


@pytest.mark.parametrize(
    ("drift", "by", "provisional"),
    [(True, "labels", False), (True, "estimate", True), (False, "labels", True), (False, "estimate", False)],
)
def test_a_model_that_got_worse_is_not_healthy_whatever_its_inputs_do(drift, by, provisional):
    given = report([feature("aa")]) if drift else StatusReport(model_id="m")
    got_worse = performance(worse=True, by=by, provisional=provisional, reason="auc is 0.5 and was 0.9")
    verdict = model_healthy(given.model_copy(update={"performance": got_worse}), SPEC)
    assert (verdict.status, verdict.reason) == ("False", Reason.PERFORMANCE_WORSE)
    assert "auc is 0.5 and was 0.9" in verdict.message


CALM = MetricValue(metric="auc", value=0.9, baseline=0.9)
OTHER_END = END + timedelta(days=1)


@pytest.mark.parametrize(
    ("by", "trusted", "metric", "end", "healthy"),
    [
        ("labels", False, CALM, END, "True"),
        ("estimate", True, CALM, END, "True"),
        ("labels", False, CALM, OTHER_END, "False"),
        ("estimate", True, CALM, OTHER_END, "False"),
        ("estimate", False, CALM, END, "False"),
        (None, True, CALM.model_copy(update={"worse": True}), END, "False"),
        (None, True, CALM.model_copy(update={"value": None}), END, "False"),
    ],
)
def test_a_broken_pair_is_no_harm_where_the_model_is_known_to_do_as_well_as_ever(
    by, trusted, metric, end, healthy
):
    estimate = EstimatedPerformance(
        metrics=(metric,), trusted=trusted, window_end=end if by != "labels" else None
    )
    told = PerformanceReport(window_end=end, rows=900, by=by, estimated=estimate)
    given = report([feature("aa")], [pair(broken=True)]).model_copy(update={"performance": told})
    verdict = model_healthy(given, SPEC)
    assert verdict.status == healthy
    assert "aa and bb no longer depend on each other" in verdict.message


@pytest.mark.parametrize("reason", [r for r in HARM if r != Reason.DEPENDENCE_BROKEN])
def test_other_harm_is_told_even_where_the_model_does_well(reason):
    told = PerformanceReport(window_end=END, rows=900, by="labels", metrics=(CALM,))
    assert model_healthy(HARM[reason].model_copy(update={"performance": told}), SPEC).reason == reason


LABELLED = MetricValue(metric="auc", value=0.81234, baseline=0.9)
WITHHELD = MetricValue(metric="auc", withheld="n=12 < 30")


@pytest.mark.parametrize(
    ("metrics", "trusted", "shown"),
    [
        ((LABELLED,), True, ("auc", 0.8123, False)),
        ((WITHHELD, MetricValue(metric="f1", value=0.5)), True, ("f1", 0.5, False)),
        ((WITHHELD,), True, ("auc", 0.7, True)),
        ((), True, ("auc", 0.7, True)),
        ((), False, None),
    ],
)
def test_the_status_shows_what_labels_say_else_a_trusted_estimate_else_nothing(metrics, trusted, shown):
    estimate = EstimatedPerformance(metrics=(MetricValue(metric="auc", value=0.7),), trusted=trusted)
    told = PerformanceReport(rows=9, labelled=4, metrics=metrics, estimated=estimate)
    found = performance_of(StatusReport(model_id="m", performance=told))
    assert (found and (found.metric, found.value, found.estimated)) == shown


@pytest.mark.parametrize("provisional", [True, False])
def test_a_low_number_that_the_store_does_not_call_worse_is_no_harm(provisional):
    calm = performance(provisional=provisional, metrics=(MetricValue(metric="auc", value=0.1, worse=True),))
    found = report([feature("aa")]).model_copy(update={"performance": calm})
    assert model_healthy(found, SPEC).status == "True"


@pytest.mark.parametrize(
    "harmless",
    [
        report([feature("aa", drifted=True, persistent=False)]),
        report([feature("pp", stage="PREDICTED_VALUE", drifted=True, persistent=False)]),
        report([feature("aa")], [pair(broken=True, persistent=False)]),
        report([feature("aa")], values=(value(persistent=False),)),
        report([feature("aa")], values=(value(raised=False),)),
        report([feature("aa", drifted=True), feature("bb"), feature("cc")]),
    ],
)
def test_what_one_window_says_and_what_few_inputs_do_is_no_harm(harmless):
    assert model_healthy(harmless, SPEC).status == "True"


def test_a_report_of_an_older_cell_is_judged_by_its_drift_alone():
    older = StatusReport(model_id="m", active_reference="r", drift=report([feature("aa")]).drift)
    assert model_healthy(older, SPEC).status == "True"
