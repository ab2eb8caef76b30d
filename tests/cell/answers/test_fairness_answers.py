"""Groups from sums, from rows and by a direct count with fairlearn agree; what cannot be asked is said."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    demographic_parity_ratio,
    equalized_odds_difference,
    selection_rate,
    true_positive_rate,
)
from outcome_rooms import IDENTITY, NOON, OutcomeRooms, definition, open_outcome_rooms
from prometheus_client import CollectorRegistry, generate_latest

from modelwarden.resources.cell import MonitoringSettings
from modelwarden_server.query.drift_answer import Sources, files_of
from modelwarden_server.query.performance.fair_answers import FairnessSources, answer
from modelwarden_server.query.performance.fair_series import FairnessCollector
from modelwarden_server.query.performance.fair_watch import FairnessWatch, Told, Watched
from modelwarden_server.query.performance.fairness import FairnessQuestion
from modelwarden_server.query.performance.sums import Sums
from modelwarden_server.query.request import Condition, QueryError
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.store.delta import AppendTable

ATTRIBUTES = {a.name: a for a in IDENTITY.attributes}
HOUR = timedelta(hours=1)
MONITORING = MonitoringSettings(
    window="1h",
    minimum_rows=200,
    drift_metric="PSI",
    drift_threshold=0.2,
    false_discovery_rate=0.05,
    drifted_share=0.5,
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutcomeRooms]:
    """Two hours of rows; the first hour's are labelled, four in five of them, some twice."""
    for rooms in open_outcome_rooms(tmp_path_factory.mktemp("fair")):
        ids: list[str] = []
        for number in range(6):
            ids += rooms.send(number * 300, 300, seconds=number * 600)
        known = pd.concat(rooms.rows).set_index("id")
        rng = np.random.default_rng(4)
        chosen = [name for name in ids if rng.random() < 0.8]
        paid = [int(rng.random() < known.p[name]) for name in chosen]
        rooms.label(chosen, paid)
        rooms.label(chosen[:100], [1 - value for value in paid[:100]], arrival=60)
        rooms.send(9000, 400, seconds=3600)
        yield rooms


def sums(live: OutcomeRooms, threshold: float = 0.5) -> Sums:
    live.wanted[0] = definition(threshold)
    assert live.follower.reach(120), live.follower.problem
    cube = live.follower.live
    assert cube is not None
    return Sums(cube, live.wanted[0])


def files(table: AppendTable) -> Any:
    return files_of(table.folder, [f.name for f in table.files], table.rows, table.schema)


def sources(live: OutcomeRooms, threshold: float = 0.5) -> FairnessSources:
    found = sums(live, threshold)
    rows = Sources({}, None, files(live.table), None, files(live.truth), QueriedModel.of(IDENTITY, threshold))
    return FairnessSources(ATTRIBUTES, found.definition.outcome, found, rows, threshold, 3600)


def ask(where: FairnessSources, attribute: str, **more: Any) -> dict[str, Any]:
    return answer(FairnessQuestion(attribute, **more), where, Deadline(time.monotonic() + 120))


def direct(live: OutcomeRooms, start: datetime, end: datetime) -> pd.DataFrame:
    data = live.known()
    at = pd.to_datetime(data["slice"] * 300, unit="s", utc=True)
    return data[(at >= start) & (at < end)]


def without(told: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in names}


def test_the_answer_is_what_fairlearn_says_of_the_same_rows(live: OutcomeRooms) -> None:
    told = ask(sources(live), "sex", start=NOON, end=NOON + HOUR)
    assert told["source"] == "partials"
    rows = direct(live, NOON, NOON + HOUR)
    people = rows[rows.sex.isin(["f", "m"])]  # x is no category of the model: (other)
    chosen = (people.p >= 0.5).astype(int)
    rates = MetricFrame(
        metrics=selection_rate, y_true=chosen, y_pred=chosen, sensitive_features=people.sex
    ).by_group
    groups = {group["group"]: group for group in told["groups"]}
    for name in ("f", "m"):
        assert groups[name]["rates"]["selection_rate"]["value"] == pytest.approx(rates[name])
        assert groups[name]["rows"] == int((people.sex == name).sum())
    labelled = people.dropna(subset=["paid"])
    features, decided = labelled.sex, (labelled.p >= 0.5).astype(int)
    paid = labelled.paid.astype(int)
    hits = MetricFrame(metrics=true_positive_rate, y_true=paid, y_pred=decided, sensitive_features=features)
    for name in ("f", "m"):
        assert groups[name]["rates"]["true_positive_rate"]["value"] == pytest.approx(hits.by_group[name])
    assert told["equalized_odds_difference"] == pytest.approx(
        equalized_odds_difference(paid, decided, sensitive_features=features)
    )
    assert told["demographic_parity_ratio"] == pytest.approx(
        demographic_parity_ratio(chosen, chosen, sensitive_features=people.sex)
    )
    assert not groups["(other)"]["is_group"]
    assert groups["(other)"]["differences"] == {}


