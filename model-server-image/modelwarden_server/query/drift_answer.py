"""The answer to a drift query: from partials where they hold it exactly, else from the rows; it says which.

Both ways give the same numbers. Must not know HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.buckets import Buckets, buckets
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.drift import HYPOTHESIS_TEST, Comparison, score
from modelwarden_server.analysis.grid import FINE_BINS, is_exact
from modelwarden_server.analysis.partials import SLICE_SECONDS, SLICES_PER_DAY, Integers
from modelwarden_server.analysis.profile import ColumnProfile, profile_column
from modelwarden_server.query.filters import Span, as_expression, as_span
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.request import DriftQuery, QueryError, Rollup, Side
from modelwarden_server.query.scan import Deadline, RowSource, check_rows, count_by_period

MAX_SCANNED_ROWS = 20_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Files:
    """Committed parquet files of one schema, and how many rows they have."""

    paths: tuple[Path, ...]
    rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class Sources:
    """Where rows and counts come from at the time of a query. `reference` is None while
    there is no profile.
    """

    columns: Mapping[str, Column]
    generation: Generation | None
    inferences: Files
    reference: Files | None
    complete: bool = True
    """Whether all rows acknowledged before the query are in here."""


def answer(query: DriftQuery, sources: Sources, deadline: Deadline) -> dict[str, Any]:
    """The documented answer: `query_result`, and by which way it came. Raises QueryError,
    QueryTooLargeError.
    """
    span = _from_partials(query, sources)
    if span is not None and sources.generation is not None:
        found = {
            "query_result": _by_partials(query, sources.generation, span, deadline),
            "computed_from": "partials",
        }
    else:
        found = {"query_result": _by_rows(query, sources, deadline), "computed_from": "rows"}
    return found if sources.complete else found | {"rows_still_waiting": True}


def _from_partials(query: DriftQuery, sources: Sources) -> Span | None:
    generation = sources.generation
    profiled = generation is not None and generation.profile is not None
    if not profiled or not is_exact(query.num_bins) or query.rollup in ("minute", "batch_id"):
        return None
    if query.base != Side("reference") or query.target.source != "inference":
        return None
    return as_span(query.target.filter)


def _by_partials(
    query: DriftQuery, generation: Generation, span: Span, deadline: Deadline
) -> list[dict[str, Any]]:
    layouts = {name: _layout(_profile_of(generation, name), query) for name in query.properties}
    base = {
        name: layout.counts(np.array(_profile_of(generation, name).counts))
        for name, layout in layouts.items()
    }
    answers = []
    for period, start, end in _periods(generation, span, query.rollup):
        deadline.check()
        totals = generation.window(start, end)
        if query.rollup is not None and not totals[0]:
            continue
        target = {
            name: layout.counts(generation.space.cells_of(name, totals)) for name, layout in layouts.items()
        }
        answers.append(_row(query, layouts, base, target, period))
    return answers


def _profile_of(generation: Generation, name: str) -> ColumnProfile:
    found = generation.profile.column(name) if generation.profile is not None else None
    if found is None or name not in generation.space.names:
        raise QueryError(f"properties: {name} has no profile in the reference data")
    return found


def _layout(profile: ColumnProfile, query: DriftQuery) -> Buckets:
    # Kolmogorov and Smirnov's test compares distribution functions: the finest bins there are.
    test = query.metric == HYPOTHESIS_TEST and is_exact(query.num_bins)
    layout = buckets(profile.cells, FINE_BINS if test else query.num_bins, query.include_missing)
    if layout is None:
        raise QueryError(
            f"properties: {profile.column.name} has no distribution to compare: free text, a time, an"
            " identifier, or without values in the base"
        )
    return layout


def _row(
    query: DriftQuery,
    layouts: Mapping[str, Buckets],
    base: Mapping[str, Integers],
    target: Mapping[str, Integers],
    period: str,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: score(query.metric, Comparison(name, "", base[name], target[name], layout.ordered))
        for name, layout in layouts.items()
    }
    return row if query.rollup is None else row | {"rollup": period}


def _periods(generation: Generation, span: Span, rollup: Rollup | None) -> list[tuple[str, int, int]]:
    """The periods that can have rows: name, first slice, slice after the last."""
    days = generation.days()
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
    periods: dict[str, tuple[int, int]] = {}
    for day in days:
        low, high = max(first, day * SLICES_PER_DAY), min(last, (day + 1) * SLICES_PER_DAY)
        if low < high:
            name = _name(_EPOCH + timedelta(days=day), rollup)
            periods[name] = (min(low, periods.get(name, (low, high))[0]), high)
    return [(name, low, high) for name, (low, high) in periods.items()]


def _hours(days: list[int], first: int, last: int) -> list[tuple[str, int, int]]:
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


def _by_rows(query: DriftQuery, sources: Sources, deadline: Deadline) -> list[dict[str, Any]]:
    base = _rows_of(query.base, sources, deadline, "base")
    target = _rows_of(query.target, sources, deadline, "target")
    profiles = {name: _base_profile(query, name, base, sources) for name in query.properties}
    layouts = {name: _layout(profile, query) for name, profile in profiles.items()}
    counted = count_by_period(
        target,
        {name: _bucket_of(profiles[name], layouts[name]) for name in query.properties},
        {name: layout.size for name, layout in layouts.items()},
        query.rollup,
    )
    base_counts = {name: layouts[name].counts(np.array(profiles[name].counts)) for name in query.properties}
    return [_row(query, layouts, base_counts, counts, period) for period, counts in sorted(counted.items())]


def _rows_of(side: Side, sources: Sources, deadline: Deadline, field: str) -> RowSource:
    files = sources.inferences if side.source == "inference" else sources.reference
    if files is None:
        raise QueryError(f"{field}.source: there is no reference dataset that is closed and profiled yet")
    check_rows(files.rows, MAX_SCANNED_ROWS)
    return RowSource(files.paths, files.schema, as_expression(side.filter, files.schema, field), deadline)


def _base_profile(query: DriftQuery, name: str, base: RowSource, sources: Sources) -> ColumnProfile:
    generation = sources.generation
    profiled = generation is not None and generation.profile is not None
    if generation is not None and profiled and is_exact(query.num_bins) and query.base == Side("reference"):
        return _profile_of(generation, name)
    bins = 0 if is_exact(query.num_bins) else query.num_bins
    return profile_column(sources.columns[name], lambda: base.column(name), bins)


def _bucket_of(profile: ColumnProfile, layout: Buckets) -> Callable[[pa.Array], npt.NDArray[np.int64]]:
    return lambda values: layout.bucket_of[profile.cells.encode(values)]


def files_of(folder: Path, names: Sequence[str], rows: int, schema: pa.Schema) -> Files:
    """Files of one folder."""
    return Files(tuple(folder / name for name in names), rows, schema)
