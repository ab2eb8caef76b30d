"""The parts of a row that hold attributes, taken value by value with a reason for each that is not taken.

Shared by whoever goes through rows one by one. Must not know requests.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from modelwarden_server.schema.compiled import TRUTH_TIME, Column, CompiledSchema
from modelwarden_server.schema.parsed import Limits
from modelwarden_server.schema.values import ValueProblem, kind_of, take_instant, take_value

DATA, TRUTH = "inference_data", "ground_truth_data"
MAX_REASONS = 5
MAX_MESSAGE = 600
_ABSENT = object()


class FieldReader:
    """Reads `inference_data` and `ground_truth_data` of one schema. Problems are added to a list."""

    def __init__(self, schema: CompiledSchema) -> None:
        self._implicit = schema.implicit
        self._columns: dict[str, Sequence[Column]] = {DATA: schema.data, TRUTH: schema.truth}
        self._names = {field: frozenset(c.name for c in columns) for field, columns in self._columns.items()}

    def values(self, data: Any, field: str, limits: Limits, problems: list[str]) -> list[Any]:
        """The values in the order of the columns; of no use if there was a problem."""
        if not isinstance(data, dict):
            problems.append(f"{field}: must be an object, not {kind_of(data)}")
            return []
        if not data.keys() <= self._names[field]:
            problems += [self._unknown(key, field) for key in data if key not in self._names[field]]
        values: list[Any] = []
        for column in self._columns[field]:
            value = data.get(column.name, _ABSENT)
            try:
                values.append(_value(value, column, limits))
            except ValueProblem as problem:
                problems.append(reason(column.name, problem))
        return values

    def label(self, row: Mapping[str, Any], limits: Limits, problems: list[str]) -> list[Any] | None:
        """Time and values of a row's label; None if it has none, which is no problem here."""
        data = row.get(TRUTH)
        if data is None:
            return None
        before = len(problems)
        values = self.values(data, TRUTH, limits, problems)
        if len(problems) > before or all(value is None for value in values):
            return None
        try:
            return [take_instant(row.get(TRUTH_TIME), limits.latest), *values]
        except ValueProblem as problem:
            problems.append(f"{TRUTH_TIME}: {problem}")
            return None

    def _unknown(self, key: str, field: str) -> str:
        if key in self._implicit:
            return f"{quoted(key)}: is derived from another attribute and must not be sent"
        other = TRUTH if field == DATA else DATA
        if key in self._names[other]:
            return f"{quoted(key)}: belongs into {other}"
        return f"{quoted(key)}: unknown attribute"


def reason(name: str, problem: ValueProblem) -> str:
    """What is wrong with an attribute's value: its name, or a path into it, and why."""
    said = str(problem)
    return f"{name}{said}" if said.startswith("[") else f"{name}: {said}"


def quoted(key: str) -> str:
    """A client's key, short and printable, for a message."""
    return key if key.isidentifier() and key.isascii() and len(key) <= 255 else ascii(key[:64])


def message(problems: list[str]) -> str:
    """The first few of a row's problems, bounded."""
    more = len(problems) - MAX_REASONS
    text = "; ".join(problems[:MAX_REASONS]) + (f"; and {more} more" if more > 0 else "")
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def batch_of(rows: list[list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of taken values as columns."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _value(value: Any, column: Column, limits: Limits) -> Any:
    if value is _ABSENT:
        if column.keyed:
            raise ValueProblem("is missing")
        return None
    return take_value(value, column, limits.string_length)
