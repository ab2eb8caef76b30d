"""Which rows the door takes and why it refuses the others; that both paths of the parser agree."""

import json
from typing import Any

import census_like as census
import pyarrow as pa
import pytest
from flat_rows import any_row
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.schema.compiled import CompiledSchema, compile_schema
from modelwarden_server.schema.fast import FastParser
from modelwarden_server.schema.instants import instant, instants
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedRows, TooManyRowsError
from modelwarden_server.schema.parser import Parser
from modelwarden_server.schema.slow import SlowParser

NOON = 1_795_262_400_000_000
LIMITS = Limits(rows=100, string_length=50, latest=NOON + 3_600_000_000)
SCHEMA = compile_schema(census.identity())
NO_INSTANT = "must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00+00:00"
AHEAD = "is too far in the future: check the clock of the sender, or raise ingest.maxFuture"


def parsed(*rows: Any, schema: CompiledSchema = SCHEMA) -> ParsedRows:
    return Parser(schema).parse(census.body(*rows), LIMITS)


def reason(**data: Any) -> str:
    return parsed(census.row(**data)).refused[0]


def test_good_rows_become_columns_in_the_order_of_the_request() -> None:
    rows = [census.row("a", age=1), census.row("b", age=2, note="hello", joined="2020-02-02T00:00:00Z")]
    result = parsed(*rows)
    assert result.rows.column("partner_inference_id").to_pylist() == ["a", "b"]
    assert result.rows.column("age").to_pylist() == [1, 2]
    assert result.rows.column("note").to_pylist() == [None, "hello"]
    assert (result.total, result.refused, list(result.places)) == (2, {}, [0, 1])
    assert result.rows.schema == SCHEMA.inference_record


def test_a_bad_row_among_good_ones_is_named_and_the_others_taken() -> None:
    result = parsed(census.row("a"), census.row("b", age="old"), census.row("c", truth=1))
    assert result.rows.column(0).to_pylist() == ["a", "c"]
    assert list(result.places) == [0, 2]
    assert result.refused == {1: "age: must be a whole number, not a text"}
    assert (result.truth.column("gt").to_pylist(), list(result.truth_rows)) == ([1], [1])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"age": ...}, "age: is missing"),
        ({"pred": ...}, "pred: is missing"),
        ({"pred": None}, "pred: is required: a prediction needs a value"),
        ({"pred": float("nan")}, "pred: is required: a prediction needs a value"),
        ({"age": 1.5}, "age: must be a whole number"),
        ({"age": True}, "age: must be a whole number, not a boolean"),
        ({"age": "1"}, "age: must be a whole number, not a text"),
        ({"age": 2**63}, "age: does not fit into 64 bits"),
        ({"age": float("inf")}, "age: must be a whole number"),
        ({"income": float("-inf")}, "income: is infinite or too large for a 64-bit float"),
        ({"income": 10**400}, "income: is infinite or too large for a 64-bit float"),
        ({"income": False}, "income: must be a number, not a boolean"),
        ({"state": 7}, "state: must be a text, not a number"),
        ({"state": "x" * 51}, "state: is longer than 50 characters"),
        ({"note": "\ud800"}, "note: is not valid Unicode: half of a surrogate pair"),
        ({"married": 1}, "married: must be true or false, not a number"),
        ({"joined": "yesterday"}, f"joined: {NO_INSTANT}"),
        ({"joined": 5}, "joined: must be a text like 2026-01-31T12:00:00+00:00, not a number"),
        ({"agge": 1}, "agge: unknown attribute"),
        ({"gt": 1}, "gt: belongs into ground_truth_data"),
        ({"not_pred": 0.75}, "not_pred: is derived from another attribute and must not be sent"),
        ({"at": "2026-11-21T12:00:00"}, f"inference_timestamp: {NO_INSTANT}"),
        ({"at": "2026-11-21T13:00:01Z"}, f"inference_timestamp: {AHEAD}"),
        ({"id": None}, "partner_inference_id: is required"),
        ({"id": ""}, "partner_inference_id: is required"),
        ({"id": True}, "partner_inference_id: must be a text, not a boolean"),
        ({"id": "x" * 513}, "partner_inference_id: is longer than 512 characters"),
    ],
)
def test_a_row_is_refused_by_name_and_reason(data: dict[str, Any], says: str) -> None:
    assert reason(**data) == says


