"""What is said of a search's result: the documented nodes, the report of the status, the insights. Pure."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from modelwarden.resources.attributes import Sensitivity, ValueType
from modelwarden.resources.cell import CellIdentity, CellSettings, HotspotSettings
from modelwarden.resources.report import HotspotReport
from modelwarden_server.analysis.hotspots.choose import (
    LEAST_DIFFERENCE,
    LEAST_RATIO,
    chosen,
    excess,
)
from modelwarden_server.analysis.hotspots.measure import Measured
from modelwarden_server.analysis.hotspots.outcomes import SHARES, Metric
from modelwarden_server.analysis.hotspots.result import Found, Result
from modelwarden_server.analysis.hotspots.rules import Interval
from modelwarden_server.enrichments.hotspot_results import Searched
from modelwarden_server.enrichments.hotspot_subjects import instant
from modelwarden_server.enrichments.insights import Insight, insight_id
from modelwarden_server.query.performance.naming import nameable
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME

_OF_TWO: Final = (Metric.PRECISION, Metric.RECALL, Metric.F1)
_KEPT: Final = (None, Sensitivity.KEEP)


@dataclass(frozen=True, slots=True)
class Telling:
    """By what people are told: the settings, whose model it is, and when."""

    settings: HotspotSettings
    model_id: str
    now: datetime


@dataclass(frozen=True)
class Asked:
    """A metric and its threshold: regions are told where the metric is below it (errors: above). None: where
    it is worse than of all other rows by the least difference.
    """

    metric: Metric
    threshold: float | None

    def bad_enough(self, one: Measured) -> bool:
        """Whether a region with these numbers is asked for."""
        if self.threshold is None or one.value is None:
            return worse_than_rest(self.metric, one)
        return one.value < self.threshold if self.metric in SHARES else one.value > self.threshold


def worse_than_rest(metric: Metric, one: Measured) -> bool:
    """Whether it is worse than the rest by the least difference that is told."""
    if one.value is None or one.rest is None or one.difference is None:
        return False
    if metric in SHARES:
        return one.difference >= LEAST_DIFFERENCE
    return one.difference > 0 and one.value >= LEAST_RATIO * one.rest


def configured(result: Result, settings: HotspotSettings) -> tuple[Metric, list[int]]:
    """The metric that the settings watch, and the places of its hotspots: under the threshold, or worse than
    the rest by the least difference. Of a regression the watched metric is the absolute error, which has no
    threshold.
    """
    metric = Metric(settings.metric)
    if metric not in result.overlaps:
        metric = Metric.ABSOLUTE_ERROR if Metric.ABSOLUTE_ERROR in result.overlaps else Metric.ACCURACY
    judged = result.judgement(metric)
    if judged is None:
        return metric, []
    under = Asked(metric, settings.threshold if metric in SHARES else None)
    return metric, chosen(judged, lambda one: under.bad_enough(one) or worse_than_rest(metric, one))


def nodes(searched: Searched, asked: Asked) -> list[dict[str, Any]]:
    """The documented nodes, worst first, with our own fields."""
    judged = searched.result.judgement(asked.metric)
    if judged is None:
        return []
    places = chosen(judged, asked.bad_enough)
    return [_node(searched, searched.result.found[place], asked.metric) for place in places]


def _node(searched: Searched, found: Found, metric: Metric) -> dict[str, Any]:
    one = found.metrics[metric]
    accuracy = found.metrics.get(Metric.ACCURACY)
    of_two = {m: found.metrics[m].value for m in _OF_TWO if m in found.metrics}
    feature, cutoff = _cut(found)
    share = found.judged_rows / searched.result.judged if searched.result.judged else None
    return {
        "left": None,
        "right": None,
        "rules": found.rule.region,
        "gt_to_info": _truths(found),
        **{name.value: value for name, value in (_macro(found) | of_two).items()},
        "accuracy": None if accuracy is None else accuracy.value,
        "impurity": _impurity(accuracy),
        "n_samples": found.judged_rows,
        "feature": feature,
        "cutoff": cutoff,
        "rule": found.rule.text(),
        "filter": [*found.rule.filter, *_where(searched)],
        "rows": found.rows,
        "share": share,
        "metric": metric.value,
        "value": one.value,
        "n": one.n,
        "interval": [one.low, one.high],
        "rest": {"value": one.rest, "n": one.rest_n},
        "difference": one.difference,
        "excess": excess(one),
        "p_value": one.p,
        "p_adjusted": one.p_adjusted,
        "windows": found.lineage.windows,
        "first_seen": found.lineage.first,
    }


def _macro(found: Found) -> dict[Metric, float | None]:
    """Precision, recall and F1 of many classes: means over the classes that occur (not searched by)."""
    names = sorted({name for true, predicted, _ in found.classes for name in (true, predicted)})
    table = np.zeros((len(names), len(names)))
    for true, predicted, n in found.classes:
        table[names.index(true), names.index(predicted)] = n
    right, true, called = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    parts = {
        Metric.PRECISION: right[called > 0] / called[called > 0],
        Metric.RECALL: right[true > 0] / true[true > 0],
        Metric.F1: 2 * right / np.maximum(true + called, 1),
    }
    return {metric: float(part.mean()) if len(part) else None for metric, part in parts.items()}


def _truths(found: Found) -> dict[str, dict[str, Any]]:
    """By true class: how many there are, how many are right, and what was predicted."""
    told: dict[str, dict[str, Any]] = {}
    for true, predicted, n in found.classes:
        one = told.setdefault(true, {"count": 0, "correct": 0, "predicted": {}})
        one["count"] += n
        one["correct"] += n if true == predicted else 0
        one["predicted"][predicted] = n
    return told


def _impurity(accuracy: Measured | None) -> float | None:
    """Gini's of right and wrong."""
    if accuracy is None or accuracy.value is None:
        return None
    return 2 * accuracy.value * (1 - accuracy.value)


