"""Rows of files as columns: a whole Arrow batch against the schema, in vector operations.

What is taken, and why a row is not, is what the slow path says of the same row in a request. Must not read
files.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.attributes import RESERVED_NAMES
from modelwarden_server.schema.casts import (
    Reasons,
    cast_column,
    is_instant,
    is_text,
    plain,
    takes,
    to_instant,
    to_text,
    undressed,
    wanted,
)
from modelwarden_server.schema.compiled import (
    BATCH,
    EVENT_TIME,
    ID,
    INSTANT,
    TRUTH_TIME,
    Column,
    CompiledSchema,
)
from modelwarden_server.schema.fields import TRUTH, message
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedLabels, ParsedRows
from modelwarden_server.schema.scalars import MAX_ID_LENGTH, TOO_LATE, ValueProblem, take_id
from modelwarden_server.schema.slow import NO_BATCH, NO_LABEL, NOT_A_BATCH_MODEL

Mask = npt.NDArray[np.bool_]
_LISTED = 10


def check_columns(schema: CompiledSchema, found: pa.Schema) -> tuple[str, ...]:
    """Names of columns that are no attributes of the model. Once a file of inferences.

    Raises BodyError that names columns that are missing, there twice, or of a type that cannot be taken.
    """
    needed = [ID, EVENT_TIME, *(c.name for c in schema.data if c.keyed)]
    return _check(schema, found, needed, (*schema.data, *schema.truth))


def check_label_columns(schema: CompiledSchema, found: pa.Schema) -> tuple[str, ...]:
    """As `check_columns`, for a file of labels. Attributes other than the ground truth are not looked at."""
    names = [c.name for c in schema.truth]
    if names and all(found.get_field_index(name) < 0 for name in names):
        raise BodyError(f"there is no column with ground truth: send {_listed(names)}")
    return _check(schema, found, [ID, TRUTH_TIME], schema.truth)


def check_batch(schema: CompiledSchema, batch: pa.RecordBatch, limits: Limits) -> ParsedRows:
    """The good rows of a batch whose columns were checked, and the reasons of the others.

    A row has a label if any attribute of its ground truth has a value.
    """
    problems = _Problems()
    count = batch.num_rows
    ids = _ids(batch, problems)
    times = _times(batch, EVENT_TIME, limits, problems)
    head = [ids, times, _batch_ids(schema, batch, limits, problems)]
    data = [_attribute(batch, column, limits, problems) for column in schema.data]
    labels, labelled = _labels(schema, batch, limits, problems)
    good = problems.good(count)
    rows = pa.RecordBatch.from_arrays([*head, *data], schema=schema.inference_record)
    kept = pa.RecordBatch.from_arrays([ids, *labels], schema=schema.truth_record)
    labelled &= good
    return ParsedRows(
        total=count,
        rows=_filtered(rows, good),
        places=np.flatnonzero(good),
        truth=_filtered(kept, labelled),
        truth_rows=np.flatnonzero(labelled[good]),
        refused=problems.reasons(),
    )


def check_label_batch(schema: CompiledSchema, batch: pa.RecordBatch, limits: Limits) -> ParsedLabels:
    """The good labels of a batch whose columns were checked, and the reasons of the others."""
    problems = _Problems()
    ids = _ids(batch, problems)
    found = _Problems()
    labels, labelled = _labels(schema, batch, limits, found)
    for row in set(np.flatnonzero(~labelled).tolist()) - found.rows():
        found.add(row, f"{TRUTH}: {NO_LABEL}")
    problems.merge(found)
    good = problems.good(batch.num_rows)
    kept = pa.RecordBatch.from_arrays([ids, *labels], schema=schema.truth_record)
    return ParsedLabels(batch.num_rows, _filtered(kept, good), np.flatnonzero(good), problems.reasons())


class _Problems:
    """What is wrong with rows, in the order it was found."""

    def __init__(self) -> None:
        self._of: dict[int, list[str]] = {}

    def add(self, row: int, problem: str) -> None:
        self._of.setdefault(row, []).append(problem)

    def add_all(self, name: str, reasons: Reasons) -> None:
        for row, reason in reasons.items():
            self.add(row, f"{name}{'' if reason.startswith('[') else ': '}{reason}")

    def merge(self, other: "_Problems") -> None:
        for row, found in other._of.items():
            self._of.setdefault(row, []).extend(found)

    def rows(self) -> set[int]:
        return set(self._of)

    def good(self, count: int) -> Mask:
        mask = np.ones(count, dtype=np.bool_)
        mask[list(self._of)] = False
        return mask

    def reasons(self) -> Reasons:
        return {row: message(self._of[row]) for row in sorted(self._of)}


def _check(
    schema: CompiledSchema, found: pa.Schema, needed: Sequence[str], columns: Sequence[Column]
) -> tuple[str, ...]:
    names = found.names
    known = {ID, EVENT_TIME, TRUTH_TIME, BATCH, *(c.name for c in columns)}
    twice = sorted({name for name in known if names.count(name) > 1})
    if twice:
        raise BodyError(f"columns are there twice: {_listed(twice)}")
    missing = [name for name in needed if name not in names]
    if missing:
        raise BodyError(f"columns are missing: {_listed(missing)}; each needs one, even if it has no values")
    for column in columns:
        if column.name in names and not takes(column, found.field(column.name).type):
            raise BodyError(
                f"column {column.name} is {_brief(found.field(column.name).type)}: an attribute of type"
                f" {column.value_type} needs {wanted(column)}"
            )
    _check_head(found)
    other = {c.name for c in (*schema.data, *schema.truth)} | schema.implicit | set(RESERVED_NAMES)
    return tuple(name for name in names if name not in other and not name.startswith("__"))


def _check_head(found: pa.Schema) -> None:
    for name in (ID, BATCH):
        place = found.get_field_index(name)
        if place >= 0 and not _is_id(undressed(found.field(place).type)):
            raise BodyError(f"column {name} is {_brief(found.field(place).type)}: it must hold texts")
    for name in (EVENT_TIME, TRUTH_TIME):
        place = found.get_field_index(name)
        kind = pa.null() if place < 0 else undressed(found.field(place).type)
        if not pa.types.is_null(kind) and not is_instant(kind):
            raise BodyError(
                f"column {name} is {_brief(kind)}: it must hold timestamps with a zone, or ISO 8601 texts"
            )


def _is_id(kind: pa.DataType) -> bool:
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(number or pa.types.is_null(kind)) or is_text(kind)


def _attribute(batch: pa.RecordBatch, column: Column, limits: Limits, problems: _Problems) -> pa.Array:
    place = batch.schema.get_field_index(column.name)
    if place < 0:
        return pa.nulls(batch.num_rows, column.type)
    values, wrong = cast_column(batch.column(place), column, limits.string_length)
    problems.add_all(column.name, wrong)
    return values


def _ids(batch: pa.RecordBatch, problems: _Problems) -> pa.Array:
    values, wrong = _id_texts(plain(batch.column(batch.schema.get_field_index(ID))))
    problems.add_all(ID, wrong | dict.fromkeys(_absent(values, but=wrong), "is required"))
    return values


def _id_texts(given: pa.Array) -> tuple[pa.Array, Reasons]:
    """Ids as texts, null for an empty one; a number's digits."""
    if pa.types.is_null(given.type):
        return given.cast(pa.string()), {}
    if pa.types.is_floating(given.type):
        return _float_ids(given.to_pylist())
    texts, wrong = to_text(
        given.cast(pa.string()) if pa.types.is_integer(given.type) else given, MAX_ID_LENGTH
    )
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts), wrong


