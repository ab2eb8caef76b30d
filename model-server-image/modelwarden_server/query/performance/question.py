"""A question about performance, as the URL puts it. Pure: parses and refuses.

GET /api/v3/models/{id}/performance?start&end&batch_id&rollup&threshold&class&attribute|segment&filter&k
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.query.parameters import conditions_of, span_of, threshold_of
from modelwarden_server.query.request import Condition, QueryError, Rollup

ROLLUPS: Final = ("hour", "day", "month", "year", "batch_id")
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
    start, end = span_of(given)
    question = PerformanceQuestion(
        start=start,
        end=end,
        batch=given.get("batch_id"),
        rollup=_rollup(given.get("rollup")),
        threshold=threshold_of(given),
        class_=given.get("class"),
        attribute=given.get("attribute"),
        segment=given.get("segment"),
        filter=conditions_of(given),
        k=_places(given.get("k", "10")),
    )
    if question.attribute is not None and question.segment is not None:
        raise QueryError("segment: ask for a segment or for the groups of an attribute, not for both")
    if question.batch is not None and question.rollup:
        raise QueryError("batch_id: a batch has no times; leave out rollup")
    return question


def _rollup(text: str | None) -> Rollup | None:
    if text is not None and text not in ROLLUPS:
        raise QueryError(f"rollup: must be one of {', '.join(ROLLUPS)}, not {text[:50]!r}")
    return cast("Rollup | None", text)


def _places(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:9]) <= MAX_K:
        raise QueryError(f"k: must be a whole number from 1 to {MAX_K}")
    return int(text)
