"""The answer to a drift query: from partials where they hold it exactly, else from the rows; it says which.

Both ways give the same numbers. Must not know HTTP.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.buckets import IGNORED, Buckets, buckets
from modelwarden_server.analysis.cells import CategoryCells
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.distances import Metric
from modelwarden_server.analysis.drift import HYPOTHESIS_TEST, Comparison, score
from modelwarden_server.analysis.grid import FINE_BINS, is_exact
from modelwarden_server.analysis.nullband import Question, chance_distance
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile, profile_column
from modelwarden_server.query.classes import PREDICTED_CLASS, TRUE_CLASS, predicted_rule, true_rule
from modelwarden_server.query.filters import Span, as_span
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.periods import periods
from modelwarden_server.query.request import ANY_CLASS, THRESHOLDS, DriftQuery, QueryError, Side
from modelwarden_server.query.rows import SideRows
from modelwarden_server.query.scan import Deadline, Files, Key, RowKeys, check_rows, count_by_key
from modelwarden_server.query.sql.model import QueriedModel

MAX_SCANNED_ROWS = 20_000_000
THRESHOLD_LEVEL = 0.01
"""The share of windows without drift whose score passes the threshold that a query for Thresholds gives."""


@dataclass(frozen=True)
class Sources:
    """Where rows and counts come from at the time of a query. `reference` is None while
    there is no profile.
    """

    columns: Mapping[str, Column]
    generation: Generation | None
    inferences: Files
    reference: Files | None
    labels: Files | None = None
    model: QueriedModel = field(default_factory=lambda: QueriedModel(()))
    not_kept: frozenset[str] = frozenset()
    """Attributes whose values are masked or dropped."""
    unique: frozenset[str] = frozenset()
    """Attributes whose values are declared never to repeat."""


@dataclass(frozen=True)
class Counted:
    """What a query compares: by property the profile of the base and its buckets; counts by period and
    group.
    """

    profiles: Mapping[str, ColumnProfile]
    layouts: Mapping[str, Buckets]
    base: Mapping[str, Integers]
    targets: Mapping[Key, Mapping[str, Integers]]
    computed_from: str
    approximate: bool = False
    """Whether counts of retired rows are in there that were told from another reference's, with a bound."""

    @property
    def origin(self) -> dict[str, Any]:
        """How the answer says where it comes from."""
        found: dict[str, Any] = {"computed_from": self.computed_from}
        return found | {"approximate": True} if self.approximate else found


def answer(query: DriftQuery, sources: Sources, deadline: Deadline) -> dict[str, Any]:
    """The documented answer: `query_result`, and by which way it came. Raises QueryError,
    QueryTooLargeError.
    """
    if query.metric == THRESHOLDS:
        counted = count(replace(query, metric=Metric.PSI), sources, deadline)
        found: dict[str, Any] = {"query_result": [_thresholds(counted, query.rows)]}
    else:
        counted = count(query, sources, deadline)
        rows = [_row(query, counted, key, targets) for key, targets in counted.targets.items()]
        found = {"query_result": rows}
    return found | counted.origin


def count(query: DriftQuery, sources: Sources, deadline: Deadline) -> Counted:
    """Both sides of a query as counts. Raises as `answer`."""
    span = _from_partials(query, sources)
    if span is not None and sources.generation is not None:
        return _by_partials(query, sources.generation, span, deadline)
    return _by_rows(query, sources, deadline)


def named(query: DriftQuery) -> tuple[str, ...]:
    """The properties of the answer: attributes, then classes."""
    classes = [(PREDICTED_CLASS, query.predicted_classes), (TRUE_CLASS, query.true_classes)]
    return (*query.properties, *(name for name, chosen in classes if chosen))


def _from_partials(query: DriftQuery, sources: Sources) -> Span | None:
    generation = sources.generation
    profiled = generation is not None and generation.profile is not None
    if not profiled or not is_exact(query.num_bins) or query.rollup == "minute":
        return None
    if query.rollup == "batch_id" and (generation is None or generation.batches is None):
        return None
    if query.group_by or set(named(query)) - set(generation.space.names if generation else ()):
        return None
    if query.base != Side("reference"):
        return None
    if query.target.source == "reference":
        return Span()
    if query.rollup == "batch_id":
        return None if query.target.filter else Span()
    return as_span(query.target.filter)


def _by_partials(query: DriftQuery, generation: Generation, span: Span, deadline: Deadline) -> Counted:
    profiles = {name: _profile_of(generation, name) for name in query.properties}
    layouts = {name: _layout(profile, query) for name, profile in profiles.items()}
    base = {name: layout.counts(np.array(profiles[name].counts)) for name, layout in layouts.items()}
    if query.target.source == "reference":
        if query.target.filter:
            raise QueryError("target.filter: thresholds are of the whole base")
        return Counted(profiles, layouts, base, {("",): base}, "partials")
    targets: dict[Key, Mapping[str, Integers]] = {}
    approximate = False
    if query.rollup == "batch_id":
        return Counted(profiles, layouts, base, _by_batch(generation, layouts, deadline), "partials")
    for period, start, end in periods(generation.days(), span, query.rollup):
        deadline.check()
        approximate |= generation.approximate is not None and start <= generation.approximate
        totals = generation.window(start, end)
        if query.rollup is None or totals[0]:
            targets[(period,)] = {
                name: layout.counts(generation.space.cells_of(name, totals))
                for name, layout in layouts.items()
            }
    return Counted(profiles, layouts, base, targets, "partials", approximate)


