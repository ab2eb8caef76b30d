"""Reference files to columns: every value judged in whole columns, bad rows told by number, attribute and
reason.

One pass, a bounded number of rows at a time. Must not know HTTP or tables; never repeats a value of the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from modelwarden.resources.attributes import RESERVED_NAMES
from modelwarden.resources.cell import LimitSettings
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.json_pieces import LONGEST_ROW, json_pieces
from modelwarden_server.door.multipart import ReceivedFile
from modelwarden_server.door.parquet_pieces import (
    PARQUET_MAGIC,
    ParquetLimits,
    ParquetPieces,
    UnreadableFileError,
)
from modelwarden_server.schema.casts import cast_column, is_instant, takes, to_instant, wanted
from modelwarden_server.schema.compiled import EVENT_TIME, INSTANT, Column, CompiledSchema
from modelwarden_server.schema.instants import instant
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import BodyError
from modelwarden_server.schema.values import ValueProblem, take_value

ROWS_AT_ONCE = 16_384
MAX_TOLD = 100
MAX_ROWS = 50_000_000
_NESTED = "reference_data"


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


@dataclass(frozen=True)
class ReferenceRules:
    """What a file of one model may hold, and the images that came with it."""

    schema: CompiledSchema
    sizes: LimitSettings
    images: FileImages | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those that a file must have."""
        return (*self.schema.data, *self.schema.truth)

    @property
    def longest(self) -> int:
        """Most characters of a text."""
        return self.sizes.max_string_length


def reference_schema(schema: CompiledSchema) -> pa.Schema:
    """Columns of a reference table: inputs, other data, predictions and ground truth, without implicit ones;
    then when each row happened, as far as the files say: seasons are learnt from that.
    """
    columns = [pa.field(c.name, c.type) for c in (*schema.data, *schema.truth)]
    return pa.schema([*columns, pa.field(EVENT_TIME, INSTANT)])


def read_reference(
    file: ReceivedFile, rules: ReferenceRules, told: ReferenceRows
) -> Iterator[pa.RecordBatch]:
    """The good rows of a file; the bad ones go into `told`. The format is told by content, never by name.

    Raises UnreadableFileError and OversizedFileError, at the first draw if the file is not what it should be.
    """
    if not file.head.strip():
        raise UnreadableFileError("the part is empty: the file was not sent, or was read before it was sent")
    if file.head.startswith(PARQUET_MAGIC):
        return _parquet(file, rules, told)
    if file.head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"[", b"{"):
        return _json(file, rules, told)
    raise UnreadableFileError(
        "the part is neither parquet (PAR1 at its start) nor a JSON list: if it is the rest of a broken"
        " upload, send the file again from its start"
    )


def _parquet(file: ReceivedFile, rules: ReferenceRules, told: ReferenceRows) -> Iterator[pa.RecordBatch]:
    sizes = rules.sizes
    limits = ParquetLimits(sizes.max_columns, sizes.max_row_groups, sizes.max_decompressed_bytes)
    source = ParquetPieces(file.content, (_NESTED,), limits)
    told.ignored = _check_columns(source.schema, rules)
    timed = EVENT_TIME in source.schema.names and _tells_time(source.schema.field(EVENT_TIME).type)
    names = [column.name for column in rules.columns]
    for batch in source.pieces([*names, EVENT_TIME] if timed else names):
        yield _good_rows(batch, rules, told)


def _check_columns(found: pa.Schema, rules: ReferenceRules) -> tuple[str, ...]:
    missing = [c.name for c in rules.columns if found.get_field_index(c.name) < 0]
    if missing:
        raise UnreadableFileError(
            f"columns are missing (or there twice): {_listed(missing)}; every attribute needs one"
        )
    for column in rules.columns:
        kind = found.field(column.name).type
        if not takes(column, kind):
            raise UnreadableFileError(
                f"column {column.name} is {str(kind)[:100]}: an attribute of type {column.value_type} needs"
                f" {wanted(column)}"
            )
    known = {c.name for c in rules.columns} | rules.schema.implicit | set(RESERVED_NAMES)
    return tuple(name for name in found.names if name not in known and not name.startswith("__"))


