"""DataFlowing, ReferenceLoaded and ModelHealthy, and the data facts, from the store's report. Pure."""

from datetime import datetime, timedelta

from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no, unknown, yes
from modelwarden.resources.modelstatus import (
    ActiveReference,
    DriftedAttribute,
    DriftSummary,
    LabelCounts,
    PerformanceSummary,
    RowCounts,
)
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.quantities import parse_duration
from modelwarden.resources.report import (
    DataQualityReport,
    DriftReport,
    FeatureDrift,
    PerformanceReport,
    ReferenceReport,
    StatusReport,
)

_PREDICTED = "PREDICTED_VALUE"
_MOST_NAMED = 3
_MOST_KEPT = 5
_KINDS = {"missing": "missing", "outOfRange": "out of range", "unseenCategory": "new categories"}


def data_flowing(report: StatusReport, spec: MonitoredModelSpec, now: datetime) -> Verdict:
    """Whether rows have arrived within the last monitoring window."""
    if report.newest_arrival is None:
        return no(Reason.NO_DATA, "No row has come yet: send inferences to the model's endpoint")
    window = timedelta(seconds=parse_duration(spec.monitoring.window))
    if now - report.newest_arrival > window:
        return no(Reason.STALE, f"No row has come for longer than the window of {spec.monitoring.window}")
    return yes(Reason.ARRIVING, "Rows arrive")


def reference_loaded(report: StatusReport, spec: MonitoredModelSpec) -> Verdict:
    """Whether there is a profiled reference in use."""
    by_name = {reference.name: reference for reference in report.reference}
    wanted = spec.reference_ref
    if wanted is not None and wanted not in by_name:
        return no(
            Reason.REFERENCE_NOT_FOUND,
            f"The store has no dataset {wanted}: make a ReferenceDataset of that name",
        )
    active = by_name.get(report.active_reference or "")
    if active is not None and wanted in (None, active.name):
        return yes(Reason.LOADED, f"Compared with {active.name}")
    candidate = by_name[wanted] if wanted else _newest(report)
    if candidate is None:
        return no(Reason.NO_REFERENCE, "Nothing to compare with: make a ReferenceDataset and upload it")
    if candidate.state == "failed":
        return no(
            Reason.REFERENCE_FAILED, f"Dataset {candidate.name} cannot be used: {candidate.message or ''}"
        )
    if candidate.state == "open":
        return no(Reason.REFERENCE_OPEN, f"Dataset {candidate.name} is open: upload the rest and close it")
    return no(Reason.REFERENCE_PROFILING, f"Dataset {candidate.name} is being profiled")


def model_healthy(report: StatusReport, spec: MonitoredModelSpec) -> Verdict:
    """Whether the model is what it was: how well it does first, then predictions, then the share of drifted
    inputs. A worse performance counts without a verdict on drift, too.
    """
    if (got_worse := _got_worse(report.performance)) is not None:
        return got_worse
    drift = report.drift
    if drift is None:
        if report.active_reference is None:
            return unknown(Reason.NO_REFERENCE, "No verdict without a reference")
        return unknown(Reason.NO_VERDICT, "No window has been judged yet")
    if drift.state == "NoReference":
        return unknown(Reason.NO_REFERENCE, "No verdict without a reference")
    if drift.state == "InsufficientData":
        least = spec.monitoring.minimum_rows
        return unknown(Reason.INSUFFICIENT_DATA, f"The window has {drift.rows} rows; a verdict needs {least}")
    fine = _still_does(report.performance, drift)
    return (
        _harm(drift, spec.monitoring.drifted_share)
        or (None if fine else _broken(drift))
        or _unsound(report.data_quality)
        or _harmless(drift, fine)
    )


def _got_worse(performance: PerformanceReport | None) -> Verdict | None:
    """The store's own verdict. A number alone, estimated or provisional, never is one."""
    if performance is None or not performance.worse:
        return None
    by = "estimated from its scores" if performance.by == "estimate" else "by its labels"
    told = performance.reason or "a metric is lower than in the reference"
    return no(Reason.PERFORMANCE_WORSE, f"The model got worse, {by}: {told}")


def _harm(drift: DriftReport, share: float) -> Verdict | None:
    predictions = [f for f in drift.features if f.drifted and f.persistent and f.stage == _PREDICTED]
    if predictions:
        return no(Reason.PREDICTIONS_DRIFTED, f"The predictions have drifted: {_names(predictions)}")
    inputs = [f for f in drift.features if f.stage != _PREDICTED]
    drifted = [f for f in inputs if f.drifted and f.persistent]
    if drifted and len(drifted) >= share * len(inputs):
        return no(
            Reason.INPUTS_DRIFTED, f"{len(drifted)} of {len(inputs)} inputs have drifted: {_names(drifted)}"
        )
    return None


def _still_does(performance: PerformanceReport | None, drift: DriftReport) -> str | None:
    """That the model does as well as ever in the very window whose drift was judged, if its labels or a
    trusted estimate say so. What attributes have to do with each other then explains, and condemns nothing.
    """
    if performance is None or performance.worse:
        return None
    if performance.by == "labels" and performance.window_end == drift.window_end:
        return "by its labels the model does as well as in the reference"
    estimate = performance.estimated
    known = estimate is not None and estimate.trusted and estimate.window_end == drift.window_end
    values = [m for m in estimate.metrics if m.value is not None] if estimate is not None and known else []
    if values and not any(metric.worse for metric in values):
        return "estimated from its scores the model does as well as in the reference"
    return None


