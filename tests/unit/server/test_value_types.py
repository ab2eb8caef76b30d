"""Every value type: what is taken, as what it is held, why the rest is not; requests and files agree."""

import json
import os
from typing import Any

import pyarrow as pa
import pytest
import row_shapes as shapes
from census_like import identity
from hypothesis import given, settings

from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.fast import FastParser
from modelwarden_server.schema.lists import BOX
from modelwarden_server.schema.parsed import Limits, ParsedRows
from modelwarden_server.schema.parser import LabelParser, Parser
from modelwarden_server.schema.slow import SlowParser
from modelwarden_server.schema.vectors import (
    check_batch,
    check_columns,
    check_label_batch,
    check_label_columns,
)

LONG = os.environ.get("MODELWARDEN_LONG") == "1"
NOON = 1_795_262_400_000_000
LIMITS = Limits(rows=100, string_length=50, latest=NOON + 3_600_000_000)
SCHEMA = compile_schema(identity(shapes.ATTRIBUTES))
IRREGULAR = "the points must be in order of time and all at the same interval: fill gaps with null values"


def parsed(**data: Any) -> ParsedRows:
    return Parser(SCHEMA).parse(json.dumps([shapes.row(**data)]).encode(), LIMITS)


def points(*seconds: float, value: Any = 1.0) -> list[dict[str, Any]]:
    return [{"timestamp": f"2026-01-01T00:00:{s:09.6f}Z", "value": value} for s in seconds]


@pytest.mark.parametrize(
    ("name", "sent", "held"),
    [
        ("picture", "cats/1.png", "cats/1.png"),
        ("labels", [], []),
        ("labels", ["x", "x", ""], ["x", "x", ""]),
        ("words", None, None),
        ("words", ["é"] * 50, ["é"] * 50),
        ("chances", [{"a": 0.25, "c": 0.75}, {"b": 1}], [[("c", 0.75), ("a", 0.25)], [("b", 1.0)]]),
        ("chances", [{"b": 0.5, "a": 0.5}], [[("a", 0.5), ("b", 0.5)]]),
        ("chances", [{"a": 0.9991}], [[("a", 0.9991)]]),
        (
            "ranking",
            [{"item_id": "i"}, {"score": 2, "item_id": "j", "label": "film"}],
            [{"item_id": "i", "label": None, "score": None}, {"item_id": "j", "label": "film", "score": 2.0}],
        ),
        (
            "ranking",
            [{"item_id": "i", "score": float("nan")}],
            [{"item_id": "i", "label": None, "score": None}],
        ),
        (
            "boxes",
            [[3.0, 0.5, 1, 2, 3, 4]],
            [
                {
                    "class_id": 3, "confidence": 0.5, "top_left_x": 1.0, "top_left_y": 2.0,
                    "width": 3.0, "height": 4.0,
                }
            ],
        ),
        ("boxes", [], []),
    ],
)  # fmt: skip
def test_a_list_is_held_as_meant(name: str, sent: Any, held: Any) -> None:
    result = parsed(**{name: sent})
    assert result.refused == {}
    (value,) = result.rows.column(name).to_pylist()
    if name == "chances":
        value = [[(one["token"], one["likelihood"]) for one in entry] for entry in value]
    assert value == held


def test_a_series_is_held_in_microseconds_and_may_have_gaps_of_value() -> None:
    thirds = points(0.0, 0.333333, 0.666667, 1.0, value=None)
    column = parsed(series=thirds).rows.column("series")
    assert [p["value"] for p in column[0].as_py()] == [None] * 4
    times = column.flatten().field("timestamp").cast(pa.int64())
    assert (times[1].as_py() - times[0].as_py(), times.null_count) == (333_333, 0)


