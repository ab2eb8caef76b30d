"""Large JSON comes out in pieces that hold the same rows, wherever windows happen to end."""

import io
import json
import os
from typing import Any

import census_like as census
import pytest
import row_shapes as shapes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelwarden_server.door import json_pieces as module
from modelwarden_server.door import large_bodies
from modelwarden_server.door.json_pieces import json_pieces
from modelwarden_server.door.large_bodies import parse_labels, parse_rows
from modelwarden_server.door.parquet_pieces import UnreadableFileError
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.parsed import BodyError, Limits, TooManyRowsError
from modelwarden_server.schema.parser import LabelParser, Parser

LONG = os.environ.get("MODELWARDEN_LONG") == "1"
SCHEMA = compile_schema(census.identity())
LIMITS = Limits(rows=1000, string_length=1000, latest=1 << 60)
texts = st.text(st.sampled_from('ab"\\[]{},\n é'), max_size=8)
values = st.recursive(
    texts | st.integers() | st.none() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def read(content: bytes, piece_bytes: int = 64, longest: int = 1 << 20) -> list[Any]:
    return [
        row for piece in json_pieces(io.BytesIO(content), longest, piece_bytes) for row in json.loads(piece)
    ]


@settings(
    max_examples=2000 if LONG else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(values, min_size=1, max_size=8), window=st.integers(1, 40), pad=st.sampled_from(["", " \n"])
)
def test_the_rows_of_a_list_and_of_lines_come_out_in_order(
    monkeypatch: pytest.MonkeyPatch, rows: list[Any], window: int, pad: str
) -> None:
    monkeypatch.setattr(module, "WINDOW_BYTES", window)
    listed = pad + json.dumps(rows, ensure_ascii=False, indent=1 if pad else None) + pad
    assert read(listed.encode()) == rows
    if isinstance(rows[0], list):
        return  # lines that begin with a list look like one
    lines = pad + "\n".join(json.dumps(row) for row in rows) + pad
    assert read(lines.encode()) == rows


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b'[{"a": 1}', "ends too early"),
        (b'[{"a": "]', "ends too early"),
        (b'{"a": 1}\n{"b', "ends too early"),
        (b"[1, 2] 3", "something follows"),
        (b"[" + b"1" * 200, "longer than 100 bytes"),
    ],
)
def test_what_is_no_complete_json_is_refused(
    monkeypatch: pytest.MonkeyPatch, content: bytes, says: str
) -> None:
    monkeypatch.setattr(module, "WINDOW_BYTES", 16)
    with pytest.raises(UnreadableFileError, match=says):
        read(content, longest=100)


def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a body of any size parsed piece by piece."""
    monkeypatch.setattr(large_bodies, "PIECE_BYTES", 700)
    monkeypatch.setattr(large_bodies, "_LOOK", 300)
    monkeypatch.setattr(module, "WINDOW_BYTES", 100)


def test_a_body_in_pieces_comes_to_the_same_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Any] = [census.row(str(i), age=i, truth=i % 2 if i % 3 else None) for i in range(20)]
    rows[3]["inference_data"]["age"], rows[17] = "x", 5
    labels = [
        {
            "partner_inference_id": str(i),
            "ground_truth_timestamp": census.NOW,
            "ground_truth_data": {"gt": i if i != 7 else "x"},
        }
        for i in range(20)
    ]
    whole = parse_rows(Parser(SCHEMA), bytearray(census.body(*rows)), LIMITS)
    whole_labels = parse_labels(LabelParser(SCHEMA), bytearray(census.body(*labels)), LIMITS)
    in_pieces(monkeypatch)
    parts = parse_rows(Parser(SCHEMA), bytearray(census.body(*rows)), LIMITS)
    assert (parts.total, parts.refused) == (whole.total, whole.refused)
    assert parts.rows.equals(whole.rows)
    assert parts.truth.equals(whole.truth)
    assert (list(parts.places), list(parts.truth_rows)) == (list(whole.places), list(whole.truth_rows))
    part_labels = parse_labels(LabelParser(SCHEMA), bytearray(census.body(*labels)), LIMITS)
    assert (part_labels.total, part_labels.refused) == (whole_labels.total, whole_labels.refused)
    assert part_labels.labels.equals(whole_labels.labels)
    assert list(part_labels.places) == list(whole_labels.places)


@pytest.mark.parametrize("bad", [None, 0, 10, 19])
@pytest.mark.parametrize("order", [1, -1])
def test_cuts_that_are_guessed_lose_no_row(
    monkeypatch: pytest.MonkeyPatch, bad: int | None, order: int
) -> None:
    rows = [
        shapes.row(
            f"r{i}",
            note='}, {"a": "',
            ranking=[{"item_id": "a"}, {"item_id": "b"}] * (i % 4),
        )
        for i in range(20)
    ]
    rows = [dict(list(row.items())[::order]) for row in rows]
    if bad is not None:
        rows[bad]["inference_data"]["age"] = "x"
    schema = compile_schema(census.identity(shapes.ATTRIBUTES))
    whole = parse_rows(Parser(schema), bytearray(census.body(*rows)), LIMITS)
    in_pieces(monkeypatch)
    parts = parse_rows(Parser(schema), bytearray(census.body(*rows)), LIMITS)
    assert (parts.total, parts.refused) == (20, whole.refused)
    assert parts.rows.equals(whole.rows)


def test_a_large_body_keeps_the_limits_and_the_reasons_of_a_small_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_pieces(monkeypatch)
    parser = Parser(SCHEMA)
    with pytest.raises(TooManyRowsError, match="at most 5"):
        parse_rows(
            parser, bytearray(census.body(*(census.row(i) for i in range(6)))), Limits(5, 1000, 1 << 60)
        )
    for body, says in (
        (b'{"inference_data": 1}', "must be a list"),
        (b"x", "not JSON"),
        (b"[1, 2", "behind row [01]: the JSON ends too early"),
        (b'["\xff"]', "behind row 0: the body is not UTF-8"),
        (census.body(*(census.row(i) for i in range(9)))[:-1], "behind row [678]: the JSON ends too early"),
    ):
        with pytest.raises(BodyError, match=says):
            parse_rows(parser, bytearray(body.ljust(701)), LIMITS)
    assert parse_rows(parser, bytearray(b"[]".ljust(701)), LIMITS).total == 0
