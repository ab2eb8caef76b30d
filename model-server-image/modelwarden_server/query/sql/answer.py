"""The answer to a query: read, run, and put into JSON as it is sent.

{"query_result": [row, …], "computed_from": "rows" | "partials"}, and where they apply `sampling_threshold`
(the share of rows that was asked for) and `rows_left_out` (there are more rows than one answer may have: ask
by page). Missing values and what is no finite number are null. Must not know HTTP.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline, Files, check_rows
from modelwarden_server.query.sql.catalog import LABELS
from modelwarden_server.query.sql.engine import Engine, Found
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.partial_counts import Counted, count_by_partials
from modelwarden_server.query.sql.partial_scores import Scored, score_by_sums
from modelwarden_server.query.sql.reading import TableRows
from modelwarden_server.query.sql.request import Query
from modelwarden_server.query.sql.statement import Statement, compiled, source_of

MAX_SCANNED_ROWS = 100_000_000
MAX_PAGE_SIZE = 100_000
_INT64, _UINT64 = -(1 << 63), 1 << 64
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class QuerySources:
    """What there is to ask at the moment of a query. `reference` is None while no dataset is closed.

    `counted` gives counts that hold all rows of `inferences`, or None while there are none.
    """

    model: QueriedModel
    inferences: Files
    labels: Files
    reference: Files | None
    counted: Callable[[], Counted | None]
    scores: Files | None = None
    """Anomaly scores, each with the time of its inference; None of a model whose rows are not scored."""
    explanations: Files | None = None
    """Explanations, one an inference at most; None of a model whose rows are not explained."""
    outcomes: Callable[[], Scored | None] = lambda: None
    """Sums of outcomes that hold all rows and labels, or None while there are none."""


@dataclass(frozen=True)
class Page:
    """Which part of the rows, from the URL: pages count from 1."""

    number: int = 1
    size: int | None = None


def answered(
    query: Query,
    page: Page,
    sources: QuerySources,
    deadline: Deadline,
    engine: Engine,
) -> bytes:
    """The body of the answer. Raises QueryError, QueryTooLargeError, OSError (a file is gone)."""
    paged = _paged(query, page)
    statement = compiled(paged, sources.model, _files(sources, query).rows)
    counts = count_by_partials(paged, sources.model, sources.counted)
    if counts is None:
        counts = score_by_sums(paged, sources.model, sources.outcomes)
    if counts is not None:
        return _body(Found([_encode(row) for row in counts], more=False), "partials", statement)
    tables = _tables(statement, sources, deadline)
    found = engine.run(statement.sql, statement.values, tables, deadline, _encoder(statement))
    return _body(found, "rows", statement)


def _paged(query: Query, page: Page) -> Query:
    """The query with the page as bounds of its own, within those that it has."""
    if page.size is None:
        return query
    skipped = (page.number - 1) * page.size
    left = page.size if query.limit is None else max(0, min(page.size, query.limit - skipped))
    return replace(query, limit=left, offset=query.offset + skipped)


def _files(sources: QuerySources, query: Query) -> Files:
    match source_of(query):
        case "reference":
            if sources.reference is None:
                raise QueryError("from: there is no reference dataset that is closed yet")
            return sources.reference
        case "ground_truth":
            return sources.labels
        case _:
            return sources.inferences


def _tables(statement: Statement, sources: QuerySources, deadline: Deadline) -> Mapping[str, TableRows]:
    tables = {}
    for name, columns in statement.columns.items():
        files = _of(name, statement, sources)
        check_rows(files.rows, MAX_SCANNED_ROWS)
        span = (None, None) if name == LABELS else statement.span
        tables[name] = TableRows(files.paths, files.schema, columns, span, deadline)
    return tables


def _of(name: str, statement: Statement, sources: QuerySources) -> Files:
    match name:
        case "labels":
            return sources.labels
        case "scores":
            found = sources.scores
        case "explanations":
            found = sources.explanations
        case _:
            found = sources.reference if statement.source == "reference" else sources.inferences
    assert found is not None
    return found


def _encoder(statement: Statement) -> Callable[[tuple[Any, ...]], bytes]:
    names = [output.name for output in statement.outputs]
    shapes = [output.shape for output in statement.outputs]

    def encode(row: tuple[Any, ...]) -> bytes:
        values = (value if shape is None else shape(value) for value, shape in zip(row, shapes, strict=True))
        plain = dict(zip(names, values, strict=True))
        try:
            return _encode(plain)
        except OverflowError:  # a sum beyond 64 bits
            return _encode({name: _bounded(value) for name, value in plain.items()})

    return encode


def _bounded(value: Any) -> Any:
    wide = isinstance(value, int) and not _INT64 <= value < _UINT64
    return float(value) if wide else value


def _body(found: Found, computed_from: str, statement: Statement) -> bytes:
    said: dict[str, Any] = {"computed_from": computed_from}
    if statement.sampled is not None:
        said["sampling_threshold"] = statement.sampled
    if found.more:
        said["rows_left_out"] = True
    return b'{"query_result":[' + b",".join(found.rows) + b"]," + _encode(said)[1:]
