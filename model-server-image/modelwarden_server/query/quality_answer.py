"""Data quality of any window or segment: `POST …/inferences/query/data_quality`.

{"properties": […], "target": {"source": "inference", "filter": […]}, "rollup": "day", "group_by": […]}

By property the rows that are missing, out of range, of a category that the reference never had, and their
shares beside the reference's; of one that is declared unique also the rows that repeat a value, counted
exactly from the rows. A row of the answer also has `rows`. Nothing is said of what is masked or dropped: such
properties are named under `not_kept`. Ours: the documents have no such query. From partials where they hold
it, else from the rows. Must not know HTTP.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modelwarden_server.analysis.cells import Cells
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.analysis.quality import Asked, shares
from modelwarden_server.query.drift_answer import Sources, rows_of
from modelwarden_server.query.filters import as_span
from modelwarden_server.query.periods import periods
from modelwarden_server.query.request import DriftQuery, QueryError
from modelwarden_server.query.scan import Deadline, Key, RowKeys, count_by_key
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.uniqueness import can_repeat, repeats_by_key

REPEATED = "repeatedValue"


def quality_answer(
    query: DriftQuery, sources: Sources, minimum_rows: int, deadline: Deadline, engine: Engine
) -> dict[str, Any]:
    """The answer. Raises QueryError, QueryTooLargeError."""
    profiles = _profiles(query, sources)
    counted, computed_from = _counts(query, sources, profiles, deadline)
    repeated = _repeated(query, sources, deadline, engine)
    rows = []
    for key, cells in counted.items():
        asked = [
            Asked(profile, np.array(profile.counts, dtype=np.float64), cells[name])
            for name, profile in profiles.items()
            if name not in sources.not_kept
        ]
        row: dict[str, Any] = {"rows": max(int(c.sum()) for c in cells.values())}
        for finding in shares(asked, minimum_rows):
            row.setdefault(finding.attribute, {})[finding.question.value] = {
                "rows": finding.rows,
                "share": finding.share,
                "reference_share": finding.base_share,
                "p_value": finding.p_value,
                "raised": finding.raised,
            }
        for name, counts in repeated.items():
            row.setdefault(name, {})[REPEATED] = _of_repeats(counts.get(key, 0), row["rows"])
        if query.rollup is not None:
            row["rollup"] = key[0]
        rows.append(row | dict(zip(query.group_by, key[1:], strict=True)))
    found: dict[str, Any] = {"query_result": rows, "computed_from": computed_from}
    not_kept = [name for name in query.properties if name in sources.not_kept]
    return found | ({"not_kept": not_kept} if not_kept else {})


def _repeated(
    query: DriftQuery, sources: Sources, deadline: Deadline, engine: Engine
) -> Mapping[str, Mapping[Key, int]]:
    names = [name for name in query.properties if name in sources.unique - sources.not_kept]
    if not names:
        return {}
    rows = rows_of(query.target, sources, deadline, "target")
    names = [name for name in names if can_repeat(rows.schema.field(name).type)]
    return repeats_by_key(rows, names, RowKeys(query.rollup, query.group_by), engine, deadline)


def _of_repeats(repeated: int, rows: int) -> dict[str, Any]:
    """In the form of the other questions; compared with the declaration, not with the reference."""
    found: dict[str, Any] = {"rows": repeated, "share": repeated / rows if rows else 0.0}
    return found | {"reference_share": None, "p_value": None, "raised": repeated > 0}


def _profiles(query: DriftQuery, sources: Sources) -> dict[str, ColumnProfile]:
    generation = sources.generation
    if generation is None or generation.profile is None:
        raise QueryError("there is no reference dataset that is closed and profiled yet")
    found = {name: generation.profile.column(name) for name in query.properties}
    missing = [name for name, profile in found.items() if profile is None]
    if missing:
        raise QueryError(f"properties: {missing[0]} has no profile in the reference data")
    return {name: profile for name, profile in found.items() if profile is not None}


def _counts(
    query: DriftQuery, sources: Sources, profiles: Mapping[str, ColumnProfile], deadline: Deadline
) -> tuple[Mapping[Key, Mapping[str, Integers]], str]:
    generation = sources.generation
    assert generation is not None
    span = as_span(query.target.filter) if query.target.source == "inference" else None
    from_partials = span is not None and not query.group_by and query.rollup not in ("minute", "batch_id")
    if span is not None and from_partials and set(profiles) <= set(generation.space.names):
        found: dict[Key, Mapping[str, Integers]] = {}
        for period, start, end in periods(generation.days(), span, query.rollup):
            deadline.check()
            totals = generation.window(start, end)
            if query.rollup is None or totals[0]:
                found[(period,)] = {name: generation.space.cells_of(name, totals) for name in profiles}
        return found, "partials"
    source = rows_of(query.target, sources, deadline, "target")
    for name in query.group_by:
        if name not in source.schema.names:
            raise QueryError(f"group_by: {name[:100]} is not among the rows of the target")
    by_rows = count_by_key(
        source,
        {name: _encoder(profile.cells) for name, profile in profiles.items()},
        {name: profile.cells.size for name, profile in profiles.items()},
        RowKeys(query.rollup, query.group_by),
    )
    return dict(sorted(by_rows.items(), key=lambda one: tuple((v is None, v or "") for v in one[0]))), "rows"


def _encoder(cells: Cells) -> Any:
    return lambda values: cells.encode(values).astype(np.int64)