@pytest.mark.parametrize("attribute", ["sex", "age"])
@pytest.mark.parametrize("threshold", [None, 0.123, 0.8, 1.0])
def test_rows_say_what_sums_say(live: OutcomeRooms, attribute: str, threshold: float | None) -> None:
    where = sources(live)
    asked = {"start": NOON, "end": NOON + HOUR, "threshold": threshold}
    by_sums, by_rows = (
        ask(where, attribute, **asked),
        ask(replace(where, populations=None), attribute, **asked),
    )
    assert (by_sums["source"], by_rows["source"]) == ("partials", "rows")
    if attribute == "sex":  # rows tell apart what the model declares, and call the rest (other), too
        assert [g["group"] for g in by_sums["groups"]] == ["f", "m", "(other)"]
    assert without(by_sums, "source") == without(by_rows, "source")


def test_at_a_threshold_of_its_own_that_no_grid_has_labels_count_exactly(live: OutcomeRooms) -> None:
    where = sources(live, 0.33335)
    told = ask(where, "sex", start=NOON, end=NOON + HOUR)
    by_rows = ask(replace(where, populations=None), "sex", start=NOON, end=NOON + HOUR)
    assert told["selection_threshold"] == 0.333
    for one, other in zip(told["groups"], by_rows["groups"], strict=True):
        for metric, rate in one["rates"].items():
            if metric != "selection_rate":
                assert rate == other["rates"][metric]
    with pytest.raises(QueryError, match="multiple of"):
        ask(where, "sex", threshold=0.1234)


def test_parts_of_a_slice_and_filters_are_read_from_rows(live: OutcomeRooms) -> None:
    where = sources(live)
    part = ask(where, "sex", start=NOON + timedelta(seconds=1), end=NOON + HOUR)
    assert part["source"] == "rows"
    assert part["rows"] == 1500
    old = ask(where, "sex", start=NOON, end=NOON + HOUR, filter=(Condition("age", "gt", 60),))
    rows = direct(live, NOON, NOON + HOUR)
    assert old["rows"] == int((rows.age > 60).sum())
    women = next(g for g in old["groups"] if g["group"] == "f")
    here = rows[(rows.age > 60) & (rows.sex == "f")]
    assert women["rates"]["selection_rate"]["value"] == pytest.approx((here.p >= 0.5).mean())


def test_without_a_window_it_is_the_newest_and_without_an_end_up_to_the_newest(live: OutcomeRooms) -> None:
    where = sources(live)
    newest = ask(where, "sex")
    assert (newest["start"], newest["end"]) == ("2026-03-01T12:05:00Z", "2026-03-01T13:05:00Z")
    assert newest["labelled"] < newest["rows"]
    assert ask(where, "sex", start=NOON)["end"] == "2026-03-01T13:05:00Z"
    assert ask(where, "sex", end=NOON + HOUR)["start"] == "2026-03-01T12:00:00Z"


def test_the_base_group_can_be_chosen(live: OutcomeRooms) -> None:
    where = sources(live)
    men, women = (ask(where, "sex", base_group=base) for base in ("m", "f"))
    assert (men["base_group"], women["base_group"]) == ("m", "f")
    of_women = next(g for g in men["groups"] if g["group"] == "f")["differences"]["accuracy"]
    of_men = next(g for g in women["groups"] if g["group"] == "m")["differences"]["accuracy"]
    assert of_women["value"] == pytest.approx(-of_men["value"])
    assert of_women["low"] == pytest.approx(-of_men["high"])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"attribute": "nobody"}, "attribute:"),
    ({"attribute": "paid"}, "attribute:"),
    ({"attribute": "not_p"}, "attribute:"),
    ({"attribute": "p", "start": NOON, "end": NOON + HOUR}, "attribute: p is FLOAT without bins"),
    ({"attribute": "sex", "base_group": "x'; --"}, "base_group: must be one of the groups: f, m"),
    ({"attribute": "sex", "base_group": "(other)"}, "base_group:"),
    ({"attribute": "sex", "start": NOON + HOUR, "end": NOON}, "end: must be later"),
    ({"attribute": "sex", "start": NOON + timedelta(days=9)}, "start: is later than the newest rows"),
    ({"attribute": "sex", "batch": "b1"}, "batch_id: the model has no batches"),
    ({"attribute": "sex", "filter": (Condition("nobody", "eq", 1),)}, "filter"),
]