def _by_batch(
    generation: Generation, layouts: Mapping[str, Buckets], deadline: Deadline
) -> dict[Key, Mapping[str, Integers]]:
    found: dict[Key, Mapping[str, Integers]] = {}
    batches = generation.batches
    assert batches is not None
    for batch in sorted(batches.names()):
        deadline.check()
        totals = batches.totals(batch)
        found[(batch,)] = {
            name: layout.counts(generation.space.cells_of(name, totals)) for name, layout in layouts.items()
        }
    return found


def _profile_of(generation: Generation, name: str) -> ColumnProfile:
    found = generation.profile.column(name) if generation.profile is not None else None
    if found is None:
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
    chosen = query.predicted_classes if profile.column.name == PREDICTED_CLASS else query.true_classes
    if profile.column.name in (PREDICTED_CLASS, TRUE_CLASS) and ANY_CLASS not in chosen:
        return _of_classes(profile, layout, chosen)
    return layout


def _of_classes(profile: ColumnProfile, layout: Buckets, chosen: Sequence[str]) -> Buckets:
    """A bucket for each chosen class, and one for all others."""
    assert isinstance(profile.cells, CategoryCells)
    places = {name: place for place, name in enumerate(chosen)}
    bucket_of = np.where(layout.bucket_of == IGNORED, IGNORED, len(places))
    for cell, name in enumerate(profile.cells.values):
        if name in places:
            bucket_of[cell] = places[name]
    return Buckets(bucket_of.astype(np.int64), len(places) + 1, ordered=False)


def _row(query: DriftQuery, counted: Counted, key: Key, target: Mapping[str, Integers]) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: score(query.metric, Comparison(name, "", counted.base[name], target[name], layout.ordered))
        for name, layout in counted.layouts.items()
    }
    if query.rollup is not None:
        row["rollup"] = key[0]
    return row | dict(zip(query.group_by, key[1:], strict=True))


def _thresholds(counted: Counted, rows: int) -> dict[str, dict[str, float | None]]:
    """By property and metric: the score that a window of so many rows without drift passes in one of a
    hundred cases, learnt by resampling the base.
    """
    return {
        name: {
            metric.value: chance_distance(Question(metric, base.astype(np.float64), rows), THRESHOLD_LEVEL)
            if base.sum()
            else None
            for metric in sorted(Metric)
        }
        for name, base in counted.base.items()
    }


def _by_rows(query: DriftQuery, sources: Sources, deadline: Deadline) -> Counted:
    base = rows_of(query.base, sources, deadline, "base")
    target = rows_of(query.target, sources, deadline, "target")
    names = named(query)
    for name in (*names, *query.group_by):
        for side in (base, target):
            if name not in side.schema.names:
                field_name = "group_by" if name in query.group_by else "properties"
                raise QueryError(f"{field_name}: {name[:100]} is not among the rows of the {side.name}")
    profiles = {name: _base_profile(query, name, base, sources) for name in names}
    layouts = {name: _layout(profile, query) for name, profile in profiles.items()}
    targets = count_by_key(
        target,
        {name: _bucket_of(profiles[name], layouts[name]) for name in names},
        {name: layout.size for name, layout in layouts.items()},
        RowKeys(query.rollup, query.group_by),
    )
    base_counts = {name: layouts[name].counts(np.array(profiles[name].counts)) for name in names}
    ordered = dict(sorted(targets.items(), key=lambda one: tuple((v is None, v or "") for v in one[0])))
    return Counted(profiles, layouts, base_counts, ordered, "rows")


def rows_of(side: Side, sources: Sources, deadline: Deadline, name: str) -> SideRows:
    """The rows of a side, with their labels and classes. Raises QueryError."""
    files = sources.inferences if side.source == "inference" else sources.reference
    if files is None:
        raise QueryError(f"{name}.source: there is no reference dataset that is closed and profiled yet")
    check_rows(files.rows, MAX_SCANNED_ROWS)
    labels = sources.labels if side.source == "inference" else None
    rules = {PREDICTED_CLASS: predicted_rule(sources.model), TRUE_CLASS: true_rule(sources.model)}
    known = set(files.schema.names) | set(labels.schema.names if labels is not None else ())
    classes = {n: rule for n, rule in rules.items() if rule is not None and set(rule.columns) <= known}
    return SideRows(files, labels, classes, side.filter, deadline, name)


def _base_profile(query: DriftQuery, name: str, base: SideRows, sources: Sources) -> ColumnProfile:
    generation = sources.generation
    profiled = generation is not None and generation.profile is not None
    stored = name not in (PREDICTED_CLASS, TRUE_CLASS)
    whole = query.base == Side("reference") and is_exact(query.num_bins)
    if generation is not None and profiled and whole and stored:
        return _profile_of(generation, name)
    bins = 0 if is_exact(query.num_bins) else query.num_bins
    column = sources.columns[name] if stored else Column(name, "STRING", "", categorical=True)
    return profile_column(column, lambda: base.column(name), bins)


def _bucket_of(profile: ColumnProfile, layout: Buckets) -> Callable[[pa.Array], npt.NDArray[np.int64]]:
    return lambda values: layout.bucket_of[profile.cells.encode(values)]


def files_of(folder: Path, names: Sequence[str], rows: int, schema: pa.Schema) -> Files:
    """Files of one folder."""
    return Files(tuple(folder / name for name in names), rows, schema)
