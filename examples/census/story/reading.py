"""What each detector said of a chunk, read from what the cell answered. Pure.

What this module must not do: judge by itself. A verdict is the cell's or the operator's, or it is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from examples.census import data, train
from examples.census.story.cell import MONITORING
from examples.census.story.chunks import Chunk, Truth, found_by_group, least_auc, truth_of
from examples.census.story.run import Record
from modelwarden.reconcile.monitoredmodel.data import model_healthy
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.report import MetricValue, StatusReport

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Drift:
    """Features that drifted in the chunk, the worst first; those that had in one of the two chunks before."""

    checked: int
    drifted: tuple[str, ...]
    persistent: tuple[str, ...]
    pairs: int
    """Pairs of attributes that no longer depend on each other as in the reference."""


@dataclass(frozen=True)
class Anomalies:
    """The share of people beyond the reference's 99th percentile, and what is to be expected of them."""

    rate: float
    expected: float
    raised: bool
    attributes: tuple[str, ...]
    """What most often made them so."""


@dataclass(frozen=True)
class Slice:
    """The people for whom the model is worst: the rule, how often it is right of them and of all others."""

    rule: str
    value: float
    rest: float
    rows: int
    weeks: int
    """In how many searched windows the rule was seen, this one included."""


@dataclass(frozen=True)
class Hotspots:
    """The regions that were found under the threshold, the worst first, and the accuracy of all people."""

    overall: float
    slices: tuple[Slice, ...]


@dataclass(frozen=True)
class Performance:
    """How right the model is of a chunk, from its labels or estimated without them; 95 % bounds.

    `worse`: some metric of this chunk is worse than the reference's. `verdict`: the model got worse, because
    one of the two chunks before says the same. `withheld`: why an estimate is not to be trusted.
    """

    auc: float | None
    lower: float | None
    upper: float | None
    accuracy: float | None
    worse: bool
    verdict: bool
    withheld: str | None = None


@dataclass(frozen=True)
class Groups:
    """An attribute's groups: the share of people with a job whom the model finds, by group (None: too few).

    `lowest` and `highest` are groups; `significant`: that they differ is more than chance.
    """

    attribute: str
    found: Mapping[str, float | None]
    lowest: str | None
    highest: str | None
    significant: bool
    four_fifths: str
    """Of the share that is said to have a job: holds, fails, unclear, withheld."""


@dataclass(frozen=True)
class Said:
    """What the cell said of one chunk, and what the operator would make of it."""

    drift: Drift
    anomalies: Anomalies
    estimate: Performance
    labels: Performance
    groups: tuple[Groups, ...]
    hotspots: Hotspots | None
    """None: the week was not searched."""
    quality: tuple[str, ...]
    """What is wrong with the rows themselves, each in a word or two."""
    health: str
    """The condition ModelHealthy: True, False or Unknown."""
    because: str
    """Its message."""


@dataclass(frozen=True)
class Told:
    """The story: what is true and what was said, chunk by chunk."""

    reference: Truth
    least_auc: float
    truth: tuple[Truth, ...]
    shipped: tuple[float, ...]
    """The AUC of each chunk by the scores that the data ships, which the cell never saw."""
    found: tuple[Mapping[str, Mapping[str, float]], ...]
    """By chunk, attribute and group: the share found of the people with a job, by scikit-learn."""
    said: tuple[Said, ...]
    rows: int
    seconds: float

    @property
    def collapsed(self) -> frozenset[int]:
        """Chunks whose true AUC lies below the bound."""
        return frozenset(k for k, truth in enumerate(self.truth) if truth.auc < self.least_auc)


def tell(story: train.Story, chunks: Sequence[Chunk], record: Record, shipped: Sequence[float]) -> Told:
    """All of it."""
    reference = truth_of(story.reference, story.reference.column(data.LABEL).to_numpy())
    reports = [StatusReport.model_validate(one["status"]) for one in (*record.newest, *record.labelled)]
    said = [
        _said(chunk, newest, labelled, reports)
        for chunk, newest, labelled in zip(chunks, record.newest, record.labelled, strict=True)
    ]
    return Told(
        reference=reference,
        least_auc=least_auc(reference, chunks[0].rows.num_rows),
        truth=tuple(chunk.truth for chunk in chunks),
        shipped=tuple(shipped[: len(chunks)]),
        found=tuple(_found(chunk, one) for chunk, one in zip(chunks, said, strict=True)),
        said=tuple(said),
        rows=sum(chunk.rows.num_rows for chunk in chunks),
        seconds=record.seconds,
    )


