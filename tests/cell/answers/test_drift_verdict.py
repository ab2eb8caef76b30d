"""What `/status` and `/metrics` say of the newest window."""

from datetime import timedelta

import census_like
import numpy as np
import pyarrow as pa
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from query_rooms import DAY, MONITORING, NOON, inferences, people

from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.monitoring import DriftMetric
from modelwarden.resources.report import DriftReport, FeatureDrift
from modelwarden_server.query.series import MAX_FEATURES, DriftCollector, shown_features
from modelwarden_server.query.status import DriftWatch, Rules

REFERENCE = people(6000, seed=5)
RULES = Rules(MONITORING)


def report(rooms, **settings) -> DriftReport | None:
    rooms.folder_of_partials.reach(120)
    return DriftWatch().report(rooms.folder_of_partials.live, Rules(MONITORING.model_copy(update=settings)))


def test_there_is_no_verdict_without_rows(rooms):
    rooms.compare_with(REFERENCE)
    assert report(rooms) is None


def test_without_a_reference_the_window_and_its_rows_are_told(rooms):
    rooms.store(inferences(people(300), np.arange(300.0)))
    found = report(rooms)
    assert (found.state, found.rows, found.features) == ("NoReference", 300, ())


def test_the_window_ends_with_the_slice_of_the_newest_inference(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(500), np.linspace(0, 3 * DAY + 61, 500)))
    found = report(rooms)
    assert found.window_end == NOON + timedelta(days=3, minutes=5)
    assert found.window_start == found.window_end - timedelta(days=1)
    times = np.linspace(0, 3 * DAY + 61, 500)
    assert found.rows == int((times >= 2 * DAY + 300).sum())


def test_the_same_people_are_no_drift(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(1000, seed=77), np.linspace(0, DAY - 300, 1000)))
    found = report(rooms)
    assert (found.state, found.rows, found.drifted, found.checked) == ("Ok", 1000, 0, 4)
    assert {f.name for f in found.features} == {"age", "income", "town", "p"}
    assert all(f.score < 0.05 and f.n == 1000 and f.threshold == 0.2 for f in found.features)


def test_older_people_are_drift_of_age_alone(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(1000, seed=77, older=12), np.linspace(0, DAY - 300, 1000)))
    found = report(rooms)
    assert [f.name for f in found.features if f.drifted] == ["age"]
    assert found.drifted == 1


def test_too_few_rows_are_no_verdict_however_different(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(150, older=30), np.linspace(0, 3600, 150)))
    found = report(rooms)
    assert (found.state, found.drifted, found.checked) == ("InsufficientData", 0, 0)
    assert any(f.score > 0.2 for f in found.features)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("income", pa.nulls(1000, pa.float64())),
        ("income", pa.array([float("nan")] * 1000)),
        ("town", pa.array(["atlantis"] * 1000)),
        ("age", pa.array([-1] * 1000)),
        ("income", pa.array(np.full(1000, 12.0))),
    ],
)
def test_a_column_that_goes_empty_or_to_values_never_seen_has_drifted(rooms, name, values):
    rooms.compare_with(REFERENCE)
    data = people(1000, seed=77)
    data = data.set_column(data.schema.get_field_index(name), name, values)
    rooms.store(inferences(data, np.linspace(0, DAY - 300, 1000)))
    found = report(rooms)
    assert [f.name for f in found.features if f.drifted] == [name]


def test_a_threshold_of_its_own_and_another_metric_are_followed(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(1000, seed=77, older=12), np.linspace(0, DAY - 300, 1000)))
    assert report(rooms, thresholds={"age": 9.0}).drifted == 0
    hellinger = report(rooms, drift_metric=DriftMetric.HELLINGER_DISTANCE)
    assert hellinger.metric == "HellingerDistance"
    assert [f.name for f in hellinger.features if f.drifted] == ["age"]


def test_a_verdict_is_computed_anew_when_rows_or_settings_change_only(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(1000), np.linspace(0, DAY - 300, 1000)))
    assert rooms.folder_of_partials.reach(120)
    watch, live = DriftWatch(clock=lambda: 0.0), rooms.folder_of_partials.live
    first = watch.report(live, RULES)
    assert watch.report(live, RULES) is first
    assert watch.report(live, Rules(MONITORING.model_copy(update={"drift_threshold": 0.1}))) is not first
    rooms.store(inferences(people(10), np.full(10, DAY - 1.0), first_id=5000))
    assert watch.report(live, RULES).rows == 1010


