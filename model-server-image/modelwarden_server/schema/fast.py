"""The fast path: a whole request of good rows straight into typed structs, then into columns.

Must not explain: at the first thing that is not as it should be it gives up (returns None), and the slow
path goes through the rows one by one. What it accepts, the slow path accepts with the same result.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden.resources.attributes import ValueType
from modelwarden_server.schema.compiled import Column, CompiledSchema
from modelwarden_server.schema.instants import bounds, instants
from modelwarden_server.schema.parsed import Limits, ParsedLabels, ParsedRows, TooManyRowsError
from modelwarden_server.schema.values import MAX_ID_LENGTH, TAKERS, id_text, whole

FEW = 16
# Taken element by element, by the same code as on the slow path.
_LISTS = frozenset(
    {
        ValueType.TOKEN_LIKELIHOODS,
        ValueType.RANKED_LIST,
        ValueType.BOUNDING_BOX,
        ValueType.TIME_SERIES,
        ValueType.ARRAY_STRING,
        ValueType.TOKENS,
    }
)
_GIVE_UP = (msgspec.MsgspecError, pa.ArrowException, ValueError, OverflowError, RecursionError)


class FastParser:
    """Parser of one schema's rows and one bound on the length of texts."""

    def __init__(self, schema: CompiledSchema, string_length: int) -> None:
        self._schema = schema
        self._length = string_length
        self._no_truth = pa.RecordBatch.from_pylist([], schema=schema.truth_record)
        self._decoder = msgspec.json.Decoder(list[_row_type(schema, string_length)])  # type: ignore[misc]

    def parse(self, body: bytes, limits: Limits) -> ParsedRows | None:
        """The rows of `body` if all of them are good, else None. Raises TooManyRowsError."""
        rows = _decoded(self._decoder, body, limits)
        if rows is None:
            return None
        try:
            return self._columns(rows, limits)
        except _GIVE_UP:
            return None

    def _columns(self, rows: Sequence[Any], limits: Limits) -> ParsedRows | None:
        schema = self._schema
        if not rows:
            return empty(schema)
        batches = _batches(rows, limits.batch or None)
        if not _batches_fit(batches, is_batch=schema.is_batch):
            return None
        times = instants([row.inference_timestamp for row in rows])
        labelled = [i for i, row in enumerate(rows) if _has_label(row)]
        if bounds(times)[1] > limits.latest:
            return None
        head = [
            pa.array(_texts([row.partner_inference_id for row in rows]), pa.string()),
            times,
            pa.array(_texts(batches), pa.string()),
        ]
        data = _arrays([row.inference_data for row in rows], schema.data, self._length)
        truth = _truth([rows[i] for i in labelled], schema, limits) if labelled else self._no_truth
        return ParsedRows(
            total=len(rows),
            rows=pa.RecordBatch.from_arrays(head + data, schema=schema.inference_record),
            places=np.arange(len(rows), dtype=np.int64),
            truth=truth,
            truth_rows=np.array(labelled, dtype=np.int64),
        )


class FastLabelParser:
    """Parser of labels that come without their inferences."""

    def __init__(self, schema: CompiledSchema, string_length: int) -> None:
        self._schema = schema
        self._empty = ParsedLabels(
            0, pa.RecordBatch.from_pylist([], schema=schema.truth_record), np.empty(0, np.int64)
        )
        self._decoder = msgspec.json.Decoder(list[_label_type(schema, string_length)])  # type: ignore[misc]

    def parse(self, body: bytes, limits: Limits) -> ParsedLabels | None:
        """The labels of `body` if all of them are good, else None. Raises TooManyRowsError."""
        rows = _decoded(self._decoder, body, limits)
        if rows is None:
            return None
        if not rows:
            return self._empty
        if not all(map(_has_label, rows)):
            return None
        try:
            labels = _truth(rows, self._schema, limits)
        except _GIVE_UP:
            return None
        return ParsedLabels(len(rows), labels, np.arange(len(rows), dtype=np.int64))


def _decoded(decoder: msgspec.json.Decoder[list[Any]], body: bytes, limits: Limits) -> list[Any] | None:
    try:
        rows = decoder.decode(body)
    except (*_GIVE_UP, UnicodeDecodeError):
        return None
    if len(rows) > limits.rows:
        raise TooManyRowsError(limits.rows)
    return rows


def empty(schema: CompiledSchema) -> ParsedRows:
    """What an empty list comes to."""
    none = np.empty(0, np.int64)
    return ParsedRows(
        total=0,
        rows=pa.RecordBatch.from_pylist([], schema=schema.inference_record),
        places=none,
        truth=pa.RecordBatch.from_pylist([], schema=schema.truth_record),
        truth_rows=none,
    )


