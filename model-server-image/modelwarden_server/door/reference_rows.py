"""Reference files to columns: every value judged in whole columns, bad rows told by number, attribute and
reason.

One pass, a bounded number of rows at a time. Must not know HTTP or tables; never repeats a value of the data.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedRandom
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden.resources.attributes import RESERVED_NAMES, ValueType
from modelwarden_server.schema.compiled import INSTANT, Column, CompiledSchema
from modelwarden_server.schema.instants import instants
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import BodyError
from modelwarden_server.schema.values import ValueProblem, take_value

PARQUET_MAGIC = b"PAR1"
ROWS_AT_ONCE = 65_536
MAX_JSON_BYTES = 64 << 20
MAX_TOLD = 100
MAX_ROWS = 50_000_000

Mask = npt.NDArray[np.bool_]


class ReferenceFileError(ValueError):
    """The file as a whole cannot be taken: a 400. The message says why and what to send."""


@dataclass
class ReferenceRows:
    """What a file comes to, filled while its batches are drawn."""

    total: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)
    """Of the first bad rows, at most MAX_TOLD."""
    ignored: tuple[str, ...] = ()
    """Columns that are no attributes of the model."""

    def refuse(self, row: int, reason: str) -> None:
        """Note a bad row, counted from 1 as people do."""
        self.failed += 1
        if len(self.reasons) < MAX_TOLD:
            self.reasons.append(f"row {row + 1}: {reason}")


def reference_schema(schema: CompiledSchema) -> pa.Schema:
    """Columns of a reference table: inputs, other data, predictions and ground truth,
    without implicit ones.
    """
    return pa.schema([pa.field(c.name, c.type) for c in (*schema.data, *schema.truth)])


def read_reference(
    content: BufferedRandom, head: bytes, schema: CompiledSchema, string_length: int, told: ReferenceRows
) -> Iterator[pa.RecordBatch]:
    """The good rows of a file; the bad ones go into `told`. The format is told by content, never by name.

    Raises ReferenceFileError, at the first draw if the file is not what it should be.
    """
    if not head.strip():
        raise ReferenceFileError("the part is empty: the file was not sent, or was read before it was sent")
    if head.startswith(PARQUET_MAGIC):
        return _parquet(content, schema, string_length, told)
    if head.lstrip()[:1] in (b"[", b"{"):
        return _json(content, schema, string_length, told)
    raise ReferenceFileError(
        "the part is neither parquet (PAR1 at its start) nor a JSON list: if it is the rest of a broken"
        " upload, send the file again from its start"
    )


def _columns(schema: CompiledSchema) -> tuple[Column, ...]:
    return (*schema.data, *schema.truth)


def _parquet(
    content: BufferedRandom, schema: CompiledSchema, string_length: int, told: ReferenceRows
) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(content, pre_buffer=False, buffer_size=1 << 20) as file:
            told.ignored = _check_columns(file.schema_arrow, schema)
            names = [column.name for column in _columns(schema)]
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
                yield _good_rows(batch, schema, string_length, told)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ReferenceFileError(f"the parquet file cannot be read: {_first_line(error)}") from None
    if not told.total:
        raise ReferenceFileError("the file has no rows: send the reference data")


def _check_columns(found: pa.Schema, schema: CompiledSchema) -> tuple[str, ...]:
    wanted = _columns(schema)
    missing = [c.name for c in wanted if found.get_field_index(c.name) < 0]
    if missing:
        raise ReferenceFileError(
            f"columns are missing (or there twice): {_listed(missing)}; every attribute needs one"
        )
    for column in wanted:
        have = found.field(column.name).type
        have = have.value_type if pa.types.is_dictionary(have) else have
        if not _CASTS[column.value_type].takes(have):
            raise ReferenceFileError(
                f"column {column.name} is {have}: an attribute of type {column.value_type} needs"
                f" {_CASTS[column.value_type].wanted}"
            )
    known = {c.name for c in wanted} | schema.implicit | set(RESERVED_NAMES)
    return tuple(name for name in found.names if name not in known and not name.startswith("__"))


def _good_rows(
    batch: pa.RecordBatch, schema: CompiledSchema, string_length: int, told: ReferenceRows
) -> pa.RecordBatch:
    reasons: dict[int, str] = {}
    arrays = []
    for column in _columns(schema):
        given = batch.column(batch.schema.get_field_index(column.name))
        values, wrong = _cast(given, column, string_length)
        for mask, reason in wrong:
            for row in np.flatnonzero(mask):
                reasons.setdefault(int(row), f"attribute {column.name} {reason}")
        arrays.append(values)
    for place in sorted(reasons):
        told.refuse(told.total + place, reasons[place])
    told.total += batch.num_rows
    if told.total > MAX_ROWS:
        raise ReferenceFileError(
            f"the file has more than {MAX_ROWS} rows: a sample of them is as good a reference"
        )
    rows = pa.record_batch(arrays, schema=reference_schema(schema))
    if not reasons:
        return rows
    good = np.ones(batch.num_rows, dtype=np.bool_)
    good[list(reasons)] = False
    return rows.filter(pa.array(good))


Wrong = list[tuple[Mask, str]]


def _cast(given: pa.Array, column: Column, string_length: int) -> tuple[pa.Array, Wrong]:
    """The values as the column holds them, null where they cannot be, and which rows those are."""
    if pa.types.is_dictionary(given.type):
        given = given.dictionary_decode()
    if pa.types.is_null(given.type):
        values, wrong = _nothing(given, column)
    else:
        values, wrong = _CASTS[column.value_type].cast(given, string_length)
    if column.nan_is_missing and pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if column.valued:
        bad = np.zeros(len(values), dtype=np.bool_)
        for mask, _ in wrong:
            bad |= mask
        wrong.append((_mask(pc.is_null(values)) & ~bad, "is required: a prediction needs a value"))
    return values, wrong


def _nothing(given: pa.Array, column: Column) -> tuple[pa.Array, Wrong]:
    return pa.nulls(len(given), column.type), []


def _mask(answer: pa.Array) -> Mask:
    return np.asarray(pc.fill_null(answer, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _without(values: pa.Array, wrong: Mask) -> pa.Array:
    return pc.if_else(pa.array(wrong), pa.scalar(None, values.type), values) if wrong.any() else values


def _to_integer(given: pa.Array, _longest: int) -> tuple[pa.Array, Wrong]:
    if pa.types.is_floating(given.type):
        # pandas makes floats of integers with gaps, and writes a gap as NaN.
        floats = given.cast(pa.float64())
        floats = pc.if_else(pc.is_nan(floats), pa.scalar(None, pa.float64()), floats)
        bad = _mask(pc.not_equal(floats, pc.floor(floats))) | _mask(pc.is_inf(floats))
        bad |= _mask(pc.greater_equal(pc.abs(floats), 2.0**63))
        return _without(floats, bad).cast(pa.int64()), [(bad, "must be a whole number of 64 bits")]
    if pa.types.is_uint64(given.type):
        bad = _mask(pc.greater(given, pa.scalar((1 << 63) - 1, pa.uint64())))
        return _without(given, bad).cast(pa.int64()), [(bad, "must be a whole number of 64 bits")]
    return given.cast(pa.int64()), []


def _to_float(given: pa.Array, _longest: int) -> tuple[pa.Array, Wrong]:
    # Whole numbers beyond 2^53 are rounded, as every JSON reader does.
    values = given.cast(pa.float64(), safe=False)
    bad = _mask(pc.is_inf(values))
    return _without(values, bad), [(bad, "is infinite or too large for a 64-bit float")]


def _to_text(given: pa.Array, longest: int) -> tuple[pa.Array, Wrong]:
    values = given.cast(pa.string())
    bad = _mask(pc.greater(pc.utf8_length(values), longest))
    return _without(values, bad), [(bad, f"is longer than {longest} characters")]


def _to_boolean(given: pa.Array, _longest: int) -> tuple[pa.Array, Wrong]:
    return given, []


def _to_instant(given: pa.Array, _longest: int) -> tuple[pa.Array, Wrong]:
    if not pa.types.is_timestamp(given.type):
        return _texts_to_instants(given.cast(pa.string()))
    return given.cast(INSTANT, safe=False), []


def _texts_to_instants(given: pa.Array) -> tuple[pa.Array, Wrong]:
    texts = given.to_pylist()
    bad = np.zeros(len(texts), dtype=np.bool_)
    try:
        return instants(texts), []
    except ValueError:
        for row, text in enumerate(texts):
            try:
                instants([text])
            except ValueError:
                bad[row], texts[row] = True, None
    return instants(texts), [(bad, "must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00+00:00")]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_zoned(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


@dataclass(frozen=True)
class _Cast:
    accepts: Callable[[pa.DataType], bool]
    wanted: str
    cast: Callable[[pa.Array, int], tuple[pa.Array, Wrong]]

    def takes(self, kind: pa.DataType) -> bool:
        return bool(pa.types.is_null(kind)) or self.accepts(kind)


_TEXT = _Cast(_is_text, "text", _to_text)
_CASTS: dict[ValueType, _Cast] = {
    ValueType.STRING: _TEXT,
    ValueType.UNSTRUCTURED_TEXT: _TEXT,
    ValueType.IMAGE: _TEXT,
    ValueType.INTEGER: _Cast(_is_number, "whole numbers", _to_integer),
    ValueType.FLOAT: _Cast(lambda kind: _is_number(kind) or pa.types.is_decimal(kind), "numbers", _to_float),
    ValueType.BOOLEAN: _Cast(pa.types.is_boolean, "booleans", _to_boolean),
    ValueType.TIMESTAMP: _Cast(
        lambda kind: _is_zoned(kind) or _is_text(kind),
        "timestamps with a zone, or ISO 8601 texts",
        _to_instant,
    ),
}


def _json(
    content: BufferedRandom, schema: CompiledSchema, string_length: int, told: ReferenceRows
) -> Iterator[pa.RecordBatch]:
    size = content.seek(0, os.SEEK_END)
    if size > MAX_JSON_BYTES:
        raise ReferenceFileError(
            f"a JSON file of {size} bytes is too large (at most {MAX_JSON_BYTES}): send it as parquet"
        )
    try:
        found = elements(_whole(content))
        while rows := list(islice(found, ROWS_AT_ONCE)):
            yield _json_rows(rows, schema, string_length, told)
    except BodyError as error:
        raise ReferenceFileError(f"the JSON file cannot be read: {error}") from None
    if not told.total:
        raise ReferenceFileError("the file has no rows: send the reference data")


def _whole(content: BufferedRandom) -> bytes:
    content.seek(0)
    return content.read()


def _json_rows(
    rows: list[Any], schema: CompiledSchema, string_length: int, told: ReferenceRows
) -> pa.RecordBatch:
    columns = _columns(schema)
    kept: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        try:
            values = _json_row(row, columns, string_length)
        except ValueProblem as problem:
            told.refuse(told.total, str(problem))
        else:
            for into, value in zip(kept, values, strict=True):
                into.append(value)
        told.total += 1
    return pa.record_batch(
        [pa.array(values, column.type) for values, column in zip(kept, columns, strict=True)],
        schema=reference_schema(schema),
    )


def _json_row(row: Any, columns: tuple[Column, ...], string_length: int) -> list[Any]:
    flat = row.get("reference_data", row) if isinstance(row, dict) else row
    if not isinstance(flat, dict):
        raise ValueProblem('the row must be an object, or an object under the key "reference_data"')
    values = []
    for column in columns:
        if column.name not in flat:
            raise ValueProblem(f"attribute {column.name} is missing")
        try:
            values.append(take_value(flat[column.name], column, string_length))
        except ValueProblem as problem:
            raise ValueProblem(f"attribute {column.name} {problem}") from None
    return values


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
