"""What is asked of hotspots and insights, read from a request: each refused (400) by the parameter's name.

Must not answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from starlette.requests import Request

from modelwarden_server.analysis.hotspots.outcomes import Metric
from modelwarden_server.enrichments.hotspot_answers import Asked
from modelwarden_server.enrichments.hotspot_results import Searched
from modelwarden_server.enrichments.insights import STATES, Selection, State
from modelwarden_server.query.parameters import time_of
from modelwarden_server.query.request import QueryError
from modelwarden_server.web import Refusal

_MOST_PAGE: Final = 1000
_REST: Final = "rest"
"""As a threshold: what is worse than all other rows by the least difference."""


@dataclass(frozen=True, slots=True)
class Page:
    number: int
    size: int

    def of(self, found: Sequence[Any]) -> dict[str, Any]:
        """One page in the documented shape."""
        first = (self.number - 1) * self.size
        return {
            "data": list(found[first : first + self.size]),
            "page": self.number,
            "page_size": self.size,
            "total_pages": -(-len(found) // self.size),
            "total_count": len(found),
        }


def asked_of(request: Request) -> Asked:
    """The metric and the threshold that are asked for."""
    name = request.query_params.get("metric", Metric.ACCURACY.value)
    if name not in {metric.value for metric in Metric}:
        raise Refusal(400, f"metric: must be one of {', '.join(metric.value for metric in Metric)}")
    metric, text = Metric(name), request.query_params.get("threshold")
    if text is None and metric is Metric.ACCURACY:
        return Asked(metric, 0.5)
    if text is None or text == _REST:
        return Asked(metric, None)
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if not 0 <= threshold < float("inf"):
        raise Refusal(400, f"threshold: must be a number, 0 or more, or {_REST}")
    return Asked(metric, threshold)


def day_of(text: str) -> date:
    """A day, or that of an instant in UTC."""
    try:
        return (
            datetime.fromisoformat(text).astimezone(UTC).date() if "T" in text else date.fromisoformat(text)
        )
    except ValueError:
        raise Refusal(400, "date: must be a day like 2026-01-31") from None


def covers(searched: Searched, day: date) -> bool:
    """Whether the day lies in the window, by its last instant."""
    start, end = searched.subject.start, searched.subject.end
    assert start is not None
    assert end is not None
    return start.date() <= day and datetime.combine(day, datetime.min.time(), UTC) < end


def selection_of(request: Request) -> Selection:
    """The insights that are asked for."""
    status = request.query_params.get("status")
    return Selection(
        start_time=_time(request, "start_time"),
        end_time=_time(request, "end_time"),
        status=None if status is None else state_of(status),
        batch_id=request.query_params.get("batch_id"),
    )


def _time(request: Request, name: str) -> datetime | None:
    try:
        return time_of(request.query_params, name)
    except QueryError as error:
        raise Refusal(400, str(error)) from None


def state_of(text: str) -> State:
    """A state, in any case of letters."""
    found = next((state for state in STATES if state.lower() == text.lower()), None)
    if found is None:
        raise Refusal(400, f"status: must be {' or '.join(STATES)}")
    return found


def page_of(request: Request) -> Page:
    """The page that is asked for, of a hundred without a word."""
    numbers = []
    for name, usual, most in (("page", 1, 1_000_000), ("page_size", 100, _MOST_PAGE)):
        text = request.query_params.get(name, str(usual))
        if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:12]) <= most:
            raise Refusal(400, f"{name}: must be a whole number from 1 to {most}")
        numbers.append(int(text))
    return Page(*numbers)
