"""Explanations as Prometheus series: what became of the chosen rows, the newest window's importance and
attribution drift beside its end. At most 50 attributes; no value of a row is a label.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden_server.explanations.agreement import DRIFTED
from modelwarden_server.explanations.report import Progress, top_of

MOST_ATTRIBUTES: Final = 50
PREFIX: Final = "modelwarden_explanations"


@dataclass(frozen=True)
class Told:
    """What is told at one scrape. `window_end`: seconds since 1970; `on`: explanations are wanted."""

    progress: Progress
    window_end: float | None
    window_rows: int
    on: bool


class ExplanationCollector(Collector):
    """Reads when Prometheus asks; that is cheap while nothing has changed."""

    def __init__(self, told: Callable[[], Told | None]) -> None:
        self._told = told

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance, so that registering computes nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families that there is something to say of."""
        told = self._told()
        if told is None or (not told.on and not told.progress.tally.chosen):
            return
        tally = told.progress.tally
        rows = CounterMetricFamily(
            f"{PREFIX}_rows", "Chosen rows by what became of them.", labels=["outcome"]
        )
        for outcome, many in (
            ("explained", tally.explained),
            ("failed", tally.failed),
            ("skipped", tally.skipped),
        ):
            rows.add_metric([outcome], many)
        yield rows
        yield CounterMetricFamily(
            f"{PREFIX}_late_rows", "Rows of answers that came too late.", value=told.progress.late
        )
        yield GaugeMetricFamily(f"{PREFIX}_rows_waiting", "Chosen rows that wait.", value=tally.waiting)
        if told.window_end is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_window_end_timestamp_seconds", "End of the newest window.", value=told.window_end
            )
            yield GaugeMetricFamily(
                f"{PREFIX}_window_rows", "Explained rows of the newest window.", value=told.window_rows
            )
        yield from _importance(told.progress)


def _importance(progress: Progress) -> Iterator[Metric]:
    if progress.agreement is not None:
        yield GaugeMetricFamily(
            f"{PREFIX}_attribution_agreement",
            "Rank agreement (nDCG) of the newest window's importance with the reference's.",
            value=progress.agreement,
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_attribution_agreement_threshold", "Below it attributions have drifted.", value=DRIFTED
        )
    if progress.importance is not None:
        family = GaugeMetricFamily(
            f"{PREFIX}_importance",
            "Mean absolute attribution of an input in the newest window.",
            labels=["attribute"],
        )
        for name, value in top_of(progress.importance, MOST_ATTRIBUTES):
            family.add_metric([name], value)
        yield family