def _found(chunk: Chunk, told: Said) -> dict[str, dict[str, float]]:
    employed = chunk.labels.column(data.LABEL).to_numpy()
    return {of.attribute: found_by_group(chunk.rows, employed, of.attribute) for of in told.groups}


def _said(chunk: Chunk, newest: Raw, labelled: Raw, reports: Sequence[StatusReport]) -> Said:
    """What was said of a chunk while it was the newest, and once its labels had come."""
    report = StatusReport.model_validate(newest["status"])
    health = model_healthy(report, _SPEC)
    return Said(
        drift=_drift(report),
        quality=_quality(report),
        anomalies=_anomalies(newest["anomalies"]),
        estimate=_estimate(report),
        labels=_by_labels(chunk, reports),
        groups=tuple(map(_groups, labelled["fairness"])),
        hotspots=_hotspots(labelled["hotspots"]),
        health=health.status,
        because=health.message,
    )


_SPEC = MonitoredModelSpec.model_validate({"monitoring": MONITORING})


def _drift(report: StatusReport) -> Drift:
    drift = report.drift
    if drift is None:
        return Drift(0, (), (), 0)
    found = sorted((one for one in drift.features if one.drifted), key=lambda one: -one.score)
    return Drift(
        checked=drift.checked,
        drifted=tuple(one.name for one in found),
        persistent=tuple(one.name for one in found if one.persistent),
        pairs=drift.broken,
    )


def _quality(report: StatusReport) -> tuple[str, ...]:
    quality = report.data_quality
    if quality is None:
        return ()
    found = [f"{value.attribute} {value.question}" for value in quality.values if value.raised]
    if quality.repeats is not None and quality.repeats.raised:
        found.append("rows alike")
    found += ["number of rows"] if quality.volume.raised else []
    return (*found, *(["lag"] if quality.lag.raised else []))


def _anomalies(answer: Raw) -> Anomalies:
    return Anomalies(answer["rate"], answer["expected_rate"], answer["raised"], tuple(answer["attributes"]))


def _hotspots(answer: Raw | None) -> Hotspots | None:
    if answer is None:
        return None
    slices = (
        Slice(node["rule"], node["value"], node["rest"]["value"], node["rows"], node["windows"])
        for node in answer["data"]
    )
    return Hotspots(answer["overall"], tuple(slices))


def _estimate(report: StatusReport) -> Performance:
    told = report.performance
    if told is None or told.estimated is None:
        return Performance(None, None, None, None, worse=False, verdict=False, withheld="nothing was said")
    verdict = told.worse and told.by == "estimate"
    found = _performance(told.estimated.metrics, verdict=verdict)
    if told.estimated.trusted:
        return found
    return replace(found, withheld=told.estimated.withheld or "it missed what labels said before")


def _by_labels(chunk: Chunk, reports: Sequence[StatusReport]) -> Performance:
    """From the first report whose verdict by labels is of this chunk."""
    for report in reports:
        told = report.performance
        about = None if told is None else (told.window_start, told.window_end, told.labelled)
        if told is not None and about == (chunk.start, chunk.end, chunk.labels.num_rows):
            return _performance(told.metrics, verdict=told.worse and told.by == "labels")
    return Performance(None, None, None, None, worse=False, verdict=False, withheld="nothing was said")


def _performance(metrics: Sequence[MetricValue], *, verdict: bool) -> Performance:
    by_name = {one.metric: one for one in metrics}
    auc, accuracy = by_name.get("auc"), by_name.get("accuracy")
    return Performance(
        auc=None if auc is None else auc.value,
        lower=None if auc is None else auc.lower,
        upper=None if auc is None else auc.upper,
        accuracy=None if accuracy is None else accuracy.value,
        worse=any(one.worse for one in metrics),
        verdict=verdict,
    )


def _groups(answer: Raw) -> Groups:
    spread = answer["spread"].get("true_positive_rate") or {}
    return Groups(
        attribute=answer["attribute"],
        found={one["group"]: one["rates"]["true_positive_rate"]["value"] for one in answer["groups"]},
        lowest=spread.get("lowest"),
        highest=spread.get("highest"),
        significant=bool(spread.get("significant")),
        four_fifths=answer["four_fifths"]["verdict"],
    )
