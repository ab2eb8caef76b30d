"""The newest window's anomalies as Prometheus series: rate, what was expected, p-value, rows, its end
beside each other. A bounded number of series; no value of a row is a label.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden.resources.report import AnomalyReport


class AnomalyCollector(Collector):
    """Reads the report when Prometheus asks; that is cheap while nothing has changed."""

    def __init__(self, report: Callable[[], AnomalyReport | None]) -> None:
        self._report = report

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance, so that registering computes nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families that there is something to say of."""
        report = self._report()
        if report is None:
            return
        end = None if report.window_end is None else report.window_end.timestamp()
        for name, text, value in (
            ("rate", "Share of the window's rows beyond the reference's 99th percentile.", report.rate),
            ("expected_rate", "What that share is for rows like the reference's.", report.expected),
            ("p_value", "Exact one-sided test of the rate against what is expected.", report.p_value),
            ("flag", "1 if more rows are anomalous than the reference explains.", float(report.raised)),
            ("score_mean", "Mean anomaly score of the newest window: multivariate drift.", report.mean_score),
            (
                "score_mean_reference",
                "Mean anomaly score of rows like the reference's.",
                report.reference_mean_score,
            ),
            ("score_limit", "The anomaly score at the reference's 99th percentile.", report.limit),
            ("window_rows", "Scored rows of the newest window.", report.scored),
            ("window_end_timestamp_seconds", "End of that window, event time.", end),
            ("rows_waiting", "Stored rows that have no anomaly score yet.", report.waiting),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"modelwarden_anomaly_{name}", text, value=value)
