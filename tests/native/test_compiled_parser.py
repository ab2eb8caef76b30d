"""The compiled parser takes what it takes as the fast path does, and never breaks.

Needs the package modelwarden-native; `make test-native` builds it.
"""

import gc
import json
import math
import random
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pytest
import row_shapes
from flat_rows import any_row, spoil, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwarden_server.schema.compiled import CompiledSchema, compile_schema
from modelwarden_server.schema.fast import FastLabelParser, FastParser
from modelwarden_server.schema.instants import instant
from modelwarden_server.schema.native import NativeLabelParser, NativeParser, extension
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedLabels, ParsedRows, TooManyRowsError
from modelwarden_server.schema.parser import LabelParser, Parser
from modelwarden_server.schema.slow import SlowLabelParser, SlowParser

PACKAGE = extension({})
assert PACKAGE is not None, "modelwarden-native is not installed: run these tests with `make test-native`"
NOON = 1_795_262_400_000_000
LENGTH = 50
LIMITS = Limits(rows=100, string_length=LENGTH, latest=NOON + 3_600_000_000)
SCHEMA = compile_schema(census.identity())
BATCHES = compile_schema(census.identity(isBatch=True))
PARSERS = {
    schema.is_batch: (NativeParser(PACKAGE, schema, LENGTH), FastParser(schema, LENGTH), SlowParser(schema))
    for schema in (SCHEMA, BATCHES)
}
OFF = {"MODELWARDEN_NATIVE": "off"}
LABELS = NativeLabelParser(PACKAGE, SCHEMA, LENGTH)
NATIVE, FAST, _ = PARSERS[False]
MANY = settings(max_examples=2 * settings().max_examples)
BODIES = st.lists(any_row(), max_size=3).map(lambda rows: json.dumps(rows).encode())


@pytest.fixture(autouse=True, scope="module")
def without_panics() -> Iterator[None]:
    """A panic is caught and looks like giving up; it is a defect all the same."""
    yield
    assert [parser._parser.panics for parser, _, _ in PARSERS.values()] == [0, 0]
    assert LABELS._parser.panics == 0


def columns(batch: pa.RecordBatch) -> list[Any]:
    """What a batch holds, to the last bit: floats by their bits, so that 0 is not -0."""
    batch.validate(full=True)
    bits = [c.view(pa.int64()) if pa.types.is_float64(c.type) else c for c in batch.columns]
    return [batch.schema, *(column.to_pylist() for column in bits)]


def rows_of(found: ParsedRows) -> list[Any]:
    return [
        found.total,
        columns(found.rows),
        found.places.tolist(),
        columns(found.truth),
        found.truth_rows.tolist(),
        found.refused,
    ]


def labels_of(found: ParsedLabels) -> list[Any]:
    return [found.total, columns(found.labels), found.places.tolist(), found.refused]


def taken(*rows: Any, schema: CompiledSchema = SCHEMA, limits: Limits = LIMITS) -> pa.RecordBatch:
    """The rows as the compiled parser has them, which must be as the fast path has them."""
    return taken_body(census.body(*rows), schema, limits).rows


def taken_body(body: bytes, schema: CompiledSchema = SCHEMA, limits: Limits = LIMITS) -> ParsedRows:
    native = NativeParser(PACKAGE, schema, limits.string_length).parse(body, limits)
    fast = FastParser(schema, limits.string_length).parse(body, limits)
    assert native is not None
    assert fast is not None
    assert rows_of(native) == rows_of(fast)
    return native


def outcome(parser: Any, body: bytes, described: Any) -> Any:
    """What the outside sees of a parser."""
    try:
        return described(parser.parse(body, LIMITS))
    except (BodyError, TooManyRowsError) as error:
        return type(error), str(error)


def agree(body: bytes, schema: CompiledSchema = SCHEMA) -> None:
    """Where the compiled parser has an answer, the fast path and the slow one have the same."""
    native, fast, slow = PARSERS[schema.is_batch]
    found = native.parse(body, LIMITS)
    if found is not None:
        same = fast.parse(body, LIMITS)
        assert same is not None
        assert rows_of(found) == rows_of(same) == rows_of(slow.parse(body, LIMITS))


@MANY
@given(st.lists(any_row(), max_size=3), st.sampled_from([1, 20]))
def test_plausible_rows_come_out_alike(rows: list[Any], times: int) -> None:
    agree(json.dumps(rows * times, ensure_ascii=times == 1).encode(errors="surrogatepass"))