def test_while_rows_stream_in_a_slow_verdict_is_not_computed_all_the_time(rooms):
    rooms.compare_with(REFERENCE)
    now = iter([0.0, 2.0, 3.0, 19.9, 20.0, 22.0])
    watch, live = DriftWatch(clock=lambda: next(now)), rooms.folder_of_partials.live
    seen = []
    for n in range(4):
        rooms.store(inferences(people(10), np.full(10, float(n)), first_id=n * 10))
        assert rooms.folder_of_partials.reach(120)
        seen.append(watch.report(live, RULES).rows)
    assert seen == [10, 10, 10, 40]


def test_the_verdict_is_published_as_series_with_threshold_rows_and_end(rooms):
    rooms.compare_with(REFERENCE)
    rooms.store(inferences(people(1000, older=12), np.linspace(0, DAY - 300, 1000)))
    found = report(rooms)
    registry = CollectorRegistry()
    registry.register(DriftCollector(lambda: found))
    text = generate_latest(registry).decode()
    age = next(f for f in found.features if f.name == "age")
    assert f'modelwarden_drift_score{{feature="age",metric="PSI"}} {age.score}' in text
    assert 'modelwarden_drift_threshold{feature="age",metric="PSI"} 0.2' in text
    assert 'modelwarden_drift_flag{feature="age",metric="PSI"} 1.0' in text
    assert "modelwarden_drift_window_rows 1000.0" in text
    end = registry.get_sample_value("modelwarden_drift_window_end_timestamp_seconds")
    assert end == found.window_end.timestamp()


def test_there_are_series_before_there_is_a_verdict():
    registry = CollectorRegistry()
    registry.register(DriftCollector(lambda: None))
    assert "modelwarden_drift_score" in generate_latest(registry).decode()


def feature(name: str, stage: str, score: float) -> FeatureDrift:
    return FeatureDrift(name=name, stage=stage, score=score, threshold=0.2, n=1000, drifted=False)


def test_of_too_many_features_predictions_and_the_worst_are_shown():
    many = [feature(f"x{i}", "PIPELINE_INPUT", i / 1000) for i in range(200)]
    shown = shown_features([*many, feature("p", "PREDICTED_VALUE", 0.0)])
    assert len(shown) == MAX_FEATURES
    assert [f.name for f in shown[:3]] == ["p", "x199", "x198"]


def quality(rooms, not_kept=(), **settings):
    rooms.folder_of_partials.reach(120)
    found = DriftWatch().verdicts(
        rooms.folder_of_partials.live,
        Rules(MONITORING.model_copy(update={"drift_threshold": None} | settings), frozenset(not_kept)),
    )
    return found.quality


def days_of(rooms, days: range, rows: int = 600, **changed) -> None:
    """So many rows on each of these days; columns may be replaced."""
    for day in days:
        data = people(rows, seed=300 + day)
        for name, values in changed.items():
            data = data.set_column(data.schema.get_field_index(name), name, values)
        rooms.store(
            inferences(data, np.linspace(day * DAY, (day + 1) * DAY - 300, rows), first_id=day * 10_000)
        )


def test_clean_days_raise_nothing_in_quality_or_drift(rooms):
    rooms.compare_with(REFERENCE)
    days_of(rooms, range(6))
    found = quality(rooms)
    assert (found.raised, found.rows) == (0, 600)
    assert found.volume.least is not None
    assert found.lag.p95_seconds is not None
    assert report(rooms, drift_threshold=None).drifted == 0


