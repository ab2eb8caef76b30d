"""The slow path: row by row, with a reason for every row that is not taken.

Reads bodies that a strict parser refuses, because the documented client sends them: bare NaN for a
missing label. Must accept what the fast path accepts, with the same result.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID, TRUTH_TIME, Column, CompiledSchema
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import Limits, ParsedRows, TooManyRowsError
from modelwarden_server.schema.values import ValueProblem, kind_of, take_id, take_instant, take_value

MAX_REASONS = 5
MAX_MESSAGE = 600
_DATA, _TRUTH = "inference_data", "ground_truth_data"
_FIELDS = frozenset({ID, EVENT_TIME, TRUTH_TIME, BATCH, _DATA, _TRUTH})
_ABSENT = object()


class SlowParser:
    """Parser of one schema that explains."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._schema = schema
        self._names = {
            _DATA: frozenset(c.name for c in schema.data),
            _TRUTH: frozenset(c.name for c in schema.truth),
        }

    def parse(self, body: bytes, limits: Limits) -> ParsedRows:
        """The good rows and the reasons of the others. Raises BodyError or TooManyRowsError."""
        rows: list[list[Any]] = []
        places: list[int] = []
        labels: list[list[Any]] = []
        labelled: list[int] = []
        refused: dict[int, str] = {}
        total = 0
        for place, row in enumerate(elements(body)):
            total = place + 1
            if total > limits.rows:
                raise TooManyRowsError(limits.rows)
            taken, label, problems = self._take(row, limits)
            if problems:
                refused[place] = _message(problems)
                continue
            if label is not None:
                labelled.append(len(rows))
                labels.append(label)
            rows.append(taken)
            places.append(place)
        schema = self._schema
        return ParsedRows(
            total=total,
            rows=_batch(rows, schema.inference_record),
            places=np.array(places, dtype=np.int64),
            truth=_batch(labels, schema.truth_record),
            truth_rows=np.array(labelled, dtype=np.int64),
            refused=refused,
        )

    def _take(self, row: Any, limits: Limits) -> tuple[list[Any], list[Any] | None, list[str]]:
        """A row's values, its label's values if it has one, and what is wrong with it."""
        problems: list[str] = []
        if not isinstance(row, dict):
            return [], None, [f"the row must be an object, not {kind_of(row)}"]
        if not row.keys() <= _FIELDS:
            problems += [f"{_quoted(key)}: unknown field" for key in row if key not in _FIELDS]
        taken: list[Any] = [None, None, None]
        try:
            taken[0] = take_id(row.get(ID))
        except ValueProblem as problem:
            problems.append(f"{ID}: {problem}")
        try:
            taken[1] = take_instant(row.get(EVENT_TIME), limits.latest)
        except ValueProblem as problem:
            problems.append(f"{EVENT_TIME}: {problem}")
        try:
            taken[2] = self._batch_id(row.get(BATCH))
        except ValueProblem as problem:
            problems.append(f"{BATCH}: {problem}")
        taken += self._values(row.get(_DATA), _DATA, limits, problems)
        label = self._label(row, limits, problems)
        return taken, label if label is None else [taken[0], *label], problems

    def _values(self, data: Any, field: str, limits: Limits, problems: list[str]) -> list[Any]:
        if not isinstance(data, dict):
            problems.append(f"{field}: must be an object, not {kind_of(data)}")
            return []
        if not data.keys() <= self._names[field]:
            problems += [self._unknown(key, field) for key in data if key not in self._names[field]]
        values: list[Any] = []
        for column in self._schema.data if field == _DATA else self._schema.truth:
            value = data.get(column.name, _ABSENT)
            try:
                values.append(_value(value, column, limits))
            except ValueProblem as problem:
                problems.append(f"{column.name}: {problem}")
        return values

    def _label(self, row: dict[str, Any], limits: Limits, problems: list[str]) -> list[Any] | None:
        data = row.get(_TRUTH)
        if data is None:
            return None
        before = len(problems)
        values = self._values(data, _TRUTH, limits, problems)
        if len(problems) > before or all(value is None for value in values):
            return None
        try:
            return [take_instant(row.get(TRUTH_TIME), limits.latest), *values]
        except ValueProblem as problem:
            problems.append(f"{TRUTH_TIME}: {problem}")
            return None

    def _batch_id(self, value: Any) -> str | None:
        text = take_id(value, required=False)
        if self._schema.is_batch and text is None:
            raise ValueProblem("is required: this is a batch model")
        if not self._schema.is_batch and text is not None:
            raise ValueProblem("must be left out: this is not a batch model")
        return text

    def _unknown(self, key: str, field: str) -> str:
        if key in self._schema.implicit:
            return f"{_quoted(key)}: is derived from another attribute and must not be sent"
        other = _TRUTH if field == _DATA else _DATA
        if key in self._names[other]:
            return f"{_quoted(key)}: belongs into {other}"
        return f"{_quoted(key)}: unknown attribute"


def _value(value: Any, column: Column, limits: Limits) -> Any:
    if value is _ABSENT:
        if column.keyed:
            raise ValueProblem("is missing")
        return None
    return take_value(value, column, limits.string_length)


def _quoted(key: str) -> str:
    """A client's key, short and printable, for a message."""
    return key if key.isidentifier() and key.isascii() and len(key) <= 255 else ascii(key[:64])


def _message(problems: list[str]) -> str:
    more = len(problems) - MAX_REASONS
    text = "; ".join(problems[:MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _batch(rows: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