@MANY
@given(spoilt(BODIES))
def test_spoilt_bodies_come_out_alike(body: bytes) -> None:
    agree(body)


@given(st.randoms(use_true_random=False), st.lists(any_row(), min_size=1, max_size=2))
def test_many_bodies_with_a_small_fault_come_out_alike(rng: random.Random, rows: list[Any]) -> None:
    good = json.dumps(rows).encode()
    for _ in range(300):
        agree(spoil(good, rng))


@given(spoilt(BODIES))
def test_rows_of_batches_come_out_alike(body: bytes) -> None:
    agree(body, BATCHES)


@MANY
@given(st.binary(max_size=60) | st.text('[]{}",:\\u0123e-+. ntrfals', max_size=60).map(str.encode))
def test_any_bytes_come_out_alike(body: bytes) -> None:
    agree(body)
    agree(b"[" + body + b"]")


@given(spoilt(BODIES))
def test_nothing_changes_for_the_doors(body: bytes) -> None:
    with_it, without = Parser(SCHEMA, {}), Parser(SCHEMA, OFF)
    assert (with_it.compiled, without.compiled) == (True, False)
    assert outcome(with_it, body, rows_of) == outcome(without, body, rows_of)


def label_of(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in row if not key.startswith("inference_")}


LABEL_BODIES = st.lists(any_row().map(label_of), max_size=3).map(lambda rows: json.dumps(rows).encode())


@MANY
@given(spoilt(LABEL_BODIES))
def test_labels_come_out_alike(body: bytes) -> None:
    native = LABELS.parse(body, LIMITS)
    if native is not None:
        fast, slow = FastLabelParser(SCHEMA, LENGTH).parse(body, LIMITS), SlowLabelParser(SCHEMA)
        assert fast is not None
        assert labels_of(native) == labels_of(fast) == labels_of(slow.parse(body, LIMITS))


def test_good_labels_are_taken() -> None:
    label = label_of(census.row(7, truth=1))
    found = LABELS.parse(census.body(label, label), LIMITS)
    assert found is not None
    assert found.labels.to_pylist()[1]["partner_inference_id"] == "7"
    assert LabelParser(SCHEMA, {}).parse(census.body(label), LIMITS).labels.column("gt").to_pylist() == [1]
    with pytest.raises(TooManyRowsError):
        LabelParser(SCHEMA, {}).parse(census.body(*[label] * 101), LIMITS)


@pytest.mark.parametrize(
    ("name", "sent", "held"),
    [
        ("age", 2.0, 2),
        ("age", -0.0, 0),
        ("age", None, None),
        ("age", 2**63 - 1, 2**63 - 1),
        ("age", -(2**63), -(2**63)),
        ("age", -(2.0**63), -(2**63)),
        ("age", 1e18, 10**18),
        ("income", 3, 3.0),
        ("income", -7, -7.0),
        ("income", 2**64 + 1, float(2**64 + 1)),
        ("income", 5e-324, 5e-324),
        ("income", 1.7976931348623157e308, 1.7976931348623157e308),
        ("state", "", ""),
        ("state", 'é \U0001f600 "\\/\b\f\n\r\t\x00\x7f', 'é \U0001f600 "\\/\b\f\n\r\t\x00\x7f'),
        ("state", "é" * LENGTH, "é" * LENGTH),
        ("note", "NaN", "NaN"),
        ("married", False, False),
        ("married", None, None),
    ],
)
def test_values_are_taken_as_they_are_meant(name: str, sent: Any, held: Any) -> None:
    for ascii_only in (True, False):
        body = json.dumps([census.row(**{name: sent}), census.row()], ensure_ascii=ascii_only).encode()
        assert taken_body(body).rows.column(name).to_pylist()[0] == held


@pytest.mark.parametrize(
    ("row", "schema", "name", "held"),
    [
        (census.row(7), SCHEMA, "partner_inference_id", "7"),
        (census.row(-(2**63)), SCHEMA, "partner_inference_id", str(-(2**63))),
        (census.row("é" * 512), SCHEMA, "partner_inference_id", "é" * 512),
        (census.row() | {"batch_id": None}, SCHEMA, "batch_id", None),
        (census.row() | {"batch_id": ""}, SCHEMA, "batch_id", None),
        (census.row() | {"batch_id": "b"}, BATCHES, "batch_id", "b"),
        (census.row() | {"batch_id": 12}, BATCHES, "batch_id", "12"),
    ],
)
def test_fields_beside_the_attributes_are_taken_too(
    row: Any, schema: CompiledSchema, name: str, held: Any
) -> None:
    assert taken(row, schema=schema).column(name).to_pylist() == [held]


