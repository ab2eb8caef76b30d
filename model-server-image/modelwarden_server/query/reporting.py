"""Verdicts in the words of `/status`. Pure. Names of attributes and shares, never values of rows.

A finding persists if one of the two windows before says the same. Windows with too few rows say nothing;
where no earlier window can say anything, the newest one stands for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from modelwarden.resources.report import (
    DataQualityReport,
    DriftReport,
    FeatureDrift,
    LagQuality,
    PairDrift,
    RepeatQuality,
    ValueQuality,
    VolumeQuality,
)
from modelwarden_server.analysis.drift import WindowState
from modelwarden_server.analysis.quality import LagFinding, VolumeFinding
from modelwarden_server.analysis.verdict import WindowVerdict

_MOST_VALUES = 200


@dataclass(frozen=True)
class Window:
    """Which window, and whether there is a verdict."""

    start: datetime
    end: datetime
    rows: int
    state: WindowState
    batch: str | None = None


@dataclass(frozen=True)
class Findings:
    """What was flagged in one window."""

    features: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    values: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, verdict: WindowVerdict) -> "Findings":
        """The flags of a verdict."""
        return cls(
            frozenset(f.drift.name for f in verdict.features if f.drifted),
            frozenset((p.change.one, p.change.other) for p in verdict.pairs if p.broken),
            frozenset((v.attribute, v.question.value) for v in verdict.values if v.raised),
        )


def drift_report(
    window: Window, metric: str, verdict: WindowVerdict, before: Sequence[Findings]
) -> DriftReport:
    """The part on drift."""
    features = tuple(
        FeatureDrift(
            name=feature.drift.name,
            stage=feature.drift.stage,
            score=feature.drift.score,
            threshold=feature.drift.threshold,
            p_value=feature.drift.p_value,
            n=feature.drift.n,
            drifted=feature.drifted,
            surplus=feature.surplus,
            persistent=not before or any(feature.drift.name in one.features for one in before),
        )
        for feature in verdict.features
        if feature.drift.score is not None
    )
    pairs = tuple(
        PairDrift(
            one=pair.change.one,
            other=pair.change.other,
            change=pair.change.change,
            p_value=pair.change.p_value,
            broken=pair.broken,
            persistent=not before or any((pair.change.one, pair.change.other) in one.pairs for one in before),
        )
        for pair in verdict.pairs
    )
    return DriftReport(
        window_start=window.start,
        window_end=window.end,
        batch_id=window.batch,
        rows=window.rows,
        metric=metric,
        state=window.state.value,
        features=features,
        drifted=sum(feature.drifted for feature in features),
        checked=sum(feature.p_value is not None for feature in features),
        pairs=pairs,
        broken=sum(pair.broken for pair in pairs),
        judged=len(before) + (window.state is WindowState.OK),
    )


def quality_report(
    window: Window,
    verdict: WindowVerdict,
    before: Sequence[Findings],
    flow: tuple[VolumeFinding, LagFinding],
) -> DataQualityReport:
    """The part on the rows themselves: all that is raised, then what occurs, at most `_MOST_VALUES`."""
    told = sorted(
        (value for value in verdict.values if value.rows), key=lambda v: (not v.raised, -v.share, v.attribute)
    )
    values = tuple(
        ValueQuality(
            attribute=value.attribute,
            question=value.question.value,
            rows=value.rows,
            share=value.share,
            reference_share=value.base_share,
            p_value=value.p_value,
            raised=value.raised,
            persistent=not before
            or any((value.attribute, value.question.value) in one.values for one in before),
        )
        for value in told[:_MOST_VALUES]
    )
    volume, lag = flow
    repeats = verdict.repeats
    return DataQualityReport(
        window_start=window.start,
        window_end=window.end,
        batch_id=window.batch,
        rows=window.rows,
        values=values,
        repeats=None if repeats is None else RepeatQuality(share=repeats.share, raised=repeats.raised),
        volume=VolumeQuality(rows=volume.rows, least=volume.least, most=volume.most, raised=volume.raised),
        lag=LagQuality(
            median_seconds=lag.median,
            p95_seconds=lag.p95,
            usual_seconds=lag.usual,
            late_share=lag.late_share,
            raised=lag.raised,
        ),
        raised=sum(value.raised for value in values)
        + bool(repeats and repeats.raised)
        + volume.raised
        + lag.raised,
    )