def _cut(found: Found) -> tuple[str | None, float | None]:
    """The attribute and the bound of the first condition that is a bound on one side."""
    for one in found.rule.conditions:
        if isinstance(one, Interval) and (one.low is None) != (one.high is None):
            return one.attribute, one.high if one.low is None else one.low
    return (found.rule.conditions[0].attribute, None) if found.rule.conditions else (None, None)


def _where(searched: Searched) -> list[dict[str, Any]]:
    """Conditions of a query for the rows of the subject."""
    subject = searched.subject
    if subject.over == "batch":
        return [{"property": BATCH, "comparator": "eq", "value": subject.name}]
    if subject.over == "window":
        bounds = {"gte": subject.start, "lt": subject.end}
        return [
            {"property": EVENT_TIME, "comparator": comparator, "value": instant(at)}
            for comparator, at in bounds.items()
        ]
    return []


def report(
    searched: Searched | None, identity: CellIdentity, settings: CellSettings, new: int
) -> HotspotReport | None:
    """The status' part: of the newest window or batch. `new`: insights nobody has taken note of."""
    if searched is None:
        return None
    result = searched.result
    metric, places = configured(result, settings.enrichments.hotspots)
    subject = searched.subject
    worst: Mapping[str, Any] = {}
    if places:
        found = result.found[places[0]]
        one = found.metrics[metric]
        worst = {
            "worst": _sentence(found, metric, hidden_of(identity, settings)),
            "worst_value": one.value,
            "worst_rest": one.rest,
            "worst_rows": found.rows,
        }
    return HotspotReport(
        window_start=subject.start,
        window_end=subject.end,
        batch_id=subject.name or None,
        rows=searched.whole,
        labelled=result.labelled,
        metric=metric.value,
        threshold=settings.enrichments.hotspots.threshold if metric in SHARES else None,
        overall=result.overall.get(metric),
        count=len(places),
        new_insights=new,
        note=result.notes.get(metric, ""),
        **worst,
    )


def hidden_of(identity: CellIdentity, settings: CellSettings) -> Set[str]:
    """Attributes whose values the status does not show: those that are not kept as they come, and texts
    whose values nobody declared, so that only rows tell them.
    """
    private = {name for name, kind in settings.sensitivity.items() if kind not in _KEPT}
    texts = (a for a in identity.attributes if a.value_type is ValueType.STRING)
    return private | {a.name for a in texts if not nameable(a)}


def _sentence(found: Found, metric: Metric, hidden: Set[str]) -> str:
    one = found.metrics[metric]
    name = metric.value.replace("_", " ")
    assert one.value is not None
    assert one.rest is not None
    return (
        f"where {found.rule.text(hidden)}: {name} {one.value:.3g} instead of {one.rest:.3g} elsewhere"
        f" ({one.n} rows measured)"
    )


def insights_of(searched: Searched, telling: Telling) -> list[Insight]:
    """What people are told of a window or a batch; of the reference nothing."""
    if searched.subject.over == "reference":
        return []
    metric, places = configured(searched.result, telling.settings)
    return [_insight(searched, searched.result.found[place], metric, telling) for place in places]


def _insight(searched: Searched, found: Found, metric: Metric, telling: Telling) -> Insight:
    subject, one = searched.subject, found.metrics[metric]
    assert one.value is not None
    return Insight(
        id=insight_id(telling.model_id, subject.key, found.rule.region, metric.value),
        subject=subject.key,
        batch_id=subject.name or None,
        run_id=searched.run,
        metric_type=f"{metric.value}hotspot",
        threshold_value=telling.settings.threshold if metric in SHARES else None,
        region=found.rule.region,
        metric_value=one.value,
        timestamp=telling.now,
        window_start=subject.start,
        window_end=subject.end,
        rule=found.rule.text(),
        n=one.n,
        rest_value=one.rest,
        p_adjusted=one.p_adjusted,
        windows=found.lineage.windows,
    )
