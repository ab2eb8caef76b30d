"""The newest verdict as Prometheus series: score, threshold, rows and end of the window beside each other.

A bounded number of features: all predictions, then the worst others; how many were left out is a series
too. Names of attributes are labels, values of rows never are.
"""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from modelwarden.resources.report import DriftReport, FeatureDrift

MAX_FEATURES = 50
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PREDICTED = "PREDICTED_VALUE"


class DriftCollector(Collector):
    """Reads the report when Prometheus asks. `report` is cheap while nothing has changed."""

    def __init__(self, report: Callable[[], DriftReport | None]) -> None:
        self._report = report

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The families without samples, so that registering computes nothing."""
        yield from _families().values()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families with the newest verdict."""
        families, report = _families(), self._report()
        if report is not None:
            shown = shown_features(report.features)
            families["rows"].add_metric([], report.rows)
            families["end"].add_metric([], report.window_end.timestamp())
            families["sufficient"].add_metric([], float(report.state == "Ok"))
            families["left_out"].add_metric([], len(report.features) - len(shown))
            for feature in shown:
                labels = [feature.name, report.metric]
                families["score"].add_metric(labels, feature.score)
                families["threshold"].add_metric(labels, feature.threshold)
                families["drifted"].add_metric(labels, float(feature.drifted))
        yield from families.values()


def query_seconds(registry: CollectorRegistry) -> Histogram:
    """How long questions took, the wait for their turn included."""
    return Histogram(
        "modelwarden_query_seconds",
        "Seconds from a question to its answer, by kind of question and status.",
        ["kind", "status"],
        buckets=_SECONDS,
        registry=registry,
    )


def shown_features(features: Sequence[FeatureDrift]) -> list[FeatureDrift]:
    """Predictions first, then the others by score over threshold, at most MAX_FEATURES."""

    def rank(feature: FeatureDrift) -> tuple[bool, float, str]:
        return (feature.stage != _PREDICTED, feature.threshold - feature.score, feature.name)

    return sorted(features, key=rank)[:MAX_FEATURES]


def _families() -> dict[str, GaugeMetricFamily]:
    by_feature = ["feature", "metric"]
    return {
        "score": GaugeMetricFamily(
            "modelwarden_drift_score", "Drift of a feature in the newest window.", labels=by_feature
        ),
        "threshold": GaugeMetricFamily(
            "modelwarden_drift_threshold",
            "Score from which on a feature counts as drifted.",
            labels=by_feature,
        ),
        "drifted": GaugeMetricFamily(
            "modelwarden_drift_flag",
            "1 if a feature has drifted: effect and significance.",
            labels=by_feature,
        ),
        "rows": GaugeMetricFamily("modelwarden_drift_window_rows", "Rows in the newest window.", labels=[]),
        "end": GaugeMetricFamily(
            "modelwarden_drift_window_end_timestamp_seconds",
            "End of the newest window, event time.",
            labels=[],
        ),
        "sufficient": GaugeMetricFamily(
            "modelwarden_drift_window_sufficient",
            "1 if the window has a reference and enough rows.",
            labels=[],
        ),
        "left_out": GaugeMetricFamily(
            "modelwarden_drift_features_left_out", "Features without series: there are too many.", labels=[]
        ),
    }
