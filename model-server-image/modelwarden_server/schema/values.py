"""Single values as clients send them, judged one at a time: what is taken, as what, and why the rest is not.

The reasons end up in answers: they name what is wrong and what to send, and never repeat the value.
"""

import math
from collections.abc import Callable
from typing import Any

from modelwarden.resources.attributes import ValueType
from modelwarden_server.schema.compiled import Column
from modelwarden_server.schema.instants import instant

MAX_ID_LENGTH = 512
INT64 = 1 << 63


class ValueProblem(ValueError):  # noqa: N818 - it is a problem of the sender's, told in an answer
    """Why a value is not taken, as a sentence to follow the name of its attribute."""


def whole(value: int | float) -> int:
    """An integer, which may have come as a float: pandas makes 1.0 of 1 when its neighbours are missing."""
    if isinstance(value, float) and not value.is_integer():  # NaN and infinity are not whole either
        raise ValueProblem("must be a whole number")
    if not -INT64 <= value < INT64:
        raise ValueProblem("does not fit into 64 bits")
    return int(value)


def id_text(value: int | float | str) -> str:
    """An id as text: a number's digits, without a fraction if it is whole, so 7, 7.0 and "7" are one id."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def take_id(value: Any, *, required: bool = True) -> str | None:
    """An id or a batch's id as text; None if it is absent and may be. Raises ValueProblem."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        if required:
            raise ValueProblem("is required")
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueProblem(f"must be a text, not {kind_of(value)}")
    if isinstance(value, float) and math.isinf(value):
        raise ValueProblem("must be a text, not an infinite number")
    return _text(id_text(value), MAX_ID_LENGTH)


def take_instant(value: Any, latest: int | None) -> int:
    """Microseconds since 1970. `latest`: the last instant that is not too far ahead. Raises ValueProblem."""
    if value is None:
        raise ValueProblem("is required")
    if not isinstance(value, str):
        raise ValueProblem(f"must be a text like 2026-01-31T12:00:00+00:00, not {kind_of(value)}")
    parsed = instant(value)
    if parsed is None:
        raise ValueProblem("must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00+00:00")
    if latest is not None and parsed > latest:
        raise ValueProblem(
            "is too far in the future: check the clock of the sender, or raise ingest.maxFuture"
        )
    return parsed


def take_value(value: Any, column: Column, longest: int) -> Any:
    """The value as its column holds it, None for a missing one. Raises ValueProblem."""
    if value is None or (column.nan_is_missing and isinstance(value, float) and math.isnan(value)):
        if column.valued:
            raise ValueProblem("is required: a prediction needs a value")
        return None
    return _TAKERS[column.value_type](value, longest)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise ValueProblem(f"must be a text, not {kind_of(value)}")
    if len(value) > longest:
        raise ValueProblem(f"is longer than {longest} characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueProblem("is not valid Unicode: half of a surrogate pair") from None
    return value


def _integer(value: Any, _longest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueProblem(f"must be a whole number, not {kind_of(value)}")
    return whole(value)


def _float(value: Any, _longest: int) -> float:
    if type(value) is float and not math.isinf(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueProblem(f"must be a number, not {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValueProblem("is infinite or too large for a 64-bit float")
    return number


def _boolean(value: Any, _longest: int) -> bool:
    if not isinstance(value, bool):
        raise ValueProblem(f"must be true or false, not {kind_of(value)}")
    return value


def _instant_value(value: Any, _longest: int) -> int:
    return take_instant(value, None)


_TAKERS: dict[ValueType, Callable[[Any, int], Any]] = {
    ValueType.STRING: _text,
    ValueType.UNSTRUCTURED_TEXT: _text,
    ValueType.IMAGE: _text,
    ValueType.INTEGER: _integer,
    ValueType.FLOAT: _float,
    ValueType.BOOLEAN: _boolean,
    ValueType.TIMESTAMP: _instant_value,
}