def test_a_row_that_names_no_batch_is_of_the_batch_of_the_request() -> None:
    limits = Limits(rows=9, string_length=LENGTH, latest=NOON, batch="é1")
    rows = [census.row("a"), census.row("b") | {"batch_id": "own"}, census.row("c") | {"batch_id": ""}]
    assert taken(*rows, schema=BATCHES, limits=limits).column("batch_id").to_pylist() == ["é1", "own", "é1"]
    for batch in ("x" * 513, "\ud800"):
        other = Limits(rows=9, string_length=LENGTH, latest=NOON, batch=batch)
        assert NativeParser(PACKAGE, BATCHES, LENGTH).parse(census.body(*rows), other) is None


def test_keys_in_any_order_with_any_blanks_are_taken() -> None:
    row = census.row("a", truth=1, note="hello", joined="2020-02-02T00:00:00Z")
    turned = {key: row[key] for key in reversed(row)}
    turned["inference_data"] = dict(reversed(row["inference_data"].items()))
    layouts = [
        json.dumps([row, turned, row, turned], **layout).encode()
        for layout in ({}, {"separators": (",", ":")}, {"indent": 3}, {"separators": (" ,\t", " :\r\n")})
    ]
    mixed = b"[" + b",".join(layout.strip()[1:-1] for layout in layouts) + b"]"
    for body in (*layouts, mixed, b"\n\t" + layouts[0] + b" \r\n"):
        found = taken_body(body)
        assert found.rows.column("note").to_pylist() == ["hello"] * found.total
        assert found.truth_rows.tolist() == list(range(found.total))


def test_labels_without_a_value_are_no_labels() -> None:
    rows = [census.row(i, truth=i % 2) for i in range(20)]
    for i in (0, 3, 4, 19):
        rows[i]["ground_truth_data"] = {"gt": None} if i % 2 else None
    rows[7]["ground_truth_data"] = {}
    rows[8]["ground_truth_timestamp"] = rows[9]["ground_truth_timestamp"].replace("T", " ")
    found = taken_body(census.body(*rows))
    assert [i for i in range(20) if i not in found.truth_rows] == [0, 3, 4, 7, 19]


@pytest.mark.parametrize(
    "row",
    [
        census.row(pred=None),
        census.row(pred=...),
        census.row(age=...),
        census.row(age=1.5),
        census.row(age=2**63),
        census.row(age=-(2**63) - 1),
        census.row(age=float("nan")),
        census.row(income=float("inf")),
        census.row(income=10**400),
        census.row(income=True),
        census.row(state=7),
        census.row(state="x" * 51),
        census.row(state="\ud800"),
        census.row(married=1),
        census.row(joined="yesterday"),
        census.row(joined=5),
        census.row(agge=1),
        census.row(at="2026-11-21T13:00:01Z"),
        census.row(truth=1) | {"ground_truth_timestamp": None},
        census.row(truth=1) | {"ground_truth_timestamp": "2026-11-21T13:00:01Z"},
        census.row(None),
        census.row(""),
        census.row(id=True),
        census.row("x" * 513),
        census.row() | {"batch_id": "b"},
        census.row() | {"extra": 1},
        census.row() | {"inference_data": None},
        7,
    ],
)
def test_a_row_that_is_not_good_is_left_to_the_others(row: Any) -> None:
    assert NATIVE.parse(census.body(census.row(), row), LIMITS) is None
    assert FAST.parse(census.body(census.row(), row), LIMITS) is None


def test_a_batch_model_needs_a_batch() -> None:
    native = NativeParser(PACKAGE, BATCHES, LENGTH)
    assert native.parse(census.body(census.row() | {"batch_id": "b"}, census.row()), LIMITS) is None


def test_a_model_with_lists_is_left_to_the_others() -> None:
    schema = compile_schema(census.identity(row_shapes.ATTRIBUTES))
    parser = Parser(schema, {})
    assert not parser.compiled
    assert parser.parse(census.body(row_shapes.row()), LIMITS).rows.num_rows == 1


@pytest.mark.parametrize("ending", [b"]", b"", b", 7", b", {", b"\xff]", b"] 1"])
def test_too_many_rows_are_refused_as_the_others_do(ending: bytes) -> None:
    body = census.body(*[census.row()] * 101)[:-1] + ending
    assert outcome(Parser(SCHEMA, {}), body, rows_of) == outcome(Parser(SCHEMA, OFF), body, rows_of)
    if b"\xff" not in ending:
        with pytest.raises(TooManyRowsError):
            NATIVE.parse(body, LIMITS)