def _good_rows(batch: pa.RecordBatch, rules: ReferenceRules, told: ReferenceRows) -> pa.RecordBatch:
    reasons: dict[int, str] = {}
    arrays = []
    for column in rules.columns:
        given = batch.column(batch.schema.get_field_index(column.name))
        values, wrong = cast_column(given, column, rules.longest)
        for row, why in wrong.items():
            reasons.setdefault(row, _reason(column.name, why))
        arrays.append(values)
    arrays.append(_times(batch))
    rows = pa.record_batch(arrays, schema=reference_schema(rules.schema))
    return _without_bad(rows, reasons, rules, told)


def _tells_time(kind: pa.DataType) -> bool:
    return is_instant(kind) or bool(pa.types.is_timestamp(kind))


def _times(batch: pa.RecordBatch) -> pa.Array:
    """When the rows happened. A time that cannot be read costs the season, not the row: nothing else needs
    it. Times without a zone, as frames have them, are UTC: a season does not ask.
    """
    place = batch.schema.get_field_index(EVENT_TIME)
    if place < 0:
        return pa.nulls(batch.num_rows, INSTANT)
    given = batch.column(place)
    if pa.types.is_timestamp(given.type) and given.type.tz is None:
        given = given.cast(pa.timestamp(given.type.unit, "UTC"))
    return to_instant(given)[0]


def _without_bad(
    rows: pa.RecordBatch, reasons: dict[int, str], rules: ReferenceRules, told: ReferenceRows
) -> pa.RecordBatch:
    """The good rows, with images for their names; the others are told."""
    if rules.images is not None:
        rows, problems = rules.images.resolved(rows)
        for row, why in problems.items():
            reasons.setdefault(row, f"attribute {why}")
    for place in sorted(reasons):
        told.refuse(told.total + place, reasons[place])
    told.total += rows.num_rows
    if told.total > MAX_ROWS:
        raise UnreadableFileError(
            f"the file has more than {MAX_ROWS} rows: a sample of them is as good a reference"
        )
    if reasons:
        good = np.ones(rows.num_rows, dtype=np.bool_)
        good[list(reasons)] = False
        rows = rows.filter(pa.array(good))
    if rules.images is not None:
        rules.images.keep(rows)
    return rows


def _json(file: ReceivedFile, rules: ReferenceRules, told: ReferenceRows) -> Iterator[pa.RecordBatch]:
    for body in json_pieces(file.content, min(rules.sizes.max_body_bytes, LONGEST_ROW)):
        found = elements(body)
        try:
            while rows := list(islice(found, ROWS_AT_ONCE)):
                yield _json_rows(rows, rules, told)
        except BodyError as error:
            raise UnreadableFileError(
                f"the JSON file cannot be read behind row {told.total}: {error}"
            ) from None
    if not told.total:
        raise UnreadableFileError("the file has no rows: send the reference data")


def _json_rows(rows: Sequence[Any], rules: ReferenceRules, told: ReferenceRows) -> pa.RecordBatch:
    """Bad rows stay as rows of nothing until all are counted."""
    reasons: dict[int, str] = {}
    kept: list[list[Any]] = []
    for place, row in enumerate(rows):
        try:
            kept.append(_json_row(row, rules))
        except ValueProblem as problem:
            reasons[place] = str(problem)
            kept.append([None] * (len(rules.columns) + 1))
    types = [*(c.type for c in rules.columns), INSTANT]
    columns = [pa.array(values, kind) for values, kind in zip(zip(*kept, strict=True), types, strict=True)]
    batch = pa.record_batch(columns, schema=reference_schema(rules.schema))
    return _without_bad(batch, reasons, rules, told)


def _json_row(row: Any, rules: ReferenceRules) -> list[Any]:
    flat = row.get(_NESTED, row) if isinstance(row, dict) else row
    if not isinstance(flat, dict):
        raise ValueProblem('the row must be an object, or an object under the key "reference_data"')
    values = []
    for column in rules.columns:
        if column.name not in flat:
            raise ValueProblem(f"attribute {column.name} is missing")
        try:
            values.append(take_value(flat[column.name], column, rules.longest))
        except ValueProblem as problem:
            raise ValueProblem(_reason(column.name, str(problem))) from None
    time = flat.get(EVENT_TIME)
    return [*values, instant(time) if isinstance(time, str) else None]


def _reason(name: str, why: str) -> str:
    return f"attribute {name}{'' if why.startswith('[') else ' '}{why}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
