"""Single values as clients send them: what is taken, as what, and why the rest is not.

The reasons end up in answers: they name what is wrong and what to send, and never repeat the value.
"""

import math
from typing import Any

from modelwarden_server.schema.instants import instant

MAX_ID_LENGTH = 512
INT64 = 1 << 63
NO_INSTANT = "must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00+00:00"
TOO_LATE = "is too far in the future: check the clock of the sender, or raise ingest.maxFuture"
NOT_WHOLE = "must be a whole number"
NOT_64_BITS = "does not fit into 64 bits"
INFINITE = "is infinite or too large for a 64-bit float"


class ValueProblem(ValueError):  # noqa: N818 - it is a problem of the sender's, told in an answer
    """Why a value is not taken, as a sentence to follow the name of its attribute."""


def whole(value: int | float) -> int:
    """An integer, which may have come as a float: pandas makes 1.0 of 1 when its neighbours are missing."""
    if isinstance(value, float) and not value.is_integer():  # NaN and infinity are not whole either
        raise ValueProblem(NOT_WHOLE)
    if not -INT64 <= value < INT64:
        raise ValueProblem(NOT_64_BITS)
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
    return take_text(id_text(value), MAX_ID_LENGTH)


def take_instant(value: Any, latest: int | None) -> int:
    """Microseconds since 1970. `latest`: the last instant that is not too far ahead. Raises ValueProblem."""
    if value is None:
        raise ValueProblem("is required")
    if not isinstance(value, str):
        raise ValueProblem(f"must be a text like 2026-01-31T12:00:00+00:00, not {kind_of(value)}")
    parsed = instant(value)
    if parsed is None:
        raise ValueProblem(NO_INSTANT)
    if latest is not None and parsed > latest:
        raise ValueProblem(TOO_LATE)
    return parsed


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


def take_text(value: Any, longest: int) -> str:
    """A text of at most `longest` characters. Raises ValueProblem."""
    if not isinstance(value, str):
        raise ValueProblem(f"must be a text, not {kind_of(value)}")
    if len(value) > longest:
        raise ValueProblem(too_long(longest))
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueProblem("is not valid Unicode: half of a surrogate pair") from None
    return value


def too_long(longest: int) -> str:
    """Why a text is refused that has more than `longest` characters."""
    return f"is longer than {longest} characters"


def take_integer(value: Any, _longest: int = 0) -> int:
    """A whole number of 64 bits. Raises ValueProblem."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueProblem(f"must be a whole number, not {kind_of(value)}")
    return whole(value)


def take_float(value: Any, _longest: int = 0) -> float:
    """A number that a 64-bit float can hold, or NaN. Raises ValueProblem."""
    if type(value) is float and not math.isinf(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueProblem(f"must be a number, not {kind_of(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ValueProblem(INFINITE)
    return number


def take_boolean(value: Any, _longest: int = 0) -> bool:
    """True or false. Raises ValueProblem."""
    if not isinstance(value, bool):
        raise ValueProblem(f"must be true or false, not {kind_of(value)}")
    return value


def take_instant_value(value: Any, _longest: int = 0) -> int:
    """As `take_instant`, for an attribute, which may lie in the future."""
    return take_instant(value, None)
