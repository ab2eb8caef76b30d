"""Columns of files in all the types that writers use: taken as meant, or refused by name."""

import decimal
from datetime import UTC, datetime
from typing import Any

import census_like as census
import numpy as np
import pyarrow as pa
import pytest
import row_shapes as shapes

from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedRows
from modelwarden_server.schema.vectors import check_batch, check_columns, check_label_columns

SCHEMA = compile_schema(census.identity(shapes.ATTRIBUTES))
LIMITS = Limits(rows=100, string_length=50, latest=1 << 60)


def checked(**columns: Any) -> ParsedRows:
    """A file of good rows with some columns replaced."""
    rows = len(next(iter(columns.values())))
    batch = shapes.as_file([shapes.row(f"r{i}") for i in range(rows)])
    for name, column in columns.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, column)
    assert check_columns(SCHEMA, batch.schema) == ()
    return check_batch(SCHEMA, batch, LIMITS)


TICKS = [0, -1, 1_700_000_000_123_456_789]


@pytest.mark.parametrize(
    ("name", "column", "held"),
    [
        ("age", pa.array([1, None], pa.int8()), [1, None]),
        ("age", pa.array([1.0, float("nan")], pa.float32()), [1, None]),
        ("age", pa.array([2**63 - 1], pa.uint64()), [2**63 - 1]),
        ("age", pa.array([-(2.0**63)]), [-(2**63)]),
        ("age", pa.nulls(1), [None]),
        ("age", pa.array([7, 7]).dictionary_encode(), [7, 7]),
        ("income", pa.array([decimal.Decimal("1.25")]), [1.25]),
        ("income", pa.array(np.array([0.5], np.float16)), [0.5]),
        ("income", pa.array([2**60 + 1]), [float(2**60)]),
        ("pred", pa.array([1], pa.int64()), [1.0]),
        ("note", pa.array(["é" * 50], pa.large_string()), ["é" * 50]),
        ("joined", pa.array([0], pa.timestamp("s", "Europe/Paris")), [datetime(1970, 1, 1, tzinfo=UTC)]),
        (
            "joined",
            pa.array(TICKS, pa.timestamp("ns", "UTC")),
            [
                datetime(1970, 1, 1, tzinfo=UTC),
                datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
                datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=UTC),
            ],
        ),
        ("labels", pa.array([["a"], None, []], pa.list_(pa.string())), [["a"], None, []]),
        ("labels", pa.array([["a", "b"]], pa.list_(pa.string(), 2)), [["a", "b"]]),
        ("labels", pa.array([[]], pa.list_(pa.null())), [[]]),
        ("words", pa.array([["a", "a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), [["a", "a"]]),
    ],
)  # fmt: skip
def test_values_are_taken_from_any_type_that_can_hold_them(name: str, column: pa.Array, held: Any) -> None:
    result = checked(**{name: column})
    assert result.refused == {}
    assert result.rows.column(name).to_pylist() == held


def test_likelihoods_come_as_structs_of_all_tokens_of_the_file_as_maps_or_as_our_own_column() -> None:
    sent = [[{"a": 0.25, "z": 0.75}, {"b": 1.0}], None, []]
    held = [
        [
            [{"token": "z", "likelihood": 0.75}, {"token": "a", "likelihood": 0.25}],
            [{"token": "b", "likelihood": 1.0}],
        ],
        None,
        [],
    ]
    kinds = [pa.struct([(t, pa.float64()) for t in ("a", "b", "z")]), pa.map_(pa.string(), pa.float64())]
    columns = [pa.array(sent, pa.list_(kinds[0]))]
    pairs = [None if row is None else [list(entry.items()) for entry in row] for row in sent]
    columns.append(pa.array(pairs, pa.list_(kinds[1])))
    columns.append(pa.array(held, SCHEMA.inference_record.field("chances").type))
    for column in columns:
        result = checked(chances=column)
        assert (result.refused, result.rows.column("chances").to_pylist()) == ({}, held)


def test_boxes_series_and_ranked_items_are_taken_back_as_our_own_columns() -> None:
    sample = {
        "boxes": [[1, 0.5, 1, 2, 3, 4]],
        "series": shapes.LISTS["series"],
        "ranking": [{"item_id": "a", "label": None, "score": 0.5}],
    }
    first = check_batch(SCHEMA, shapes.as_file([shapes.row("r0", **sample)]), LIMITS).rows
    again = checked(**{name: first.column(name) for name in sample})
    assert again.refused == {}
    assert again.rows.select(list(sample)).equals(first.select(list(sample)))
    nanoseconds = pa.list_(pa.struct([("value", pa.int8()), ("timestamp", pa.timestamp("ns", "UTC"))]))
    points = [[{"timestamp": 1_000_000_000 * i, "value": i} for i in range(3)]]
    assert checked(series=pa.array(points, nanoseconds)).refused == {}


@pytest.mark.parametrize(
    ("name", "column", "says"),
    [
        ("age", pa.array([1.5]), "age: must be a whole number"),
        ("age", pa.array([2**63], pa.uint64()), "age: does not fit into 64 bits"),
        ("age", pa.array([2.0**63]), "age: does not fit into 64 bits"),
        ("note", pa.array([b"\xff"], pa.binary()).view(pa.string()), "note: is not valid UTF-8"),
        ("labels", pa.array([["a", None]]), "labels[1]: must be a text, not null"),
        ("labels", pa.array([["x"] * 51]), "labels: has more than 50 elements: send fewer"),
        ("words", pa.array([["x" * 51]]), "words[0]: is longer than 50 characters"),
        ("boxes", pa.array([[None]], pa.list_(pa.list_(pa.float64()))), "boxes[0]: must be a list of six"),
        ("ranking", pa.array([["a"]]), "ranking[0]: must be an object with an item_id, not a text"),
        ("joined", pa.array([2**60], pa.timestamp("s", "UTC")), "joined: must be an ISO 8601 time"),
        ("partner_inference_id", pa.array([""]), "partner_inference_id: is required"),
        ("partner_inference_id", pa.array([float("nan")]), "partner_inference_id: is required"),
    ],
)  # fmt: skip
def test_a_value_is_refused_by_name_and_the_rows_beside_it_taken(
    name: str, column: pa.Array, says: str
) -> None:
    good = shapes.as_file([shapes.row("good")]).column(name).cast(pa.string()) if name == "note" else None
    result = checked(**{name: column if good is None else pa.concat_arrays([column, good])})
    assert result.refused[0].startswith(says)
    assert result.rows.num_rows == (1 if name == "note" else 0)


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.float64(), pa.string(), pa.dictionary(pa.int8(), pa.int64())]
)
def test_ids_that_are_numbers_become_their_digits(kind: pa.DataType) -> None:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    column = pa.array([7, 8], pa.int64()).cast(plain)
    column = column.dictionary_encode() if plain is not kind else column
    assert checked(partner_inference_id=column).rows.column(0).to_pylist() == ["7", "8"]


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("age", pa.string(), "column age is string: an attribute of type INTEGER needs whole numbers"),
        ("state", pa.int64(), "column state is int64: an attribute of type STRING needs text"),
        ("married", pa.int8(), "an attribute of type BOOLEAN needs booleans"),
        ("joined", pa.timestamp("us"), "needs timestamps with a zone"),
        ("inference_timestamp", pa.timestamp("us"), "inference_timestamp is timestamp.us.: it must hold"),
        ("partner_inference_id", pa.bool_(), "partner_inference_id is bool: it must hold texts"),
        ("words", pa.string(), "an attribute of type TOKENS needs lists of text"),
        ("series", pa.list_(pa.struct([("timestamp", pa.timestamp("us"))])), "TIME_SERIES needs lists"),
    ],
)
def test_a_column_of_a_type_that_cannot_be_taken_is_named(name: str, kind: pa.DataType, says: str) -> None:
    found = shapes.as_file([shapes.row()]).schema
    found = found.set(found.get_field_index(name), pa.field(name, kind))
    with pytest.raises(BodyError, match=says):
        check_columns(SCHEMA, found)


