"""From a query to one statement with its values, and to what must be read for it.

Pure: no row and no file is touched, and DuckDB is not needed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.catalog import LABELS, PLACE, ROWS, TABLES, Catalog
from modelwarden_server.query.sql.expression import Binder, Expression, Kind, Shape
from modelwarden_server.query.sql.kinds import instant_text
from modelwarden_server.query.sql.level import Selected, SelectLevel
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import Property, Query, Source
from modelwarden_server.query.sql.values import moment
from modelwarden_server.schema.compiled import EVENT_TIME, ID

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - without a zone, as all times of a statement
_WHOLE = 1 << 64
MAX_LENGTH = 2_000_000
_PLACE = re.compile(r"\$(\d+)")


@dataclass(frozen=True)
class Output:
    """One column of the answer."""

    name: str
    shape: Shape | None


@dataclass(frozen=True)
class Statement:
    """A statement over `rows` and `labels`; `columns` says what to read of each, and under which name.

    `span`: microseconds since 1970 outside of which no inference is needed, [low, high], None for no bound.
    """

    sql: str
    values: tuple[object, ...]
    outputs: tuple[Output, ...]
    source: Source
    columns: Mapping[str, Mapping[str, str]]
    span: tuple[int | None, int | None] = (None, None)
    sampled: float | None = None


def compiled(query: Query, model: QueriedModel, rows: int) -> Statement:
    """The statement of a query over a source of so many rows. Raises QueryError."""
    binder = Binder()
    levels = _levels(query)
    inner = levels[-1]
    catalog = Catalog(model, inner.source, binder)
    share = (
        None
        if inner.sample is None
        else min(1.0, inner.sample if inner.sample <= 1 else inner.sample / max(rows, 1))
    )
    selected = SelectLevel(model, binder, inner, catalog).compiled(
        lambda first: _source(catalog, share, first)
    )
    for outer in reversed(levels[:-1]):
        selected = _over(selected, outer, model, binder)
    sql, values = _numbered(selected.sql, binder)
    if len(sql) > MAX_LENGTH:
        raise QueryError("select: asks for too much at once: select fewer functions")
    return Statement(
        sql=sql,
        values=values,
        outputs=tuple(_output(n, e) for n, e in zip(selected.names, selected.expressions, strict=True)),
        source=inner.source,
        columns={table: columns for table in TABLES if (columns := catalog.stored(table))},
        span=_span(inner),
        sampled=share,
    )


def source_of(query: Query) -> Source:
    """The source of the innermost subquery."""
    return _levels(query)[-1].source


def _levels(query: Query) -> list[Query]:
    levels = [query]
    while levels[-1].subquery is not None:
        levels.append(levels[-1].subquery)
    return levels


def _over(below: Selected, query: Query, model: QueriedModel, binder: Binder) -> Selected:
    level = SelectLevel(model, binder, query, below.outputs, below.depth + 1)
    return level.compiled(lambda _first: f"({below.sql})")


def _numbered(sql: str, binder: Binder) -> tuple[str, tuple[object, ...]]:
    """The statement with its places numbered as they come: some pieces were tried and not used."""
    used = list(dict.fromkeys(int(place) for place in _PLACE.findall(sql)))
    new = {place: number for number, place in enumerate(used, 1)}
    text = _PLACE.sub(lambda match: f"${new[int(match[1])]}", sql)
    return text, tuple(binder.values[place - 1] for place in used)


def _source(catalog: Catalog, share: float | None, first: str | None) -> str:
    main = LABELS if catalog.source == "ground_truth" else ROWS
    if not catalog.columns(main):
        catalog.read(main, PLACE if catalog.source == "reference" else ID)  # something must be counted
    if share is None:
        return catalog.base(first)
    key = catalog.read(main, PLACE if catalog.source == "reference" else ID)
    # The same rows every time, whatever else is asked: by a hash that no version of DuckDB changes.
    most = catalog.binder.bind(min(int(share * _WHOLE), _WHOLE - 1))
    return f"(SELECT * FROM {catalog.base()} WHERE md5_number_lower(CAST({key} AS VARCHAR)) <= {most})"


def _output(name: str, one: Expression) -> Output:
    return Output(name, one.shape or (instant_text if one.kind is Kind.TIME else None))


def _span(query: Query) -> tuple[int | None, int | None]:
    """Bounds of the event time that every row of the query fulfils."""
    if query.source not in ("inference", "enriched"):
        return None, None
    low: int | None = None
    high: int | None = None
    for asked in query.conditions:
        if not isinstance(asked.of, Property) or asked.of.name != EVENT_TIME:
            continue
        if asked.comparator not in ("gt", "gte", "lt", "lte", "eq"):
            continue
        at = micros(moment(asked.value, f"{asked.path}.value"))
        if asked.comparator in ("gt", "gte", "eq"):
            low = at if low is None else max(low, at)
        if asked.comparator in ("lt", "lte", "eq"):
            high = at if high is None else min(high, at)
    return low, high


def micros(time: datetime) -> int:
    """Microseconds since 1970 of a time without a zone."""
    return (time - _EPOCH) // timedelta(microseconds=1)