@pytest.mark.parametrize(
    ("name", "sent", "says"),
    [
        ("picture", 7, "picture: must be a text, not a number"),
        ("labels", "a", "labels: must be a list of texts, not a text"),
        ("labels", ["a", 1], "labels[1]: must be a text, not a number"),
        ("labels", ["a", None], "labels[1]: must be a text, not null"),
        ("words", ["x" * 51], "words[0]: is longer than 50 characters"),
        ("words", ["x"] * 51, "words: has more than 50 elements: send fewer"),
        ("words", ["\ud800"], "words[0]: is not valid Unicode: half of a surrogate pair"),
        ("chances", {"a": 1}, "chances: must be a list of maps of tokens to likelihoods, not an object"),
        ("chances", [["a", 1]], "chances[0]: must be a map of tokens to likelihoods, not a list"),
        (
            "chances",
            [dict.fromkeys("abcdef", 1 / 6)],
            "chances[0]: has more than 5 tokens: send the most likely ones",
        ),
        (
            "chances",
            [{"a": 1}, {"a": 0.9}],
            "chances[1]: its likelihoods must sum to 1 (within 0.001): normalise them over the tokens sent",
        ),
        (
            "chances",
            [{}],
            "chances[0]: its likelihoods must sum to 1 (within 0.001): normalise them over the tokens sent",
        ),
        ("chances", [{"a": 1.5, "b": -0.5}], "chances[0]: a likelihood must be from 0 to 1"),
        ("chances", [{"a": None}], "chances[0]: must be a number, not null"),
        ("ranking", [{"item_id": "a"}] * 101, "ranking: has more than 100 elements: send fewer"),
        ("ranking", ["a"], "ranking[0]: must be an object with an item_id, not a text"),
        ("ranking", [{"score": 1}], "ranking[0].item_id: is required"),
        ("ranking", [{"item_id": 1}], "ranking[0].item_id: must be a text, not a number"),
        ("ranking", [{"item_id": "a", "label": 1}], "ranking[0].label: must be a text, not a number"),
        ("ranking", [{"item_id": "a", "score": "1"}], "ranking[0].score: must be a number, not a text"),
        (
            "ranking",
            [{"item_id": "a", "rank": 1}],
            "ranking[0]: has an unknown key: it may have item_id, label, score",
        ),
        (
            "boxes",
            [[1, 2, 3, 4, 5]],
            f"boxes[0]: must be a list of six numbers: {', '.join(BOX)}",
        ),
        ("boxes", [[0.5, 0, 0, 0, 0, 0]], "boxes[0].class_id: must be a whole number"),
        (
            "boxes",
            [[-1, 0, 0, 0, 0, 0]],
            "boxes[0].class_id: must be the place of a class in imageClassLabels, counted from 0",
        ),
        ("boxes", [[1, 0, 0, 0, 0, None]], "boxes[0].height: must be a number, not null"),
        (
            "boxes",
            [[1, float("inf"), 0, 0, 0, 0]],
            "boxes[0].confidence: is infinite or too large for a 64-bit float",
        ),
        ("series", points(*range(501)), "series: has more than 500 elements: send fewer"),
        ("series", [7], "series[0]: must be an object with a timestamp and a value, not a number"),
        ("series", [{"value": 1}], "series[0].timestamp: is required"),
        ("series", points(0, value="x"), "series[0].value: must be a number, not a text"),
        (
            "series",
            points(0, 1, 3),
            f"series: {IRREGULAR}",
        ),
        (
            "series",
            points(1, 0),
            f"series: {IRREGULAR}",
        ),
    ],
)  # fmt: skip
def test_a_list_is_refused_by_attribute_element_and_reason(name: str, sent: Any, says: str) -> None:
    assert parsed(**{name: sent}).refused == {0: says}


def test_ranges_categories_and_uniqueness_are_advice_only() -> None:
    attributes = [dict(a) for a in shapes.census.ATTRIBUTES]
    attributes[0] |= {"minRange": 0, "maxRange": 10, "isUnique": True}
    attributes[2] |= {"categories": [{"value": "MA"}]}
    schema = compile_schema(identity(attributes))
    rows = [shapes.census.row(str(i), age=99, state="new") for i in range(2)]
    result = Parser(schema).parse(json.dumps(rows).encode(), LIMITS)
    assert (result.refused, result.rows.num_rows) == ({}, 2)


@settings(max_examples=2000 if LONG else 20, deadline=None)
@given(shapes.any_rows())
def test_requests_and_files_take_the_same_rows_with_the_same_result(rows: list[dict[str, Any]]) -> None:
    body = json.dumps(rows).encode()
    slow = SlowParser(SCHEMA).parse(body, LIMITS)
    fast = FastParser(SCHEMA, LIMITS.string_length).parse(body, LIMITS)
    batch = shapes.as_file(rows)
    assert check_columns(SCHEMA, batch.schema) == ()
    vectors = check_batch(SCHEMA, batch, LIMITS)
    assert vectors.refused == slow.refused
    assert_same(vectors, slow)
    if fast is not None:
        assert slow.refused == {}
        assert_same(fast, slow)


def assert_same(one: ParsedRows, other: ParsedRows) -> None:
    assert one.rows.equals(other.rows) or str(one.rows.to_pylist()) == str(other.rows.to_pylist())
    assert one.truth.equals(other.truth)
    assert (list(one.places), list(one.truth_rows)) == (list(other.places), list(other.truth_rows))


@settings(max_examples=500 if LONG else 8, deadline=None)
@given(shapes.any_rows())
def test_labels_of_requests_and_of_files_agree(rows: list[dict[str, Any]]) -> None:
    labels = [
        {k: row.get(k) for k in ("partner_inference_id", "ground_truth_timestamp")}
        | {"ground_truth_data": row.get("ground_truth_data", {})}
        for row in rows
    ]
    sent = LabelParser(SCHEMA).parse(json.dumps(labels).encode(), LIMITS)
    batch = shapes.as_file(rows).select(["partner_inference_id", "ground_truth_timestamp", "gt"])
    assert check_label_columns(SCHEMA, batch.schema) == ()
    filed = check_label_batch(SCHEMA, batch, LIMITS)
    assert (filed.refused, list(filed.places)) == (sent.refused, list(sent.places))
    assert filed.labels.equals(sent.labels)


@settings(max_examples=500 if LONG else 8, deadline=None)
@given(shapes.any_rows())
def test_a_row_of_a_file_may_be_flat_or_nested(rows: list[dict[str, Any]]) -> None:
    flat = [
        {k: v for k, v in row.items() if not isinstance(v, dict)}
        | row["inference_data"]
        | row.get("ground_truth_data", {})
        for row in rows
    ]
    nested = Parser(SCHEMA).parse_elements(iter(rows), LIMITS)
    again = Parser(SCHEMA).parse_elements(iter(flat), LIMITS)
    assert nested.refused == again.refused
    assert_same(nested, again)