def _float_ids(numbers: Iterable[float | None]) -> tuple[pa.Array, Reasons]:
    texts: list[str | None] = []
    wrong = Reasons()
    for row, number in enumerate(numbers):
        try:
            texts.append(take_id(number, required=False))
        except ValueProblem as problem:
            wrong[row] = str(problem)
            texts.append(None)
    return pa.array(texts, pa.string()), wrong


def _times(batch: pa.RecordBatch, name: str, limits: Limits, problems: _Problems) -> pa.Array:
    values, wrong = _instants(batch, name, limits)
    problems.add_all(name, wrong | dict.fromkeys(_absent(values, but=wrong), "is required"))
    return values


def _instants(batch: pa.RecordBatch, name: str, limits: Limits) -> tuple[pa.Array, Reasons]:
    """A row's time; null where it is absent or wrong."""
    place = batch.schema.get_field_index(name)
    given = pa.nulls(batch.num_rows) if place < 0 else plain(batch.column(place))
    if pa.types.is_null(given.type):
        return given.cast(INSTANT), {}
    values, wrong = to_instant(given)
    late = np.flatnonzero(pc.fill_null(values.cast(pa.int64()), 0).to_numpy() > limits.latest)
    return values, wrong | {int(row): TOO_LATE for row in late}


def _batch_ids(
    schema: CompiledSchema, batch: pa.RecordBatch, limits: Limits, problems: _Problems
) -> pa.Array:
    place = batch.schema.get_field_index(BATCH)
    given = pa.nulls(batch.num_rows) if place < 0 else plain(batch.column(place))
    values, wrong = _id_texts(given)
    values = pc.fill_null(values, limits.batch) if limits.batch else values
    if schema.is_batch:
        wrong |= dict.fromkeys(_absent(values, but=wrong), NO_BATCH)
    else:
        present = np.flatnonzero(pc.is_valid(values).to_numpy(zero_copy_only=False))
        wrong |= {int(row): NOT_A_BATCH_MODEL for row in present}
    problems.add_all(BATCH, dict(sorted(wrong.items())))
    return values


def _labels(
    schema: CompiledSchema, batch: pa.RecordBatch, limits: Limits, problems: _Problems
) -> tuple[list[pa.Array], Mask]:
    """Times and values of the labels, and which rows have one. A time counts only where there is a label."""
    found = _Problems()
    values = [_attribute(batch, column, limits, found) for column in schema.truth]
    labelled = np.zeros(batch.num_rows, dtype=np.bool_)
    for column in values:
        labelled |= pc.is_valid(column).to_numpy(zero_copy_only=False)
    wrong_values = found.rows()
    times, wrong = _instants(batch, TRUTH_TIME, limits)
    wrong |= dict.fromkeys(_absent(times, but=wrong), "is required")
    found.add_all(
        TRUTH_TIME, {row: why for row, why in wrong.items() if labelled[row] and row not in wrong_values}
    )
    problems.merge(found)
    labelled[list(found.rows())] = False
    return [times, *values], labelled


def _absent(values: pa.Array, but: Reasons) -> list[int]:
    empty = np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False))
    return [int(row) for row in empty if int(row) not in but]


def _filtered(rows: pa.RecordBatch, mask: Mask) -> pa.RecordBatch:
    return rows if mask.all() else rows.filter(pa.array(mask))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _brief(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 100 else text[:99] + "…"