@pytest.mark.parametrize(
    ("sent", "name", "held"),
    [
        (1.0, "age", 1),
        (None, "age", None),
        (float("nan"), "age", None),
        (-(2**63), "age", -(2**63)),
        (3, "income", 3.0),
        (None, "income", None),
        (None, "state", None),
        (float("nan"), "state", None),
        ("NaN and Infinity", "note", "NaN and Infinity"),
        ("zero\x00byte", "note", "zero\x00byte"),
        (None, "joined", None),
    ],
)
def test_what_clients_send_for_a_value_is_held_as_meant(sent: Any, name: str, held: Any) -> None:
    result = parsed(census.row(**{name: sent}), census.row("other", truth=float("nan")))
    assert result.refused == {}
    assert result.rows.column(name).to_pylist()[0] == held


def test_nan_in_a_float_input_is_not_the_same_as_a_missing_one() -> None:
    values = parsed(census.row("a", income=float("nan")), census.row("b", income=None)).rows.column("income")
    assert (values.null_count, str(values[0].as_py()), values[1].as_py()) == (1, "nan", None)


@pytest.mark.parametrize(
    ("sent", "held"), [(7, "7"), (7.0, "7"), ("7", "7"), (7.5, "7.5"), (10**30, "1" + "0" * 30)]
)
def test_ids_that_are_numbers_become_their_digits(sent: Any, held: str) -> None:
    assert parsed(census.row(sent)).rows.column(0).to_pylist() == [held]


def test_of_a_key_that_comes_twice_the_last_counts_on_both_paths() -> None:
    text = census.body(census.row()).decode().replace('"age": 41', '"age": 41, "age": 42')
    for body in (text, text.replace('"state": "MA"', '"state": NaN')):
        assert Parser(SCHEMA).parse(body.encode(), LIMITS).rows.column("age").to_pylist() == [42]


def test_a_label_that_is_nan_or_null_leaves_an_inference_without_a_label() -> None:
    result = parsed(
        census.row("a", truth=float("nan")), census.row("b", truth=0), census.row("c", truth=None)
    )
    assert (result.truth.column(0).to_pylist(), result.rows.num_rows) == (["b"], 3)


def test_a_label_needs_its_time() -> None:
    row = census.row(truth=1)
    del row["ground_truth_timestamp"]
    assert parsed(row).refused == {0: "ground_truth_timestamp: is required"}


def test_unknown_fields_and_rows_that_are_no_objects_are_named() -> None:
    result = parsed(
        census.row() | {"model": "x"}, 7, {"inference_data": []}, census.row() | {"ground_truth_data": 1}
    )
    assert result.refused[0] == "model: unknown field"
    assert result.refused[1] == "the row must be an object, not a number"
    assert "inference_data: must be an object, not a list" in result.refused[2]
    assert result.refused[3] == "ground_truth_data: must be an object, not a number"


def test_messages_are_bounded() -> None:
    message = parsed(census.row(**{f"unknown_{i}": 1 for i in range(40)}, **{"x" * 5000: 1})).refused[0]
    assert message.endswith("; and 36 more")
    assert len(message) < 700


