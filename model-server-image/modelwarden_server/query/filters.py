"""Filters of a query: as an expression over columns, or, if they only bound the time, as a span of slices.

Every value is turned into its column's type before it meets a row. Must not read anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.query.request import Condition, QueryError
from modelwarden_server.schema.compiled import EVENT_TIME
from modelwarden_server.schema.instants import instant

_SLICE = SLICE_SECONDS * 1_000_000
_MAX_VALUES = 1000
_ORDERED = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
COMPARATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "like", "NotNull", "IsNull")


@dataclass(frozen=True, slots=True)
class Span:
    """Slices in [start, end); None where the query sets no bound."""

    start: int | None = None
    end: int | None = None


def as_span(conditions: Sequence[Condition]) -> Span | None:
    """The slices that the conditions leave, if whole slices are all they tell apart; else None.

    Raises QueryError for a time that cannot be read.
    """
    start: int | None = None
    end: int | None = None
    for condition in conditions:
        if condition.property != EVENT_TIME or condition.comparator not in ("gte", "lt"):
            return None
        at, rest = divmod(_micros(condition), _SLICE)
        if rest:
            return None
        if condition.comparator == "gte":
            start = at if start is None else max(start, at)
        else:
            end = at if end is None else min(end, at)
    return Span(start, end)


def as_expression(conditions: Sequence[Condition], columns: pa.Schema, field: str) -> pc.Expression | None:
    """All conditions as one expression over a table with those columns; None without any.
    Raises QueryError.
    """
    whole: pc.Expression | None = None
    for place, condition in enumerate(conditions):
        one = _expression(condition, columns, f"{field}.filter[{place}]")
        whole = one if whole is None else whole & one
    return whole


def filtered_columns(conditions: Sequence[Condition]) -> list[str]:
    """The columns that the conditions look at."""
    return list(dict.fromkeys(condition.property for condition in conditions))


def _micros(condition: Condition) -> int:
    at = instant(condition.value) if isinstance(condition.value, str) else None
    if at is None:
        raise QueryError(
            f"filter: {condition.property} must be compared with an ISO 8601 time with a zone,"
            " like 2026-01-31T12:00:00Z"
        )
    return at


def _expression(condition: Condition, columns: pa.Schema, field: str) -> pc.Expression:
    if columns.get_field_index(condition.property) < 0:
        raise QueryError(f"{field}.property: there is no {condition.property[:100]!r} in these rows")
    kind, column = columns.field(condition.property).type, pc.field(condition.property)
    match condition.comparator:
        case "NotNull":
            return ~column.is_null()
        case "IsNull":
            return column.is_null()
        case "eq":
            return column == _value(condition, condition.value, kind, field)
        case "ne":
            return column != _value(condition, condition.value, kind, field)
        case "in":
            return column.isin(_values(condition, kind, field))
        case "like":
            return _like(condition, column, kind, field)
        case ordered if ordered in _ORDERED:
            compared: pc.Expression = getattr(column, _ORDERED[ordered])(
                _value(condition, condition.value, kind, field)
            )
            return compared
        case other:
            raise QueryError(
                f"{field}.comparator: must be one of {', '.join(COMPARATORS)}, not {other[:50]!r}"
            )


def _values(condition: Condition, kind: pa.DataType, field: str) -> pa.Array:
    values = condition.value
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_VALUES:
        raise QueryError(f"{field}.value: in needs a list of 1 to {_MAX_VALUES} values")
    return pa.array([_value(condition, value, kind, field).as_py() for value in values], kind)


def _like(condition: Condition, column: pc.Expression, kind: pa.DataType, field: str) -> pc.Expression:
    if not pa.types.is_string(kind) or not isinstance(condition.value, str):
        raise QueryError(f"{field}: like compares a text attribute with a text, with % and _ as placeholders")
    return pc.match_like(column, condition.value)


def _value(condition: Condition, value: Any, kind: pa.DataType, field: str) -> pa.Scalar:
    if pa.types.is_timestamp(kind):
        return pa.scalar(_micros(Condition(condition.property, condition.comparator, value)), kind)
    wanted = _wanted(kind)
    fits = isinstance(value, wanted) and (isinstance(value, bool) == pa.types.is_boolean(kind))
    if not fits:
        raise QueryError(f"{field}.value: {condition.property} is {kind}, the value is of another type")
    try:
        # A fraction against whole numbers is compared as what it is: age > 17.5 means 18 and more.
        return pa.scalar(value, pa.float64() if isinstance(value, float) else kind)
    except (pa.ArrowInvalid, OverflowError):
        raise QueryError(f"{field}.value: is out of range for {kind}") from None


def _wanted(kind: pa.DataType) -> tuple[type, ...]:
    if pa.types.is_boolean(kind):
        return (bool,)
    return (int, float) if pa.types.is_integer(kind) or pa.types.is_floating(kind) else (str,)
