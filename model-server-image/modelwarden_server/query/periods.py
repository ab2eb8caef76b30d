"""The periods of a rollup as spans of slices. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from modelwarden_server.analysis.partials import SLICE_SECONDS, SLICES_PER_DAY
from modelwarden_server.query.filters import Span
from modelwarden_server.query.request import Rollup

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def periods(days: Sequence[int], span: Span, rollup: Rollup | None) -> list[tuple[str, int, int]]:
    """The periods that can have rows: name, first slice, slice after the last. `days` are those with rows."""
    if not days:
        return [] if rollup else [("", 0, 0)]
    first = days[0] * SLICES_PER_DAY if span.start is None else max(span.start, days[0] * SLICES_PER_DAY)
    last = (
        (days[-1] + 1) * SLICES_PER_DAY
        if span.end is None
        else min(span.end, (days[-1] + 1) * SLICES_PER_DAY)
    )
    if rollup is None:
        return [("", first, max(first, last))]
    if rollup == "hour":
        return _hours(days, first, last)
    found: dict[str, tuple[int, int]] = {}
    for day in days:
        low, high = max(first, day * SLICES_PER_DAY), min(last, (day + 1) * SLICES_PER_DAY)
        if low < high:
            name = _name(_EPOCH + timedelta(days=day), rollup)
            found[name] = (min(low, found.get(name, (low, high))[0]), high)
    return [(name, low, high) for name, (low, high) in found.items()]


def _hours(days: Sequence[int], first: int, last: int) -> list[tuple[str, int, int]]:
    per_hour = 3600 // SLICE_SECONDS
    found = []
    for day in days:
        for hour in range(24):
            start = day * SLICES_PER_DAY + hour * per_hour
            low, high = max(first, start), min(last, start + per_hour)
            if low < high:
                found.append((_name(_EPOCH + timedelta(days=day, hours=hour), "hour"), low, high))
    return found


def _name(time: datetime, rollup: Rollup) -> str:
    if rollup in ("month", "year"):
        time = time.replace(day=1, month=1 if rollup == "year" else time.month)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