def test_a_window_with_missing_values_is_told_and_persists_on_the_second_day(rooms):
    rooms.compare_with(REFERENCE)
    days_of(rooms, range(4))
    gone = pa.array([None] * 60 + [20.0] * 540)
    days_of(rooms, range(4, 5), income=gone)
    (missing,) = [v for v in quality(rooms).values if v.raised]
    assert (missing.attribute, missing.question, missing.rows, missing.persistent) == (
        "income",
        "missing",
        60,
        False,
    )
    drifted = {f.name: f for f in report(rooms, drift_threshold=None).features if f.drifted}
    assert not drifted["income"].persistent
    days_of(rooms, range(5, 6), income=gone)
    (missing,) = [v for v in quality(rooms).values if v.raised]
    assert missing.persistent
    assert {f.name: f.persistent for f in report(rooms, drift_threshold=None).features}["income"]


def test_the_first_window_stands_for_itself(rooms):
    rooms.compare_with(REFERENCE)
    days_of(rooms, range(1), income=pa.array([None] * 600, pa.float64()))
    found = report(rooms, drift_threshold=None)
    assert found.judged == 1
    assert [f.persistent for f in found.features if f.drifted] == [True]


def test_a_day_with_far_fewer_rows_is_unusual(rooms):
    rooms.compare_with(REFERENCE)
    days_of(rooms, range(9))
    assert not quality(rooms).volume.raised
    days_of(rooms, range(9, 10), rows=220)
    found = quality(rooms)
    assert found.volume.raised
    assert found.raised == 1


def test_rows_that_come_again_are_told(rooms):
    rooms.compare_with(REFERENCE)
    data = people(700, seed=9)
    twice = pa.concat_tables([data, data.slice(0, 300)])
    rooms.store(inferences(twice, np.linspace(0, DAY - 300, 1000)))
    found = quality(rooms)
    assert found.repeats.raised
    assert found.repeats.share == pytest.approx(0.3, abs=0.06)


def test_a_weekend_that_the_reference_covers_is_no_drift(rooms):
    """Times in the reference are all that tells its weekends: the rows lie in any order."""
    rng = np.random.default_rng(4)
    weekdays, weekends = people(5000, seed=5), people(2000, seed=6, older=10)
    both = pa.concat_tables([weekdays, weekends])
    days = np.concatenate([rng.integers(0, 40, 5000) // 5 * 7 + rng.integers(0, 5, 5000),
                           rng.integers(0, 16, 2000) // 2 * 7 + rng.integers(5, 7, 2000)])  # fmt: skip
    times = pa.array(days * DAY * 1_000_000 + rng.integers(0, DAY, 7000) * 1_000_000).cast(
        pa.timestamp("us", "UTC")
    )
    both = both.append_column("inference_timestamp", times).take(pa.array(rng.permutation(7000)))
    rooms.compare_with(both)
    rooms.store(inferences(people(1000, seed=77, older=10), np.linspace(0, DAY - 300, 1000)))
    assert report(rooms, drift_threshold=None).drifted == 0
    rooms.store(inferences(people(1000, seed=78), np.linspace(DAY, 2 * DAY - 300, 1000), first_id=5000))
    assert report(rooms, drift_threshold=None).drifted == 0
    rooms.store(
        inferences(people(1000, seed=79, older=25), np.linspace(2 * DAY, 3 * DAY - 300, 1000), first_id=9000)
    )
    assert [f.name for f in report(rooms, drift_threshold=None).features if f.drifted] == ["age"]


def test_nothing_is_said_of_values_that_are_not_kept(rooms):
    rooms.compare_with(REFERENCE)
    masked = pa.array([None] * 600, pa.float64())
    days_of(rooms, range(3), income=masked)
    assert {v.attribute for v in quality(rooms).values if v.raised} == {"income"}
    found = quality(rooms, not_kept=["income"])
    assert (found.raised, [v for v in found.values if v.attribute == "income"]) == (0, [])
    rules = Rules(MONITORING.model_copy(update={"drift_threshold": None}), frozenset({"income"}))
    drift = DriftWatch().report(rooms.folder_of_partials.live, rules)
    assert "income" not in {f.name for f in drift.features}
    assert (drift.drifted, drift.broken) == (0, 0)


def test_masked_and_dropped_values_are_not_kept_and_hashed_ones_are():
    settings = census_like.settings().model_copy(
        update={"sensitivity": {"a": Sensitivity.MASK, "b": Sensitivity.DROP, "c": Sensitivity.HASH}}
    )
    assert Rules.of(settings).not_kept == {"a", "b"}
