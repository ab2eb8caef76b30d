"""Times, thresholds and filters in the query part of a URL: one reading for all doors. Pure.

A parameter that is empty is none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from modelwarden_server.query.request import MAX_FILTERS, Condition, QueryError
from modelwarden_server.schema.instants import instant

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_TEXT: Final = 16_384


class _Condition(msgspec.Struct, forbid_unknown_fields=True):
    property: str
    comparator: str = "eq"
    value: Any = None


def time_of(given: Mapping[str, str], name: str) -> datetime | None:
    """A time with a zone. Raises QueryError."""
    text = given.get(name)
    if not text:
        return None
    # A plus that stands in a URL as it is arrives as a blank.
    micros = instant(text.replace(" ", "+"))
    if micros is None:
        raise QueryError(f"{name}: must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00Z")
    return _EPOCH + timedelta(microseconds=micros)


def span_of(given: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    """`start` and `end`, which a batch has not. Raises QueryError."""
    start, end = time_of(given, "start"), time_of(given, "end")
    if start is not None and end is not None and start >= end:
        raise QueryError("end: must be after start")
    if given.get("batch_id") and (start is not None or end is not None):
        raise QueryError("batch_id: a batch has no times; leave out start and end")
    return start, end


def threshold_of(given: Mapping[str, str]) -> float | None:
    """A threshold of scores. Raises QueryError."""
    text = given.get("threshold")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise QueryError("threshold: must be a number from 0 to 1")
    return number


def conditions_of(given: Mapping[str, str]) -> tuple[Condition, ...]:
    """The conditions in `filter`. Raises QueryError."""
    text = given.get("filter")
    if not text:
        return ()
    if len(text) > _MOST_TEXT:
        raise QueryError(f"filter: is longer than {_MOST_TEXT} characters")
    try:
        found = msgspec.json.decode(text, type=list[_Condition])
    except msgspec.DecodeError as error:
        like = '[{"property": "age", "comparator": "gt", "value": 60}]'
        raise QueryError(f"filter: must be a JSON list like {like}: {error}") from None
    if len(found) > MAX_FILTERS:
        raise QueryError(f"filter: has more than {MAX_FILTERS} entries")
    return tuple(Condition(one.property, one.comparator, one.value) for one in found)