def test_floats_are_rounded_as_python_rounds_them() -> None:
    rng = random.Random(11)
    texts = [repr(struct.unpack("<d", rng.randbytes(8))[0]) for _ in range(20_000)]
    texts += [f"{rng.random():.{rng.randint(1, 25)}f}" for _ in range(20_000)]
    texts += [
        f"{rng.randint(-(10 ** rng.randint(1, 30)), 10**30)}e{rng.randint(-330, 280)}" for _ in range(20_000)
    ]
    texts = [text for text in texts if math.isfinite(float(text)) and text != "-0"]
    row = json.dumps(census.row(income=0)).split('"income": 0')
    body = "[" + ",".join(f'{row[0]}"income":{text}{row[1]}' for text in texts) + "]"
    limits = Limits(rows=len(texts), string_length=LENGTH, latest=NOON)
    held = taken_body(body.encode(), limits=limits).rows.column("income").to_pylist()
    assert [struct.pack("<d", value) for value in held] == [struct.pack("<d", float(t)) for t in texts]


@given(
    st.datetimes(timezones=st.timezones()),
    st.sampled_from(["T", " ", "t"]),
    st.text("0123456789", max_size=9),
    st.sampled_from(["", "Z", "z", "+00", "-23:59", "+0530", "+24:00", "+05:60", "-5", "+05:30:00"]),
)
def test_instants_are_read_alike(time: Any, mark: str, fraction: str, zone: str) -> None:
    text = f"{time:%Y-%m-%d}{mark}{time:%H:%M:%S}" + (f".{fraction}" if fraction else "") + zone
    found = NATIVE.parse(census.body(census.row(joined=text.zfill(len(text)))), LIMITS)
    if found is not None:
        assert found.rows.column("joined").view(pa.int64()).to_pylist() == [instant(text)]


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.678901+00:00",
        "2024-02-29 23:59:59.1234567-23:59",
        "1969-12-31T23:59:59.9999999Z",
        "0001-01-01T05:00:00+05:00",
        "2000-02-29T00:00:00+14",
        "1900-03-01T00:00:00.5+0530",
    ],
)
def test_the_usual_instants_are_taken(text: str) -> None:
    assert taken(census.row(joined=text)).column("joined").view(pa.int64()).to_pylist() == [instant(text)]


def test_it_can_be_switched_off_and_is_not_used_by_code_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert Parser(SCHEMA, {}).compiled
    assert not Parser(SCHEMA, OFF).compiled
    monkeypatch.setattr(PACKAGE, "INTERFACE", 0)
    assert not Parser(SCHEMA, {}).compiled
    assert "of another version" in caplog.text


def test_columns_outlive_the_parser_and_each_other() -> None:
    parser = NativeParser(PACKAGE, SCHEMA, LENGTH)
    found = parser.parse(census.body(*(census.row(i, state=f"s{i}", truth=i) for i in range(50))), LIMITS)
    assert found is not None
    state, truth = found.rows.column("state"), found.truth.column("gt")
    del found, parser
    gc.collect()
    assert state.to_pylist() == [f"s{i}" for i in range(50)]
    assert truth.to_pylist() == list(range(50))


def test_memory_is_given_back() -> None:
    body = census.body(*(census.row(i, state="s" * 40, truth=1) for i in range(100)))
    bad = body[:-2] + b"?]"

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def many() -> None:
        for _ in range(3000):
            assert NATIVE.parse(body, LIMITS) is not None
            assert NATIVE.parse(bad, LIMITS) is None

    many()
    before = resident()
    many()
    # What is not given back would be 3000 times 15 KB.
    assert resident() - before < 10_000_000


def test_a_body_that_can_be_changed_is_taken_as_it_is_now() -> None:
    body = bytearray(census.body(census.row("a")))
    found = NATIVE.parse(body, LIMITS)
    body[:] = b"x" * len(body)
    assert found is not None
    assert found.rows.column(0).to_pylist() == ["a"]


def test_large_bodies_are_parsed_by_several_threads_at_once() -> None:
    body = census.body(*(census.row(i, note="n" * 40) for i in range(2000)))
    limits = Limits(rows=2000, string_length=LENGTH, latest=NOON)
    assert len(body) > 64 << 10
    once = NATIVE.parse(body, limits)
    assert once is not None
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: NATIVE.parse(body, limits), range(20)))
    assert all(each is not None and each.rows.equals(once.rows) for each in found)
