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
_LATER = ("group_by", "predicted_classes", "ground_truth_classes")


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


class _Condition(msgspec.Struct):
    property: str
    comparator: str
    value: Any = None


class _Side(msgspec.Struct):
    source: str
    filter: list[_Condition] | None = None


class _Request(msgspec.Struct):
    properties: list[str]
    metric: str
    base: _Side
    target: _Side | None = None
    num_bins: int | None = None
    rollup: str | None = None
    include_missing: bool = False
    group_by: Any = None
    predicted_classes: Any = None
    ground_truth_classes: Any = None


def parse_drift_query(body: bytes, attributes: Collection[str]) -> DriftQuery:
    """The query in a request's body. `attributes` are those that can be compared. Raises QueryError."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.DecodeError as error:
        raise QueryError(f"the query cannot be read: {error}") from None
    for name in _LATER:
        if getattr(request, name):
            raise QueryError(f"{name}: is not supported by this version; leave it out")
    if request.target is None:
        raise QueryError('target: say which rows to compare, as in {"source": "inference"}')
    return DriftQuery(
        properties=_properties(request.properties, attributes),
        metric=_one_of("metric", request.metric, METRICS),
        base=_side("base", request.base),
        target=_side("target", request.target),
        num_bins=_bins(request.num_bins),
        rollup=_rollup(request),
        include_missing=request.include_missing,
    )


def _properties(names: list[str], attributes: Collection[str]) -> tuple[str, ...]:
    if not 1 <= len(names) <= MAX_PROPERTIES:
        raise QueryError(f"properties: name 1 to {MAX_PROPERTIES} attributes, not {len(names)}")
    for name in names:
        if name not in attributes:
            raise QueryError(
                f"properties: {name[:100]!r} is no input, other data or prediction that this model stores"
            )
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
    if value == "Thresholds":
        raise QueryError("metric: Thresholds is not supported by this version")
    if value not in allowed:
        raise QueryError(f"{field}: must be one of {', '.join(allowed)}, not {value[:50]!r}")
    return value