@pytest.mark.parametrize(("asked", "reason"), BAD)
def test_what_cannot_be_asked_is_said_by_field(
    live: OutcomeRooms, asked: dict[str, Any], reason: str
) -> None:
    with pytest.raises(QueryError) as told:
        ask(sources(live), **asked)
    assert reason in str(told.value)


def test_a_window_without_rows_has_no_groups_and_no_verdict(live: OutcomeRooms) -> None:
    told = ask(sources(live), "sex", start=NOON - HOUR, end=NOON)
    assert (told["rows"], told["groups"], told["four_fifths"]["verdict"]) == (0, [], "withheld")


def watched(live: OutcomeRooms, **monitoring: Any) -> Told:
    settings = MONITORING.model_copy(update=monitoring)
    told = FairnessWatch().told(Watched(sums(live), ATTRIBUTES, settings))
    assert told is not None
    return told


def test_the_status_tells_what_the_answer_tells_of_the_newest_window(live: OutcomeRooms) -> None:
    report, told = watched(live).report, ask(sources(live), "sex")
    assert report.rows == told["rows"] + 0
    sex = next(one for one in report.attributes if one.attribute == "sex")
    assert sex.four_fifths == told["four_fifths"]["verdict"]
    gaps = {gap.metric: gap for gap in sex.gaps}
    assert gaps["selection_rate"].difference == told["demographic_parity_difference"]
    assert {gaps["accuracy"].lowest, gaps["accuracy"].highest} == {"f", "m"}
    assert report.labelled == told["labelled"]


def test_labels_that_take_their_time_are_told_of_an_older_window(live: OutcomeRooms) -> None:
    report = watched(live, label_delay="1h").report
    assert report.window_end == NOON + HOUR + timedelta(minutes=5)
    assert report.labelled_end == NOON + timedelta(minutes=5)
    assert report.labelled > 0


def test_the_watch_computes_again_only_when_something_changed(live: OutcomeRooms) -> None:
    now = [0.0]
    watch, found = FairnessWatch(lambda: now[0]), sums(live)
    first = watch.told(Watched(found, ATTRIBUTES, MONITORING))
    assert watch.told(Watched(found, ATTRIBUTES, MONITORING)) is first
    assert watch.told(Watched(found, ATTRIBUTES, MONITORING.model_copy(update={"window": "2h"}))) is not first


def test_series_are_bounded_and_name_groups_that_are_declared_only(live: OutcomeRooms) -> None:
    told = watched(live)
    registry = CollectorRegistry()
    registry.register(FairnessCollector(lambda: told, ATTRIBUTES))
    text = generate_latest(registry).decode()
    assert 'modelwarden_fairness{attribute="sex",group="f",metric="selection_rate"}' in text
    assert 'modelwarden_fairness_difference{attribute="age",metric="selection_rate"}' in text
    secret = {name: one.model_copy(update={"categories": ()}) for name, one in ATTRIBUTES.items()}
    registry = CollectorRegistry()
    registry.register(FairnessCollector(lambda: told, secret))
    text = generate_latest(registry).decode()
    assert 'group="f"' not in text
    assert 'modelwarden_fairness_difference{attribute="sex"' in text
    report = FairnessWatch().told(Watched(sums(live), secret, MONITORING))
    assert report is not None
    sex = next(one for one in report.report.attributes if one.attribute == "sex")
    assert {gap.lowest for gap in sex.gaps} == {None}


def test_batches_are_compared_by_name(tmp_path: Path) -> None:
    for rooms in open_outcome_rooms(tmp_path, by_batch=True):
        rooms.send(0, 200, batch="jan")
        rooms.send(500, 300, batch="feb")
        where = replace(sources(rooms), is_batch=True)
        told = ask(where, "sex", batch="feb")
        assert (told["source"], told["rows"], told["batch_id"]) == ("partials", 300, "feb")
        by_rows = ask(replace(where, populations=None), "sex", batch="feb")
        assert without(by_rows, "source") == without(told, "source")
        with pytest.raises(QueryError, match="batch_id"):
            ask(where, "sex")
        assert ask(where, "sex", batch="never")["rows"] == 0
