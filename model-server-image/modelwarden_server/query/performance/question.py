"""A question about performance, as the URL puts it. Pure: parses and refuses.

GET /api/v3/models/{id}/performance?start&end&batch_id&rollup&threshold&class&attribute|segment&filter&k
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, cast

import msgspec

from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.query.request import Condition, QueryError, Rollup
from modelwarden_server.schema.instants import instant

ROLLUPS: Final = ("hour", "day", "month", "year", "batch_id")
MAX_FILTERS: Final = 100
MAX_K: Final = 1000
_KNOWN: Final = frozenset(
    {
        "start",
        "end",
        "batch_id",
        "rollup",
        "threshold",
        "class",
        "attribute",
        "segment",
        "filter",
        "k",
        "id_type",
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Filter(msgspec.Struct):
    property: str
    comparator: str
    value: object = None


@dataclass(frozen=True)
class PerformanceQuestion:
    """What is asked. Without times, a batch or a rollup: the newest window. `attribute`: each of its groups
    beside everybody.
    """

    start: datetime | None = None
    end: datetime | None = None
    batch: str | None = None
    rollup: Rollup | None = None
    threshold: float | None = None
    class_: str | None = None
    attribute: str | None = None
    segment: str | None = None
    filter: tuple[Condition, ...] = ()
    k: int = 10
    """Of ranked lists: how many places count."""

    @property
    def whole_slices(self) -> bool:
        """Whether its times are whole slices of five minutes."""
        times = [t for t in (self.start, self.end) if t is not None]
        return all(t.timestamp() % SLICE_SECONDS == 0 for t in times)


def parse_question(given: Mapping[str, str]) -> PerformanceQuestion:
    """The question of a URL's parameters. Raises QueryError that names the parameter."""
    unknown = next((name for name in given if name not in _KNOWN), None)
    if unknown is not None:
        raise QueryError(f"{unknown[:50]!r} is no parameter: there are {', '.join(sorted(_KNOWN))}")
    question = PerformanceQuestion(
        start=_time(given, "start"),
        end=_time(given, "end"),
        batch=given.get("batch_id"),
        rollup=_rollup(given.get("rollup")),
        threshold=_threshold(given.get("threshold")),
        class_=given.get("class"),
        attribute=given.get("attribute"),
        segment=given.get("segment"),
        filter=_filter(given.get("filter")),
        k=_places(given.get("k", "10")),
    )
    if question.start is not None and question.end is not None and question.start >= question.end:
        raise QueryError("end: must be after start")
    if question.attribute is not None and question.segment is not None:
        raise QueryError("segment: ask for a segment or for the groups of an attribute, not for both")
    if question.batch is not None and (question.start or question.end or question.rollup):
        raise QueryError("batch_id: a batch has no times; leave out start, end and rollup")
    return question


def _time(given: Mapping[str, str], name: str) -> datetime | None:
    text = given.get(name)
    if text is None:
        return None
    at = instant(text.replace(" ", "+"))
    if at is None:
        raise QueryError(f"{name}: must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00Z")
    return _EPOCH + timedelta(microseconds=at)


def _rollup(text: str | None) -> Rollup | None:
    if text is not None and text not in ROLLUPS:
        raise QueryError(f"rollup: must be one of {', '.join(ROLLUPS)}, not {text[:50]!r}")
    return cast("Rollup | None", text)


def _threshold(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise QueryError("threshold: must be a number from 0 to 1")
    return number


def _places(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:9]) <= MAX_K:
        raise QueryError(f"k: must be a whole number from 1 to {MAX_K}")
    return int(text)


def _filter(text: str | None) -> tuple[Condition, ...]:
    if text is None:
        return ()
    try:
        found = msgspec.json.decode(text, type=list[_Filter])
    except msgspec.DecodeError as error:
        raise QueryError(f"filter: must be a JSON list of property, comparator and value: {error}") from None
    if len(found) > MAX_FILTERS:
        raise QueryError(f"filter: has more than {MAX_FILTERS} entries")
    return tuple(Condition(one.property, one.comparator, one.value) for one in found)
