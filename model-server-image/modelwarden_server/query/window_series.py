"""The newest window's rows as Prometheus series: values that are missing, out of range or new, repeats,
volume, lag, labels. What is compared with what stands beside it, so does the window.

Names of attributes are labels, values of rows never are. A bounded number of attributes for each question,
what is raised first; series that are left out are counted, by question, at each scrape.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelwarden.resources.report import CoverageReport, DataQualityReport, DriftReport, LabelledWindow
from modelwarden_server.query.series import MAX_FEATURES, shown_features

_SHARES = {
    "missing": ("modelwarden_missing_ratio", "Share of rows without a value."),
    "outOfRange": ("modelwarden_out_of_range_ratio", "Share of rows outside of the reference's range."),
    "unseenCategory": (
        "modelwarden_unseen_category_ratio",
        "Share of rows with a category that the reference has not.",
    ),
}
_OF_DRIFT = "drift"


class WindowCollector(Collector):
    """Reads the reports when Prometheus asks; all are cheap while nothing has changed."""

    def __init__(
        self,
        drift: Callable[[], DriftReport | None],
        quality: Callable[[], DataQualityReport | None],
        coverage: Callable[[], CoverageReport | None],
    ) -> None:
        self._drift, self._quality, self._coverage = drift, quality, coverage
        self._dropped: Tally[str] = Tally(dict.fromkeys((*_SHARES, _OF_DRIFT), 0))

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance, so that registering computes nothing."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The families that there is something to say of."""
        drift, quality, coverage = self._drift(), self._quality(), self._coverage()
        if drift is not None:
            self._dropped[_OF_DRIFT] += len(drift.features) - len(shown_features(drift.features))
            if drift.checked:
                yield _gauge(
                    "modelwarden_drift_features_ratio",
                    "Share of the checked features that have drifted.",
                    drift.drifted / drift.checked,
                )
        if quality is not None:
            yield from self._shares(quality)
            yield from _flow(quality)
        if coverage is not None:
            yield from _labels(coverage)
        dropped = CounterMetricFamily(
            "modelwarden_series_dropped",
            "Series that were left out of scrapes because there were too many, by what they tell.",
            labels=["reason"],
        )
        for reason, number in self._dropped.items():
            dropped.add_metric([reason], number)
        yield dropped

    def _shares(self, report: DataQualityReport) -> Iterator[Metric]:
        raised = GaugeMetricFamily(
            "modelwarden_data_quality_flag",
            "1 if a share of bad values is more than the reference explains.",
            labels=["feature", "question"],
        )
        for question, (name, text) in _SHARES.items():
            share = GaugeMetricFamily(name, text, labels=["feature"])
            usual = GaugeMetricFamily(f"{name}_reference", f"{text} In the reference.", labels=["feature"])
            told = sorted(
                (value for value in report.values if value.question == question),
                key=lambda value: (not value.raised, -value.share, value.attribute),
            )
            self._dropped[question] += max(0, len(told) - MAX_FEATURES)
            for value in told[:MAX_FEATURES]:
                share.add_metric([value.attribute], value.share)
                usual.add_metric([value.attribute], value.reference_share)
                raised.add_metric([value.attribute, question], float(value.raised))
            yield share
            yield usual
        yield raised


def _flow(report: DataQualityReport) -> Iterator[Metric]:
    """The window itself, its repeats, its volume and its lag."""
    yield from _window("modelwarden_window", "the newest window", report.rows, report.window_end)
    bounds = {"least": report.volume.least, "most": report.volume.most}
    expected = GaugeMetricFamily(
        "modelwarden_window_rows_expected",
        "Bounds of the rows of a window, from the windows before it.",
        labels=["bound"],
    )
    for bound, rows in bounds.items():
        if rows is not None:
            expected.add_metric([bound], rows)
    yield expected
    lag = GaugeMetricFamily(
        "modelwarden_arrival_lag_seconds",
        "How long rows of the newest window took to arrive: an upper bound for this share of them.",
        labels=["quantile"],
    )
    for quantile, seconds in (("0.5", report.lag.median_seconds), ("0.95", report.lag.p95_seconds)):
        if seconds is not None:
            lag.add_metric([quantile], seconds)
    yield lag
    if report.repeats is not None:
        yield _gauge(
            "modelwarden_repeated_rows_ratio",
            "Share of rows with the content of another row of the window.",
            report.repeats.share,
        )
    flags = GaugeMetricFamily(
        "modelwarden_window_flag", "1 if this is not as it usually is.", labels=["question"]
    )
    flags.add_metric(["volume"], float(report.volume.raised))
    flags.add_metric(["lag"], float(report.lag.raised))
    if report.repeats is not None:
        flags.add_metric(["repeats"], float(report.repeats.raised))
    yield flags


def _labels(report: CoverageReport) -> Iterator[Metric]:
    windows: dict[str, LabelledWindow | None] = {"newest": report.newest, "mature": report.mature}
    share = GaugeMetricFamily(
        "modelwarden_label_coverage_ratio",
        "Share of the inferences of a window that have a label: the newest one, and the one as old as labels"
        " usually take.",
        labels=["window"],
    )
    rows = GaugeMetricFamily(
        "modelwarden_label_coverage_rows", "Inferences of that window.", labels=["window"]
    )
    end = GaugeMetricFamily(
        "modelwarden_label_coverage_window_end_timestamp_seconds", "End of that window.", labels=["window"]
    )
    for name, window in windows.items():
        if window is not None:
            rows.add_metric([name], window.rows)
            end.add_metric([name], window.end.timestamp())
            if window.share is not None:
                share.add_metric([name], window.share)
    yield share
    yield rows
    yield end


def _window(name: str, what: str, rows: int, end: datetime) -> Iterator[Metric]:
    yield _gauge(f"{name}_rows", f"Rows of {what}.", rows)
    yield _gauge(f"{name}_end_timestamp_seconds", f"End of {what}, event time.", end.timestamp())


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
