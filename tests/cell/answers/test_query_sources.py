"""What a query reads: inferences with their newest labels, labels alone, reference rows, partials."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from census_like import ATTRIBUTES, attribute
from sql_rooms import NOON, SqlRooms, call

from modelwarden_server.query.filters import Span
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.answer import Page
from modelwarden_server.query.sql.partial_counts import periods

GOOD = {"age": 1, "income": 1.0, "state": "MA", "married": True, "pred": 0.5}
LABEL = {"partner_inference_id": "i-0", "gt": 1}
LATER = NOON + timedelta(days=40)
COUNT = call("count")


@pytest.fixture
def rooms(tmp_path, engine) -> SqlRooms:
    return SqlRooms.of(tmp_path, engine, ATTRIBUTES)


def labels_of(rooms: SqlRooms) -> list[Any]:
    return [row["gt"] for row in rooms.ask({"property": "gt"})]


def test_the_label_that_arrived_last_wins_wherever_it_stands(rooms):
    rooms.store([GOOD, GOOD, GOOD])
    rooms.label([LABEL | {"gt": 0, "received_timestamp": LATER}])
    rooms.label([LABEL | {"gt": 1}, {"partner_inference_id": "i-2", "gt": 1}])
    assert labels_of(rooms) == [0, None, 1]
    rooms.label([LABEL | {"gt": 1, "received_timestamp": LATER}])
    assert labels_of(rooms) == [1, None, 1], (
        "of two that arrived at once, the later in the table is the newer"
    )


def test_a_label_that_was_taken_back_is_no_label(rooms):
    rooms.store([GOOD])
    rooms.label([LABEL])
    rooms.label([LABEL | {"gt": None, "received_timestamp": LATER}])
    assert labels_of(rooms) == [None]
    assert rooms.one("accuracyRate") is None


def test_ground_truth_has_a_row_for_each_id_that_ever_got_a_label(rooms):
    rooms.store([GOOD])
    rooms.label([LABEL, LABEL | {"gt": 0}, {"partner_inference_id": "not-yet-seen", "gt": 1}])
    given = [{"property": name, "comparator": "NotNull"} for name in ("gt", "not_gt")]
    assert rooms.ask(COUNT, from_="ground_truth", filter=given) == [{"count": 2}]
    rows = rooms.ask("*", from_="ground_truth", order_by=[{"property": "partner_inference_id"}])
    assert [(row["partner_inference_id"], row["gt"], row["not_gt"]) for row in rows] == [
        ("i-0", 0, 1),
        ("not-yet-seen", 1, 0),
    ]
    with pytest.raises(QueryError, match="age is not among the columns of ground_truth"):
        rooms.ask({"property": "age"}, from_="ground_truth")


def test_reference_rows_bring_their_labels_with_them(rooms):
    rooms.refer([GOOD | {"gt": i % 2, "pred": 0.9} for i in range(10)])
    found = rooms.ask(COUNT, call("accuracyRate"), call("avg", property="not_pred"), from_="reference")[0]
    assert found == {"count": 10, "accuracyRate": 0.5, "avg": pytest.approx(0.1)}
    assert set(rooms.ask("*", from_="reference", limit=1)[0]) == {
        *(a["name"] for a in ATTRIBUTES), "not_pred", "not_gt"
    }  # fmt: skip


def test_everything_is_all_documented_columns_of_an_inference(rooms):
    rooms.store([GOOD | {"joined": NOON, "note": "n"}])
    rooms.label([LABEL])
    row = rooms.ask("*")[0]
    assert row.pop("inference_id") == rooms.ask({"property": "inference_id"})[0]["inference_id"]
    assert row == {
        **GOOD,
        "partner_inference_id": "i-0",
        "inference_timestamp": "2026-03-01T12:00:00Z",
        "received_timestamp": "2026-03-01T12:00:00Z",
        "ground_truth_timestamp": "2026-03-01T12:00:00Z",
        "joined": "2026-03-01T12:00:00Z",
        "note": "n",
        "gt": 1,
        "not_gt": 0,
        "not_pred": 0.5,
    }
    assert rooms.ask("*", from_="enriched")[0] == rooms.ask({"property": "*"})[0]


def test_pages_of_an_answer_fit_together_and_stay_within_the_limit(rooms):
    rooms.store([GOOD | {"age": int(a)} for a in np.random.default_rng(0).permutation(50)])
    rooms.label([LABEL])
    select = [{"property": "age"}, {"property": "gt"}]
    whole = rooms.ask(*select, limit=45)
    pages = [rooms.answer(Page(n, 20), select=select, limit=45)["query_result"] for n in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [20, 20, 5, 0]
    assert [row for page in pages for row in page] == whole
    assert whole == rooms.ask(*select)[:45]
    assert rooms.ask(*select, limit=5, offset=40) == whole[40:]


def test_a_page_finds_the_newest_labels_of_its_rows_whatever_it_filters(rooms):
    rooms.store([GOOD | {"age": age} for age in range(40)])
    rooms.label([{"partner_inference_id": f"i-{i}", "gt": 0} for i in range(0, 40, 2)])
    rooms.label([{"partner_inference_id": f"i-{i}", "gt": 1} for i in range(0, 40, 4)])
    newest = {i: int(i % 4 == 0) for i in range(0, 40, 2)}
    old = {"property": "age", "comparator": "gte", "value": 10}
    columns = [{"property": "age"}, {"property": "gt"}]
    page = rooms.ask(*columns, filter=[old], limit=7, offset=3)
    assert [(row["age"], row["gt"]) for row in page] == [(i, newest.get(i)) for i in range(13, 20)]
    right = {"property": "gt", "comparator": "eq", "value": 1}
    page = rooms.ask(*columns, filter=[old, right], limit=2, offset=1)
    assert [(row["age"], row["gt"]) for row in page] == [(16, 1), (20, 1)]
    inner = {"select": columns, "filter": [old], "limit": 7}
    assert rooms.ask(COUNT, call("sum", property="gt"), subquery=inner) == [{"count": 7, "sum": 2}]


def test_groups_come_in_the_order_of_their_keys_and_nulls_last(rooms):
    rooms.store([GOOD | {"state": state} for state in ("z", None, "a", "m", "a")])
    rows = rooms.ask({"property": "state"}, COUNT, group_by=["state"])
    assert [(row["state"], row["count"]) for row in rows] == [("a", 2), ("m", 1), ("z", 1), (None, 1)]


def test_a_key_is_known_by_its_alias_and_by_its_name(rooms):
    rooms.store([GOOD | {"state": state} for state in "bab"])
    renamed = {"property": "state", "alias": "where"}
    for key in ({"alias": "where"}, {"property": "state"}):
        rows = rooms.ask(
            renamed, COUNT, group_by=[key], order_by=[{"property": "state", "direction": "desc"}]
        )
        assert rows == [{"where": "b", "count": 2}, {"where": "a", "count": 1}]


def test_a_sample_is_the_same_rows_every_time_and_says_its_share(rooms):
    rooms.store([GOOD for _ in range(4000)])
    one = rooms.answer(select=[{"property": "partner_inference_id"}], sample=0.25)
    again = rooms.answer(select=[{"property": "partner_inference_id"}, "*"][:1], sample=0.25)
    assert one == again
    assert one["sampling_threshold"] == 0.25
    assert 850 < len(one["query_result"]) < 1150
    some = rooms.answer(select=[COUNT], sample=1000)
    assert some["sampling_threshold"] == 0.25
    assert some["query_result"] == [{"count": len(one["query_result"])}]
    assert rooms.ask(COUNT, sample=10**6) == [{"count": 4000}]


def test_filters_on_time_are_exact_to_the_microsecond(rooms):
    rooms.store([GOOD | {"inference_timestamp": NOON + timedelta(microseconds=n)} for n in range(10)])

    def count(comparator: str, at: str) -> int:
        condition = {"property": "inference_timestamp", "comparator": comparator, "value": at}
        return rooms.ask(COUNT, filter=[condition])[0]["count"]

    at = "2026-03-01T13:00:00.000004+01:00"
    counts = {comparator: count(comparator, at) for comparator in ("eq", "gt", "gte", "lt", "lte", "ne")}
    assert counts == {"eq": 1, "gt": 5, "gte": 6, "lt": 4, "lte": 5, "ne": 9}


def test_a_filter_on_an_aggregate_chooses_groups(rooms):
    rooms.store([GOOD | {"state": state} for state in "aaabbc"])
    more = [{"alias": "count", "comparator": "gte", "value": 2}]
    rows = rooms.ask({"property": "state"}, COUNT, group_by=["state"], filter=more)
    assert [(row["state"], row["count"]) for row in rows] == [("a", 3), ("b", 2)]


def test_a_transform_can_be_filtered_grouped_and_ordered_by_its_alias(rooms):
    rooms.store([GOOD | {"age": age} for age in (10, 20, 30, 70, 80)])
    band = call("if", "band", property="age", comparator="lt", value=65, then="young", else_="old")
    rows = rooms.ask(band, COUNT, group_by=[{"alias": "band"}], order_by=[{"alias": "count"}])
    assert rows == [{"band": "old", "count": 2}, {"band": "young", "count": 3}]
    old = rooms.ask({"property": "age"}, band, filter=[{"alias": "band", "comparator": "eq", "value": "old"}])
    assert [row["age"] for row in old] == [70, 80]


def test_no_rows_at_all_are_an_answer(rooms):
    assert rooms.ask(COUNT) == [{"count": 0}]
    assert rooms.ask("*") == []
    assert rooms.ask(COUNT, from_="ground_truth") == [{"count": 0}]
    assert rooms.ask(COUNT, rollup="day") == []


def test_names_that_differ_only_in_case_stay_apart_in_an_answer(rooms):
    rooms.store([GOOD])
    row = rooms.ask({"property": "age", "alias": "X"}, {"property": "state", "alias": "x"})[0]
    assert row == {"X": 1, "x": "MA"}


def test_a_model_whose_predictions_are_texts_or_classes_of_numbers_is_scored(tmp_path, engine):
    classes = [{"value": "1"}, {"value": "0"}]
    attributes = [
        attribute("x", "FLOAT", "PIPELINE_INPUT"),
        attribute("p", "FLOAT", "PREDICTED_VALUE", gtClassLink="1", position=1),
        attribute(
            "gt",
            "INTEGER",
            "GROUND_TRUTH_CLASS",
            categorical=True,
            categories=classes,
        ),
    ]
    rooms = SqlRooms.of(tmp_path, engine, attributes)
    rooms.store([{"x": 1.0, "p": p} for p in (0.9, 0.8, 0.2)])
    rooms.label([{"partner_inference_id": f"i-{i}", "gt": gt} for i, gt in enumerate((1, 0, 0))])
    assert rooms.one("accuracyRate") == pytest.approx(2 / 3)
    assert rooms.one("auc") == 1.0
    counts = {"true_positive": 1, "false_positive": 1, "true_negative": 1, "false_negative": 0}
    assert rooms.one("confusionMatrix", threshold=0.5) == counts


def test_periods_cover_the_days_that_have_rows_and_no_more():
    day = 288
    found = list(periods([10, 12], Span(10 * day + 5, 12 * day + 7), "day"))
    assert [(low, high) for _, low, high in found] == [(10 * day + 5, 11 * day), (12 * day, 12 * day + 7)]
    assert [f"{start:%Y-%m-%d}" for start, _, _ in found] == ["1970-01-11", "1970-01-13"]
    assert list(periods([], Span(), "day")) == []
