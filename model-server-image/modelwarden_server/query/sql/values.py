"""Values that a client compares with, turned into what their column holds, and conditions over them.

Numbers may come as texts ("0.5") and the other way round (a category 1 of a text attribute): what the
documented client sends. A value that cannot be meant is refused, not compared to nothing.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from modelwarden_server.analysis.cells import category_text
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.expression import NUMERIC, Binder, Expression, Kind, combined
from modelwarden_server.query.sql.request import Condition
from modelwarden_server.schema.instants import instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SIGNS = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_MAX_VALUES = 1000
_INT64 = 1 << 63


def condition_over(left: Expression, asked: Condition, binder: Binder) -> Expression:
    """The condition as a piece that is true, false or null (a missing value fulfils nothing but IsNull).

    Raises QueryError.
    """
    match asked.comparator:
        case "IsNull":
            return combined(f"({left.sql} IS NULL)", Kind.BOOLEAN, left)
        case "NotNull":
            return combined(f"({left.sql} IS NOT NULL)", Kind.BOOLEAN, left)
        case "in":
            return _within(left, asked, binder)
        case "like":
            if left.kind is not Kind.TEXT or not isinstance(asked.value, str):
                raise QueryError(
                    f"{asked.path}: like compares a text with a text, with % and _ as placeholders"
                )
            return combined(f"({left.sql} LIKE {binder.bind(asked.value)})", Kind.BOOLEAN, left)
        case comparator:
            if asked.value is None:
                raise QueryError(f"{asked.path}.value: is null: use IsNull or NotNull")
            if comparator not in ("eq", "ne") and left.kind in (Kind.BOOLEAN,):
                raise QueryError(f"{asked.path}.comparator: true and false have no order")
            value = binder.bind(value_for(left.kind, asked.value, f"{asked.path}.value"))
            return combined(f"({left.sql} {_SIGNS[comparator]} {value})", Kind.BOOLEAN, left)


def _within(left: Expression, asked: Condition, binder: Binder) -> Expression:
    values = asked.value
    if not isinstance(values, list) or not 1 <= len(values) <= _MAX_VALUES:
        raise QueryError(f"{asked.path}.value: in needs a list of 1 to {_MAX_VALUES} values")
    places = [
        binder.bind(value_for(left.kind, value, f"{asked.path}.value[{place}]"))
        for place, value in enumerate(values)
        if value is not None
    ]
    # A null in the list means the missing values too; without one they are in no list.
    listed = f"({left.sql} IN ({', '.join(places)}))" if places else "false"
    if len(places) < len(values):
        listed = f"({left.sql} IS NULL OR coalesce({listed}, false))"
    return combined(listed, Kind.BOOLEAN, left)


def value_for(kind: Kind, value: Any, path: str) -> Any:
    """The value as something of that kind is compared with it. Raises QueryError."""
    match kind:
        case Kind.BOOLEAN:
            return _boolean(value, path)
        case kind if kind in NUMERIC:
            return number(value, path)
        case Kind.TEXT:
            if isinstance(value, str | bool | int | float):
                return category_text(value)
            raise QueryError(f"{path}: must be a text")
        case Kind.TIME:
            return moment(value, path)
        case _:
            raise QueryError(f"{path}: {kind.value} can only be compared by NotNull and IsNull")


def number(value: Any, path: str) -> int | float:
    """A finite number, or a text of one. Raises QueryError."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise QueryError(f"{path}: must be a number") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise QueryError(f"{path}: must be a number")
    # What is no int64 is compared as a float: every whole number of a table lies below it, or above.
    return float(value) if isinstance(value, int) and not -_INT64 <= value < _INT64 else value


def moment(value: Any, path: str) -> datetime:
    """UTC without a zone, as columns of times are. Raises QueryError."""
    micros = instant(value) if isinstance(value, str) else None
    if micros is None:
        raise QueryError(f"{path}: must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00Z")
    return (_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=None)


def constant(value: Any, path: str) -> tuple[Any, Kind]:
    """A value that is returned as it is, and its kind. Raises QueryError."""
    match value:
        case None:
            return None, Kind.NOTHING
        case bool():
            return value, Kind.BOOLEAN
        case int() | float():
            found = number(value, path)
            return found, Kind.INTEGER if isinstance(found, int) else Kind.NUMBER
        case str():
            return value, Kind.TEXT
        case _:
            raise QueryError(f"{path}: must be a text, a number, true, false or null")


def _boolean(value: Any, path: str) -> bool:
    match value:
        case bool():
            return value
        case "true" | "True" | "1":
            return True
        case "false" | "False" | "0":
            return False
        case int() | float() if value in (0, 1):
            return bool(value)
        case _:
            raise QueryError(f"{path}: must be true or false")