@pytest.mark.parametrize("batch", ["b1", 7])
def test_a_batch_model_needs_a_batch_and_another_refuses_it(batch: Any) -> None:
    batches = compile_schema(census.identity(isBatch=True))
    assert parsed(census.row() | {"batch_id": batch}, schema=batches).rows.column("batch_id").to_pylist() == [
        str(batch)
    ]
    assert parsed(census.row() | {"batch_id": ""}, schema=batches).refused == {
        0: "batch_id: is required: this is a batch model"
    }
    assert parsed(census.row() | {"batch_id": batch}).refused == {
        0: "batch_id: must be left out: this is not a batch model"
    }
    assert parsed(census.row() | {"batch_id": ""}).refused == {}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b"  \n", "the body is empty"),
        (b'{"inference_data": {}}', "the body must be a list"),
        (b"7", "the body is not JSON"),
        (b"[1, 2", "',' or ']' expected at character 5"),
        (b"[1, 2,]", "Expecting value at character 6"),
        (b"[] x", "something follows the list at character 3"),
        (b'["\xff"]', "the body is not UTF-8: bad byte at position 2"),
        (b"\xef\xbb\xbf[]", "the body is not JSON"),
        (b"[" * 100_000, "too deep a nesting"),
        (b"[" + b"1" * 5000 + b"]", "too long a number"),
        (b'["\x01"]', "Invalid control character at at character 2"),
    ],
)
def test_a_body_that_is_no_list_is_refused_with_the_place(body: bytes, says: str) -> None:
    with pytest.raises(BodyError, match=says.replace("[", r"\[").replace("]", r"\]")):
        Parser(SCHEMA).parse(body, LIMITS)


def test_an_empty_list_is_an_empty_request() -> None:
    result = parsed()
    assert (result.total, result.rows.num_rows, result.refused) == (0, 0, {})


@pytest.mark.parametrize("bad", [0, 1])
def test_too_many_rows_are_refused_as_a_whole(bad: int) -> None:
    rows = [census.row(i) for i in range(101)]
    rows[0]["inference_data"]["age"] = "x" if bad else 1
    with pytest.raises(TooManyRowsError, match="at most 100"):
        parsed(*rows)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T19:00:00-0500", 0),
        ("1970-01-01 00:00:00.5Z", 500_000),
        ("1970-01-01T00:00:00.1234569Z", 123_456),
        ("1970-01-01T00:00:00.123456789+00:00", 123_456),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("0001-01-01T00:00:00+05:00", None),
        ("0001-01-01T05:00:00+05:00", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59-05:00", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:00:60Z", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01", None),
        ("٢٠٢٦-01-01T00:00:00Z", None),
        ("\ud800", None),
    ],
)
def test_instants_are_iso_8601_with_a_zone(text: str, micros: int | None) -> None:
    assert instant(text) == micros
    if micros is None:
        with pytest.raises(ValueError):
            instants([text])
    else:
        assert instants([text]).view(pa.int64()).to_pylist() == [micros]


def test_attributes_may_have_the_names_of_python_keywords() -> None:
    attributes = [census.attribute("class", "STRING", "PIPELINE_INPUT"), *census.ATTRIBUTES]
    schema = compile_schema(census.identity(attributes))
    row = census.row(**{"class": "a"})
    assert parsed(row, schema=schema).rows.column("class").to_pylist() == ["a"]


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(any_row(), max_size=3), st.sampled_from([1, 20]))
def test_what_the_fast_path_takes_the_slow_path_takes_alike(rows: list[Any], times: int) -> None:
    rows = rows * times
    body = json.dumps(rows).encode()
    slow = SlowParser(SCHEMA).parse(body, LIMITS)
    fast = FastParser(SCHEMA, LIMITS.string_length).parse(body, LIMITS)
    assert slow.total == len(rows)
    assert sorted([*slow.places, *slow.refused]) == list(range(len(rows)))
    if fast is not None:
        assert slow.refused == {}
        assert fast.rows.equals(slow.rows)
        assert fast.truth.equals(slow.truth)
        assert list(fast.truth_rows) == list(slow.truth_rows)


@settings(max_examples=settings().max_examples // 2)
@given(st.lists(any_row(), min_size=1, max_size=2))
def test_a_good_strict_request_takes_the_fast_path(rows: list[Any]) -> None:
    text = json.dumps(rows)
    slow = SlowParser(SCHEMA).parse(text.encode(), LIMITS)
    lenient = "NaN" in text or any("ground_truth_timestamp" in r or "ground_truth_data" in r for r in rows)
    if not slow.refused and not lenient:
        assert FastParser(SCHEMA, LIMITS.string_length).parse(text.encode(), LIMITS) is not None


@given(st.binary(max_size=40) | st.text(max_size=20).map(lambda t: f"[{t}]".encode()))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    try:
        result = Parser(SCHEMA).parse(body, LIMITS)
    except BodyError:
        return
    assert result.total == result.rows.num_rows + len(result.refused)