def _broken(drift: DriftReport) -> Verdict | None:
    told = _broken_pairs(drift)
    return None if told is None else no(Reason.DEPENDENCE_BROKEN, told)


def _broken_pairs(drift: DriftReport) -> str | None:
    broken = [pair for pair in drift.pairs if pair.broken and pair.persistent]
    if not broken:
        return None
    worst = max(broken, key=lambda pair: (pair.change, pair.one, pair.other))
    more = f", nor do {len(broken) - 1} other pairs" if len(broken) > 1 else ""
    return f"{worst.one} and {worst.other} no longer depend on each other as in the reference{more}"


def _unsound(quality: DataQualityReport | None) -> Verdict | None:
    if quality is None:
        return None
    bad = [value for value in quality.values if value.raised and value.persistent]
    if bad:
        named = sorted(bad, key=lambda value: (-value.share, value.attribute))[:_MOST_NAMED]
        told = ", ".join(f"{value.attribute} ({_KINDS[value.question]})" for value in named)
        more = f" and {len(bad) - len(named)} more" if len(bad) > len(named) else ""
        return no(Reason.DATA_UNSOUND, f"More bad values than in the reference: {told}{more}")
    if quality.repeats is not None and quality.repeats.raised:
        return no(Reason.DATA_UNSOUND, "Rows come again: their content is that of other rows of the window")
    if quality.volume.raised:
        return no(Reason.VOLUME_UNUSUAL, "Far more or far fewer rows than in the windows before")
    if quality.lag.raised:
        return no(Reason.ROWS_LATE, "Many rows arrive far later than they used to")
    return None


def _harmless(drift: DriftReport, fine: str | None) -> Verdict:
    told = _broken_pairs(drift)
    if told is not None and fine is not None:
        return yes(Reason.WITHIN_BOUNDS, f"{told}; {fine}")
    inputs = [f for f in drift.features if f.stage != _PREDICTED]
    drifted = [f for f in inputs if f.drifted]
    if drifted:
        return yes(
            Reason.WITHIN_BOUNDS, f"{len(drifted)} of {len(inputs)} inputs have drifted: {_names(drifted)}"
        )
    return yes(Reason.WITHIN_BOUNDS, "Nothing has drifted")


def _names(features: list[FeatureDrift]) -> str:
    """The worst first; equal scores by name, so that the message stays the same."""
    ordered = [feature.name for feature in sorted(features, key=_worst_first)]
    more = len(ordered) - _MOST_NAMED
    return ", ".join(ordered[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _worst_first(feature: FeatureDrift) -> tuple[float, str]:
    return -feature.score, feature.name


def rows_of(report: StatusReport) -> RowCounts:
    """What became of the rows and of the labels."""
    rows, labels = report.rows, report.rows.labels
    return RowCounts(
        acknowledged=rows.acknowledged,
        stored=rows.stored,
        waiting=rows.waiting,
        rejected=rows.rejected_later,
        sampled_out=rows.sampled_out,
        refused=rows.refused,
        last_hour=rows.last_hour,
        labels=LabelCounts(acknowledged=labels.acknowledged, stored=labels.stored, waiting=labels.waiting),
    )


def drift_of(report: StatusReport) -> DriftSummary | None:
    """The verdict in short: counts only where there is one, scores rounded so that they are readable."""
    drift = report.drift
    if drift is None:
        return None
    judged = drift.state == "Ok"
    top = sorted(drift.features, key=_worst_first)[:_MOST_KEPT] if judged else []
    return DriftSummary(
        window_start=drift.window_start,
        window_end=drift.window_end,
        state=drift.state,
        drifted=drift.drifted if judged else None,
        checked=drift.checked if judged else None,
        top=tuple(
            DriftedAttribute(name=f.name, score=round(f.score, 4), threshold=round(f.threshold, 4))
            for f in top
        ),
    )


def performance_of(report: StatusReport) -> PerformanceSummary | None:
    """The metric to show: by its labels if they say anything, else a trusted estimate."""
    performance = report.performance
    if performance is None:
        return None
    estimate = performance.estimated
    by_labels = next((m for m in performance.metrics if m.value is not None), None)
    estimates = estimate.metrics if estimate is not None and estimate.trusted else ()
    shown = by_labels or next((m for m in estimates if m.value is not None), None)
    if shown is None or shown.value is None:
        return None
    return PerformanceSummary(
        window_end=performance.window_end,
        batch=performance.batch,
        metric=shown.metric,
        value=round(shown.value, 4),
        baseline=None if shown.baseline is None else round(shown.baseline, 4),
        estimated=by_labels is None,
        provisional=performance.provisional,
        rows=performance.rows,
        labelled=performance.labelled,
        worse=performance.worse,
    )


def reference_of(report: StatusReport) -> ActiveReference | None:
    """What is compared with."""
    for reference in report.reference:
        if reference.name == report.active_reference:
            return ActiveReference(
                name=reference.name, profile_hash=reference.profile_hash, records=reference.records
            )
    return None


def _newest(report: StatusReport) -> ReferenceReport | None:
    return max(report.reference, key=lambda reference: (reference.created_at, reference.name), default=None)
