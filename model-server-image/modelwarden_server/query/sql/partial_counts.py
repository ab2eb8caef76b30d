"""Counts over windows of time, from partials: exactly what the rows would give, without reading them.

That is so for `count`, and for `countIf` and `rate` of a missing or a listed value, over whole slices of five
minutes, by hour, day, month and year or over all. Everything else is left to the rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np

from modelwarden_server.analysis.cells import CategoryCells, Cells, category_text
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.partials import SLICE_SECONDS, SLICES_PER_DAY, Integers
from modelwarden_server.query.filters import Span, as_span
from modelwarden_server.query.request import Condition as TimeCondition
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.kinds import instant_text
from modelwarden_server.query.sql.level import ROLLUP
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import Alias, Call, Condition, Item, Property, Query, condition
from modelwarden_server.schema.compiled import EVENT_TIME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERIODS = ("hour", "day", "month", "year")
_PER_HOUR = 3600 // SLICE_SECONDS
Count = Callable[[Integers], int]


class Counted(Protocol):
    """Partials, as far as counting needs them."""

    def days(self) -> list[int]:
        """Days since 1970 that have rows, ascending."""
        ...

    def window(self, start: int, end: int) -> Integers:
        """Counts by code of the slices in [start, end)."""
        ...

    def cells(self, name: str) -> Cells | None:
        """The cells of an attribute, None if it has none."""
        ...

    def counts(self, name: str, totals: Integers) -> Integers:
        """The counts of an attribute's cells within counts by code."""
        ...


@dataclass(frozen=True)
class _Wanted:
    """One value of each row: how it is counted, and whether it is divided by all rows."""

    name: str
    count: Count
    share: bool = False


def count_by_partials(
    query: Query, model: QueriedModel, counted: Callable[[], Counted | None]
) -> list[dict[str, Any]] | None:
    """The rows of the answer, or None if only the rows of the table can tell."""
    span = span_of(query)
    if span is None or model.is_batch:
        return None
    period = period_of(query)
    if period is None:
        return None
    partials = counted()
    if partials is None:
        return None
    time_name, interval = period
    items = [item for item in query.select if item.name != time_name]
    wanted = [_wanted(item, partials) for item in items]
    known = [one for one in wanted if one is not None]
    if len(known) < len(wanted) or len({item.name for item in query.select}) < len(query.select):
        return None
    rows = []
    for start, low, high in periods(partials.days(), span, interval):
        totals = partials.window(low, high)
        if time_name is not None and not totals[ROWS]:
            continue
        values: dict[str, Any] = {one.name: _value(one, totals) for one in known}
        if time_name is not None:
            values[time_name] = instant_text(start)
        rows.append(in_order(query, values))
    return bounded(query, rows)


def span_of(query: Query) -> Span | None:
    """The slices that the filters leave, if the query is one of counts and whole slices."""
    plain = query.source == "inference" and query.subquery is None and query.sample is None
    if not plain or any(not isinstance(asked.of, Property) for asked in query.conditions):
        return None
    asked = [
        TimeCondition(c.of.name, c.comparator, c.value)
        for c in query.conditions
        if isinstance(c.of, Property)
    ]
    try:
        return as_span(asked)
    except QueryError:
        return None


def period_of(query: Query) -> tuple[str | None, str | None] | None:
    """Under which name the time stands and how it is divided; None if otherwise than partials can."""
    if query.rollup is not None:
        fits = query.rollup in _PERIODS and not query.group_by
        found: tuple[str | None, str | None] | None = (ROLLUP, query.rollup) if fits else None
    elif not query.group_by:
        found = (None, None)
    else:
        found = _grouped_time(query)
    if found is None:
        return None
    ordered = all(entry.of.name == found[0] for entry in query.order_by) and len(query.order_by) <= 1
    return found if ordered else None


