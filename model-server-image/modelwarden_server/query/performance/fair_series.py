"""Rates by group, and how far groups are apart, as Prometheus series. Bounded: attributes whose groups are
declared, so many groups of each; what is left out is counted. No values of rows.
"""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.fairness.comparison import Verdict
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric
from modelwarden_server.query.performance.fair_watch import Told
from modelwarden_server.query.performance.naming import nameable

MAX_GROUPS = 20
MAX_ATTRIBUTES = 12
_SHOWN = (
    FairnessMetric.SELECTION_RATE,
    FairnessMetric.ACCURACY,
    FairnessMetric.TPR,
    FairnessMetric.FPR,
    FairnessMetric.PPV,
)
_RULE = {Verdict.FAILS: 0.0, Verdict.UNCLEAR: 0.5, Verdict.HOLDS: 1.0}


class FairnessCollector(Collector):
    """Reads what is told when Prometheus asks; cheap while nothing has changed."""

    def __init__(self, told: Callable[[], Told | None], attributes: Mapping[str, ResolvedAttribute]) -> None:
        self._told, self._attributes = told, attributes

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance, so that registering computes nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families; nothing while there is nothing to say."""
        told = self._told()
        if told is None:
            return
        yield self._rates(told)
        yield from _gaps(told)

    def _rates(self, told: Told) -> Metric:
        rates = GaugeMetricFamily(
            "modelwarden_fairness",
            "A rate of a group: selection in the newest window, the others in the newest one with labels.",
            labels=["metric", "attribute", "group"],
        )
        for attribute in list(told.selection)[:MAX_ATTRIBUTES]:
            if not nameable(self._attributes[attribute]):
                continue
            for metric in _SHOWN:
                groups = sorted(told.of(attribute, metric).groups, key=lambda g: (-g.outcomes.rows, g.name))
                for group in groups[:MAX_GROUPS]:
                    share = group.rates[metric].share
                    if share is not None:
                        rates.add_metric([metric.value, attribute, group.name], share.value)
        return rates


def _gaps(told: Told) -> Iterator[Metric]:
    difference = GaugeMetricFamily(
        "modelwarden_fairness_difference",
        "How far the two groups that are furthest apart are from each other.",
        labels=["metric", "attribute"],
    )
    flag = GaugeMetricFamily(
        "modelwarden_fairness_difference_flag",
        "1 if that difference is more than chance.",
        labels=["metric", "attribute"],
    )
    ratio = GaugeMetricFamily(
        "modelwarden_fairness_selection_ratio",
        "Lowest over highest selection rate of the groups.",
        labels=["attribute"],
    )
    rule = GaugeMetricFamily(
        "modelwarden_fairness_four_fifths",
        "The four-fifths rule: 1 holds, 0 fails, 0.5 cannot be told of so few rows.",
        labels=["attribute"],
    )
    left_out = GaugeMetricFamily(
        "modelwarden_fairness_groups_left_out",
        "Groups without rates: they have too few rows, or there are too many groups.",
        labels=["attribute"],
    )
    for one in told.report.attributes[:MAX_ATTRIBUTES]:
        for gap in one.gaps:
            difference.add_metric([gap.metric, one.attribute], gap.difference)
            flag.add_metric([gap.metric, one.attribute], float(gap.significant))
        if one.ratio is not None:
            ratio.add_metric([one.attribute], one.ratio)
        if one.four_fifths in _RULE:
            rule.add_metric([one.attribute], _RULE[Verdict(one.four_fifths)])
        left_out.add_metric([one.attribute], one.withheld + max(0, one.groups - MAX_GROUPS))
    yield from (difference, flag, ratio, rule, left_out)
    end = GaugeMetricFamily(
        "modelwarden_fairness_window_end_timestamp_seconds",
        "End of the newest window, and of the one with labels, event time.",
        labels=["window"],
    )
    for name, at in (("newest", told.report.window_end), ("labelled", told.report.labelled_end)):
        if at is not None:
            end.add_metric([name], at.timestamp())
    yield end
    rows = GaugeMetricFamily("modelwarden_fairness_rows", "Rows of these windows.", labels=["window"])
    rows.add_metric(["newest"], told.report.rows)
    rows.add_metric(["labelled"], told.report.labelled)
    yield rows
