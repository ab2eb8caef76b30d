"""The newest window in Prometheus: what is published of it, what is left out, and that it is counted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from query_rooms import MONITORING, inferences, people, until

from modelwarden.resources.report import (
    CoverageReport,
    DataQualityReport,
    DriftReport,
    FeatureDrift,
    LabelledWindow,
    LagQuality,
    RepeatQuality,
    ValueQuality,
    VolumeQuality,
)
from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.query.coverage import coverage
from modelwarden_server.query.window_series import WindowCollector

END = datetime(2026, 3, 2, tzinfo=UTC)


def value(attribute: str, share: float, question: Any = "missing", *, raised: bool = False) -> ValueQuality:
    return ValueQuality(
        attribute=attribute, question=question, rows=10, share=share, reference_share=0.01, raised=raised
    )


def quality(*values: ValueQuality, **more: Any) -> DataQualityReport:
    given: dict[str, Any] = {
        "volume": VolumeQuality(rows=900, least=500, most=2000.5, raised=False),
        "lag": LagQuality(median_seconds=5, p95_seconds=60, raised=True),
        "repeats": RepeatQuality(share=0.25, raised=True),
    }
    return DataQualityReport(
        window_start=END - timedelta(days=1), window_end=END, rows=900, values=values, **given | more
    )


def drift(features: int) -> DriftReport:
    told = tuple(
        FeatureDrift(name=f"x{i}", stage="PIPELINE_INPUT", score=0.1, threshold=0.2, n=900, drifted=i < 3)
        for i in range(features)
    )
    return DriftReport(
        window_start=END,
        window_end=END,
        rows=900,
        metric="PSI",
        state="Ok",
        features=told,
        drifted=3,
        checked=12,
    )


def labelled(rows: int, labels: int, end: datetime = END) -> LabelledWindow:
    share = labels / rows if rows else None
    return LabelledWindow(start=end - timedelta(days=1), end=end, rows=rows, labelled=labels, share=share)


class Published:
    """A registry with one collector over the reports of a test."""

    def __init__(self, **reports: Any) -> None:
        self.reports = {"drift": None, "quality": None, "coverage": None} | reports
        self.registry = CollectorRegistry()
        self.registry.register(
            WindowCollector(
                *(lambda name=name: self.reports[name] for name in ("drift", "quality", "coverage"))
            )
        )

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"modelwarden_{name}", labels)

    def names(self) -> list[str]:
        return [sample.name for family in self.registry.collect() for sample in family.samples]


def test_each_share_stands_beside_the_references_and_its_flag():
    seen = Published(
        quality=quality(
            value("age", 0.3, raised=True),
            value("age", 0.2, "outOfRange"),
            value("town", 0.1, "unseenCategory", raised=True),
        )
    )
    assert seen("missing_ratio", feature="age") == 0.3
    assert seen("missing_ratio_reference", feature="age") == 0.01
    assert seen("out_of_range_ratio", feature="age") == 0.2
    assert seen("unseen_category_ratio", feature="town") == 0.1
    assert seen("data_quality_flag", feature="age", question="missing") == 1
    assert seen("data_quality_flag", feature="age", question="outOfRange") == 0


def test_the_window_its_bounds_and_its_lag_are_published():
    seen = Published(quality=quality(), drift=drift(12))
    assert seen("window_rows") == 900
    assert seen("window_end_timestamp_seconds") == END.timestamp()
    assert (seen("window_rows_expected", bound="least"), seen("window_rows_expected", bound="most")) == (
        500,
        2000.5,
    )
    assert (seen("arrival_lag_seconds", quantile="0.5"), seen("arrival_lag_seconds", quantile="0.95")) == (
        5,
        60,
    )
    assert seen("repeated_rows_ratio") == 0.25
    flags = {question: seen("window_flag", question=question) for question in ("volume", "lag", "repeats")}
    assert flags == {"volume": 0, "lag": 1, "repeats": 1}
    assert seen("drift_features_ratio") == 0.25


def test_what_is_not_known_has_no_series_and_not_a_zero():
    bare = quality(volume=VolumeQuality(rows=1, raised=False), lag=LagQuality(raised=False), repeats=None)
    seen = Published(quality=bare, coverage=CoverageReport(newest=labelled(0, 0)))
    assert seen("window_rows_expected", bound="least") is None
    assert seen("arrival_lag_seconds", quantile="0.5") is None
    assert seen("repeated_rows_ratio") is None
    assert seen("label_coverage_ratio", window="newest") is None
    assert seen("label_coverage_rows", window="newest") == 0
    assert Published().names() == ["modelwarden_series_dropped_total"] * 4


def test_coverage_is_told_of_the_newest_window_and_of_one_as_old_as_labels_take():
    report = CoverageReport(newest=labelled(100, 10), mature=labelled(80, 60, END - timedelta(days=30)))
    seen = Published(coverage=report)
    shares = {window: seen("label_coverage_ratio", window=window) for window in ("newest", "mature")}
    assert shares == {"newest": 0.1, "mature": 0.75}
    ends = [seen("label_coverage_window_end_timestamp_seconds", window=w) for w in ("mature", "newest")]
    assert ends == [(END - timedelta(days=30)).timestamp(), END.timestamp()]


def test_a_thousand_bad_attributes_make_a_bounded_number_of_series_the_raised_first_and_the_rest_counted():
    values = [value(f"x{i:03}", 0.5) for i in range(300)] + [value("raised", 0.02, raised=True)]
    seen = Published(quality=quality(*values), drift=drift(120))
    names = seen.names()
    assert names.count("modelwarden_missing_ratio") == 50
    assert len(names) < 250
    assert seen("missing_ratio", feature="raised") == 0.02
    # Three scrapes so far, and this is the fourth: a counter of what was left out of each.
    assert seen("series_dropped_total", reason="missing") == 3 * 251
    assert seen("series_dropped_total", reason="drift") == 4 * 70


def test_coverage_is_not_told_where_labels_are_not_counted(rooms):
    rooms.store(inferences(people(10), np.arange(10) * 300.0))
    until(lambda: (live := rooms.folder_of_partials.live) is not None and live.rows == 10)
    assert coverage(rooms.folder_of_partials.live, MONITORING) is None
    assert coverage(None, MONITORING) is None


def test_coverage_is_of_the_newest_window_and_of_one_that_ended_a_delay_before():
    counted = Counted(rows={0: 10, 287: 20, 288: 30}, labelled={0: 5, 287: 1})
    found = coverage(counted, MONITORING.model_copy(update={"label_delay": "1d"}))
    newest, mature = found.newest, found.mature
    assert (newest.rows, newest.labelled, newest.share) == (50, 1, 1 / 50)
    assert (mature.rows, mature.labelled, mature.share) == (10, 5, 0.5)
    assert mature.end == newest.start == datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    assert coverage(counted, MONITORING).mature is None


class Counted:
    """Partials of rows and labels alone, by slice."""

    def __init__(self, rows: dict[int, int], labelled: dict[int, int]) -> None:
        self._counts = (rows, labelled)
        self.labelling, self.space = object(), CodeSpace()

    def newest_slice(self) -> int:
        return max(self._counts[0])

    def window(self, start: int, end: int) -> np.ndarray:
        return np.array([sum(n for at, n in counts.items() if start <= at < end) for counts in self._counts])
