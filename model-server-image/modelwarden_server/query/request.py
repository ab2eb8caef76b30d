"""The documented request for data drift, judged before anything is read. Every refusal names the field.

{"properties": […], "num_bins": 10, "metric": "PSI", "rollup": "day", "base": {"source": "reference"},
"target": {"source": "inference", "filter": [{property, comparator, value}]}}

What the documents leave open: without `num_bins` there are ten, as in `/status`; `include_missing` (ours)
asks for a bucket of missing values and one of categories that the base never had.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from modelwarden_server.analysis.distances import Metric
from modelwarden_server.analysis.drift import DECILES, HYPOTHESIS_TEST
from modelwarden_server.analysis.grid import MAX_BINS

Rollup = Literal["minute", "hour", "day", "month", "year", "batch_id"]
MAX_PROPERTIES = 100
MAX_FILTERS = 50
METRICS = (*(metric.value for metric in Metric), HYPOTHESIS_TEST)
ROLLUPS: tuple[str, ...] = ("minute", "hour", "day", "month", "year", "batch_id")
THRESHOLDS = "Thresholds"
MAX_GROUPS = 3
MAX_CLASSES = 100
ANY_CLASS = "*"
_THRESHOLD_ROWS = 1000


class QueryError(ValueError):
    """The query cannot be answered as it stands: a 400. The message names the field and says what to do."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of a filter, as it came."""

    property: str
    comparator: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Side:
    """The base or the target: which rows."""

    source: Literal["reference", "inference"]
    filter: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftQuery:
    """A request for data drift that makes sense in itself."""

    properties: tuple[str, ...]
    metric: str
    base: Side
    target: Side
    num_bins: int = DECILES
    rollup: Rollup | None = None
    include_missing: bool = False
    group_by: tuple[str, ...] = ()
    predicted_classes: tuple[str, ...] = ()
    true_classes: tuple[str, ...] = ()
    rows: int = _THRESHOLD_ROWS
    """Rows of the windows that thresholds are asked for."""


class _Group(msgspec.Struct):
    property: str


class _Condition(msgspec.Struct):
    property: str
    comparator: str
    value: Any = None


class _Side(msgspec.Struct):
    source: str
    filter: list[_Condition] | None = None


class _Request(msgspec.Struct):
    metric: str
    base: _Side
    properties: list[str] | None = None
    target: _Side | None = None
    num_bins: int | None = None
    rollup: str | None = None
    include_missing: bool = False
    group_by: list[_Group] | None = None
    predicted_classes: list[str] | None = None
    ground_truth_classes: list[str] | None = None
    rows: int | None = None


def parse_drift_query(body: bytes, attributes: Collection[str]) -> DriftQuery:
    """The query in a request's body. `attributes` are those that can be compared. Raises QueryError."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.DecodeError as error:
        raise QueryError(f"the query cannot be read: {error}") from None
    thresholds = request.metric == THRESHOLDS
    if thresholds and (request.target is not None or request.rollup is not None or request.group_by):
        raise QueryError("metric: Thresholds are of the base alone; leave out target, rollup and group_by")
    if request.target is None and not thresholds:
        raise QueryError('target: say which rows to compare, as in {"source": "inference"}')
    classes = bool(request.predicted_classes or request.ground_truth_classes)
    return DriftQuery(
        properties=_properties(request.properties or [], attributes, classes),
        metric=_one_of("metric", request.metric, (*METRICS, THRESHOLDS)),
        base=_side("base", request.base),
        target=_side("target", request.target or request.base),
        num_bins=_bins(request.num_bins),
        rollup=_rollup(request),
        include_missing=request.include_missing,
        group_by=_groups(request.group_by or []),
        predicted_classes=_classes("predicted_classes", request.predicted_classes),
        true_classes=_classes("ground_truth_classes", request.ground_truth_classes),
        rows=_rows(request.rows),
    )


def parse_bucket_query(body: bytes, attributes: Collection[str]) -> DriftQuery:
    """The query for the buckets of a PSI: as for drift, with one `property`. Raises QueryError."""
    given = _plain(body)
    if "property" in given:
        given["properties"] = [given.pop("property")]
    return parse_drift_query(msgspec.json.encode(given | {"metric": Metric.PSI.value}), attributes)


def parse_quality_query(body: bytes, attributes: Collection[str]) -> DriftQuery:
    """The query for data quality: as for drift, of the target alone. Raises QueryError."""
    given = {"target": {"source": "inference"}} | _plain(body)
    given |= {"metric": Metric.PSI.value, "base": {"source": "reference"}}
    return parse_drift_query(msgspec.json.encode(given), attributes)


def _plain(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise QueryError(f"the query cannot be read: {error}") from None


def _groups(groups: list[_Group]) -> tuple[str, ...]:
    if len(groups) > MAX_GROUPS:
        raise QueryError(f"group_by: at most {MAX_GROUPS} properties, not {len(groups)}")
    return tuple(dict.fromkeys(group.property for group in groups))


def _classes(name: str, classes: list[str] | None) -> tuple[str, ...]:
    if classes is not None and not 1 <= len(classes) <= MAX_CLASSES:
        raise QueryError(f'{name}: name 1 to {MAX_CLASSES} classes, or ["{ANY_CLASS}"] for all')
    return tuple(dict.fromkeys(classes or ()))


def _rows(rows: int | None) -> int:
    if rows is not None and not 10 <= rows <= 1_000_000_000:
        raise QueryError("rows: must be 10 to 1000000000")
    return _THRESHOLD_ROWS if rows is None else rows


def _properties(
    names: list[str],
    attributes: Collection[str],
    classes: bool,
) -> tuple[str, ...]:
    if not (names or classes) or len(names) > MAX_PROPERTIES:
        raise QueryError(f"properties: name 1 to {MAX_PROPERTIES} attributes, not {len(names)}")
    for name in names:
        if name not in attributes:
            raise QueryError(f"properties: {name[:100]!r} is no attribute that this model stores")
    return tuple(dict.fromkeys(names))


def _side(name: str, side: _Side) -> Side:
    conditions = side.filter or []
    if len(conditions) > MAX_FILTERS:
        raise QueryError(f"{name}.filter: has more than {MAX_FILTERS} entries")
    source: Literal["reference", "inference"]
    match side.source:
        case "reference":
            source = "reference"
        case "inference":
            source = "inference"
        case other:
            raise QueryError(f'{name}.source: must be "reference" or "inference", not {other[:50]!r}')
    return Side(source, tuple(Condition(c.property, c.comparator, c.value) for c in conditions))


def _bins(number: int | None) -> int:
    if number is None:
        return DECILES
    if not 2 <= number <= MAX_BINS:
        raise QueryError(f"num_bins: must be 2 to {MAX_BINS}, not {number}")
    return number


def _rollup(request: _Request) -> Rollup | None:
    if request.rollup is None:
        return None
    if request.target is not None and request.target.source == "reference":
        raise QueryError("rollup: reference data have no time; leave it out")
    return _one_of("rollup", request.rollup, ROLLUPS)  # type: ignore[return-value]


def _one_of(field: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise QueryError(f"{field}: must be one of {', '.join(allowed)}, not {value[:50]!r}")
    return value
