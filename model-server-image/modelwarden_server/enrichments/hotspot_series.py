"""The newest search for hotspots, and insights by state, as Prometheus series.

Rules are no labels: there is no bound to them.
"""

from collections.abc import Callable, Iterator

from prometheus_client import Metric as Series
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from modelwarden.resources.report import HotspotReport


class HotspotCollector(Collector):
    """Reads the report and the counts when Prometheus asks."""

    def __init__(
        self, report_of: Callable[[], HotspotReport | None], insights: Callable[[], dict[str, int]]
    ) -> None:
        self._report, self._insights = report_of, insights

    def describe(self) -> Iterator[Series]:
        """Nothing is computed to register."""
        return iter(())

    def collect(self) -> Iterator[Series]:
        """The series of now."""
        told = self._report()
        if told is not None:
            texts = {
                "modelwarden_hotspots": ("Regions where the metric is worse than elsewhere.", told.count),
                "modelwarden_hotspot_worst": ("The metric in the worst of them.", told.worst_value),
                "modelwarden_hotspot_rest": ("The metric of all rows outside of it.", told.worst_rest),
                "modelwarden_hotspots_labelled_rows": ("Labelled rows that were searched.", told.labelled),
            }
            for name, (text, value) in texts.items():
                if value is not None:
                    family = GaugeMetricFamily(name, f"{text} Newest window or batch.", labels=["metric"])
                    family.add_metric([told.metric], value)
                    yield family
            if told.window_end is not None:
                yield GaugeMetricFamily(
                    "modelwarden_hotspots_window_end_timestamp_seconds",
                    "End of the newest window that was searched for hotspots, event time.",
                    value=told.window_end.timestamp(),
                )
        counts = self._insights()
        if counts:
            family = GaugeMetricFamily(
                "modelwarden_insights", "Insights that are kept, by state.", labels=["status"]
            )
            for state, count in counts.items():
                family.add_metric([state], count)
            yield family
