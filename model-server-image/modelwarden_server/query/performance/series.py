"""How well the model does, as Prometheus series: each value with its bounds and the reference's beside it.

Names of metrics and of declared segments are labels; groups are not, for their names may be values of rows.
A metric that is withheld has no sample.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden.resources.report import MetricValue, PerformanceReport

_LABELS = ["metric", "estimated", "segment"]


class PerformanceCollector(Collector):
    """Reads the report when Prometheus asks; it is cheap while nothing has changed."""

    def __init__(self, report: Callable[[], PerformanceReport | None]) -> None:
        self._report = report

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance, so that registering computes nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families that there is something to say of."""
        report = self._report()
        if report is None:
            return
        families = {
            "value": GaugeMetricFamily("modelwarden_performance", "A metric of the model.", labels=_LABELS),
            "lower": GaugeMetricFamily(
                "modelwarden_performance_lower", "Lower bound (95 %) of the metric.", labels=_LABELS
            ),
            "upper": GaugeMetricFamily(
                "modelwarden_performance_upper", "Upper bound (95 %) of the metric.", labels=_LABELS
            ),
            "baseline": GaugeMetricFamily(
                "modelwarden_performance_baseline", "The reference's value of the metric.", labels=_LABELS
            ),
            "n": GaugeMetricFamily("modelwarden_performance_rows", "Rows behind the metric.", labels=_LABELS),
        }
        for labels, metric in _told(report):
            for part, family in families.items():
                number = getattr(metric, part)
                if number is not None and metric.value is not None:
                    family.add_metric(labels, number)
        yield from families.values()
        yield GaugeMetricFamily(
            "modelwarden_performance_worse", "1 if the model has got worse.", value=float(report.worse)
        )
        yield GaugeMetricFamily(
            "modelwarden_performance_provisional",
            "1 if labels of the window may still come.",
            value=float(report.provisional),
        )
        if report.window_end is not None:
            yield GaugeMetricFamily(
                "modelwarden_performance_window_end_timestamp_seconds",
                "End of the window with labels, event time.",
                value=report.window_end.timestamp(),
            )


def _told(report: PerformanceReport) -> Iterator[tuple[list[str], MetricValue]]:
    for metric in report.metrics:
        yield [metric.metric, "false", ""], metric
    for metric in () if report.estimated is None else report.estimated.metrics:
        yield [metric.metric, "true", ""], metric
    for one in report.populations:
        if one.segment is not None:
            yield [one.metric.metric, "false", one.segment], one.metric