def _value_type(column: Column, length: int) -> Any:
    match column.value_type:
        case ValueType.INTEGER:
            return int | float
        case ValueType.FLOAT:
            return float
        case ValueType.BOOLEAN:
            return bool
        case ValueType.ARRAY_STRING | ValueType.TOKENS:
            return list[Annotated[str, msgspec.Meta(max_length=length)]]
        case listed if listed in _LISTS:
            return list[Any]
        case _:
            return Annotated[str, msgspec.Meta(max_length=length)]


def _struct(name: str, columns: Sequence[Column], length: int, *, keyed: bool) -> Any:
    fields: list[Any] = []
    for index, column in enumerate(columns):
        kind = _value_type(column, length)
        kind = kind if column.valued and keyed else kind | None
        fields.append((f"f{index}", kind) if column.keyed and keyed else (f"f{index}", kind, None))
    return msgspec.defstruct(
        name,
        fields,
        rename={f"f{index}": column.name for index, column in enumerate(columns)},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _row_type(schema: CompiledSchema, length: int) -> Any:
    text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    return msgspec.defstruct(
        "Row",
        [
            ("partner_inference_id", text | int | float),
            ("inference_timestamp", str),
            ("inference_data", _struct("Data", schema.data, length, keyed=True)),
            ("ground_truth_data", _struct("Truth", schema.truth, length, keyed=False) | None, None),
            ("ground_truth_timestamp", str | None, None),
            ("batch_id", Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)] | int | float | None, None),
        ],
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _label_type(schema: CompiledSchema, length: int) -> Any:
    text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    return msgspec.defstruct(
        "Label",
        [
            ("partner_inference_id", text | int | float),
            ("ground_truth_timestamp", str),
            ("ground_truth_data", _struct("Truth", schema.truth, length, keyed=False)),
        ],
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )


def _texts(ids: list[Any]) -> list[str | None]:
    """Ids as texts, an empty one as none. Raises ValueError for a number with too many digits."""
    if set(map(type, ids)) == {str} and "" not in ids:
        return ids
    return [None if i is None or i == "" else _short(id_text(i)) for i in ids]


def _short(text: str) -> str:
    if len(text) > MAX_ID_LENGTH:
        raise ValueError("an id is too long")
    return text


def _batches(rows: Sequence[Any], other: str | None) -> list[Any]:
    return [other if (batch := row.batch_id) is None or batch == "" else batch for row in rows]


def _batches_fit(batches: Sequence[Any], *, is_batch: bool) -> bool:
    return all((batch is not None) is is_batch for batch in batches)


def _has_label(row: Any) -> bool:
    data = row.ground_truth_data
    return data is not None and any(value is not None for value in msgspec.structs.astuple(data))


def _arrays(structs: Sequence[Any], columns: Sequence[Column], length: int) -> list[pa.Array]:
    """One array per column of the structs' fields. Raises if a value does not fit its column."""
    values = zip(*map(msgspec.structs.astuple, structs), strict=True)
    ready = [_prepared(list(value), column, length) for value, column in zip(values, columns, strict=True)]
    if len(structs) <= FEW:
        return _few_arrays(ready, columns)
    return [_array(value, column) for value, column in zip(ready, columns, strict=True)]


def _few_arrays(ready: list[list[Any]], columns: Sequence[Column]) -> list[pa.Array]:
    """As `_array` for each, but in one call: for a few rows it is the calls that cost."""
    names = [f"f{index}" for index in range(len(columns))]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*ready, strict=True)]
    kinds = pa.struct([(name, _sent_type(column)) for name, column in zip(names, columns, strict=True)])
    arrays = pa.array(rows, kinds).flatten()
    return [
        instants(value) if column.value_type is ValueType.TIMESTAMP else array
        for value, column, array in zip(ready, columns, arrays, strict=True)
    ]


def _sent_type(column: Column) -> pa.DataType:
    return pa.string() if column.value_type is ValueType.TIMESTAMP else column.type


def _prepared(values: list[Any], column: Column, length: int) -> list[Any]:
    if column.value_type is ValueType.INTEGER and float in set(map(type, values)):
        # pyarrow would cut 2.5 down to 2 without a word.
        return [None if value is None else whole(value) for value in values]
    if column.value_type in _LISTS:
        take = TAKERS[column.value_type]
        return [None if value is None else take(value, length) for value in values]
    return values


def _array(values: list[Any], column: Column) -> pa.Array:
    if column.value_type is ValueType.TIMESTAMP:
        return instants(values)
    return pa.array(values, column.type)


def _truth(rows: Sequence[Any], schema: CompiledSchema, limits: Limits) -> pa.RecordBatch:
    if any(row.ground_truth_timestamp is None for row in rows):
        raise ValueError("a label without its time")
    times = instants([row.ground_truth_timestamp for row in rows])
    if bounds(times)[1] > limits.latest:
        raise ValueError("a label from the future")
    ids = pa.array(_texts([row.partner_inference_id for row in rows]), pa.string())
    data = _arrays([row.ground_truth_data for row in rows], schema.truth, limits.string_length)
    return pa.RecordBatch.from_arrays([ids, times, *data], schema=schema.truth_record)