def _grouped_time(query: Query) -> tuple[str, str] | None:
    if len(query.group_by) != 1:
        return None
    name = query.group_by[0].name
    what = next((item.what for item in query.select if item.name == name), None)
    if (
        not isinstance(query.group_by[0], Alias)
        or not isinstance(what, Call)
        or what.function != "roundTimestamp"
    ):
        return None
    given = dict(what.parameters)
    interval = given.pop("time_interval", None)
    if given != {"property": EVENT_TIME} or interval not in _PERIODS:
        return None
    return name, str(interval)


def _wanted(item: Item, partials: Counted) -> _Wanted | None:
    if not isinstance(item.what, Call):
        return None
    match item.what.function:
        case "count" if not item.what.parameters:
            return _Wanted(item.name, lambda totals: int(totals[ROWS]))
        case "countIf" | "rate" as function:
            count = _matching(condition(dict(item.what.parameters), item.what.path), partials)
            return None if count is None else _Wanted(item.name, count, share=function == "rate")
        case _:
            return None


def _matching(asked: Condition, partials: Counted) -> Count | None:
    """How many rows fulfil a condition, if the cells tell it exactly."""
    if not isinstance(asked.of, Property):
        return None
    name = asked.of.name
    cells = partials.cells(name)
    if cells is None:
        return None
    missing = list(cells.missing)
    match asked.comparator:
        case "IsNull":
            chosen = missing
        case "NotNull":
            chosen = [cell for cell in range(cells.size) if cell not in missing]
        case "eq" | "in":
            values = asked.value if asked.comparator == "in" else [asked.value]
            found = _cells_of(cells, values)
            if found is None:
                return None
            chosen = found
        case _:
            return None
    index = np.array(chosen, dtype=np.int64)
    return lambda totals: int(partials.counts(name, totals)[index].sum())


def _cells_of(cells: Cells, values: Any) -> list[int] | None:
    """The cells of these values, each of which must have one for itself."""
    if not isinstance(cells, CategoryCells) or not isinstance(values, list):
        return None
    places = {text: cell for cell, text in enumerate(cells.values)}
    found = []
    for value in values:
        text = category_text(value) if isinstance(value, str | int | float) else None
        if text is None or text not in places:
            return None
        found.append(places[text])
    return sorted(set(found))


def periods(days: list[int], span: Span, interval: str | None) -> Iterator[tuple[datetime, int, int]]:
    """The periods that can have rows: when each begins, its first slice, the slice after its last."""
    if not days:
        if interval is None:
            yield _EPOCH, 0, 0
        return
    first = days[0] * SLICES_PER_DAY if span.start is None else max(span.start, days[0] * SLICES_PER_DAY)
    end = (days[-1] + 1) * SLICES_PER_DAY
    last = end if span.end is None else min(span.end, end)
    if interval is None:
        yield _EPOCH, first, max(first, last)
        return
    found: dict[datetime, tuple[int, int]] = {}
    for day in days:
        step = _PER_HOUR if interval == "hour" else SLICES_PER_DAY
        for start in range(day * SLICES_PER_DAY, (day + 1) * SLICES_PER_DAY, step):
            low, high = max(first, start), min(last, start + step)
            if low < high:
                begins = _begins(start, interval)
                found[begins] = (found.get(begins, (low, high))[0], high)
    for begins, (low, high) in found.items():
        yield begins, low, high


def _begins(start: int, interval: str) -> datetime:
    time = _EPOCH + timedelta(seconds=start * SLICE_SECONDS)
    if interval in ("month", "year"):
        return time.replace(day=1, month=1 if interval == "year" else time.month)
    return time


def _value(one: _Wanted, totals: Integers) -> float | int | None:
    count = one.count(totals)
    if not one.share:
        return count
    rows = int(totals[ROWS])
    return count / rows if rows else None


def in_order(query: Query, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in the order in which they were selected."""
    names = [item.name for item in query.select]
    return {name: values[name] for name in [*names, *(name for name in values if name not in names)]}


def bounded(query: Query, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if query.order_by and query.order_by[0].descending:
        rows.reverse()
    end = None if query.limit is None else query.offset + query.limit
    return rows[query.offset : end]