def test_missing_doubled_and_foreign_columns_are_named() -> None:
    found = shapes.as_file([shapes.row()]).schema
    without = pa.schema([field for field in found if field.name not in ("age", "pred")])
    with pytest.raises(BodyError, match="columns are missing: age, pred"):
        check_columns(SCHEMA, without)
    with pytest.raises(BodyError, match="columns are there twice: age"):
        check_columns(SCHEMA, found.append(pa.field("age", pa.int64())))
    extra = found.append(pa.field("__index_level_0__", pa.int64())).append(pa.field("colour", pa.string()))
    assert check_columns(SCHEMA, extra) == ("colour",)
    optional = pa.schema([field for field in found if field.name not in ("note", "gt", "batch_id")])
    assert check_columns(SCHEMA, optional) == ()
    labels = pa.schema([("partner_inference_id", pa.string()), ("ground_truth_timestamp", pa.string())])
    with pytest.raises(BodyError, match="no column with ground truth: send gt"):
        check_label_columns(SCHEMA, labels)


def test_a_batch_of_the_upload_is_that_of_rows_that_name_none() -> None:
    batches = compile_schema(census.identity(shapes.ATTRIBUTES, isBatch=True))
    file = shapes.as_file([shapes.row("a") | {"batch_id": "own"}, shapes.row("b"), shapes.row("c")])
    found = check_batch(batches, file, Limits(10, 50, 1 << 60, batch="part"))
    assert found.rows.column("batch_id").to_pylist() == ["own", "part", "part"]
    assert check_batch(batches, file, LIMITS).refused == {
        1: "batch_id: is required: this is a batch model",
        2: "batch_id: is required: this is a batch model",
    }
