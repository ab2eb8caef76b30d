"""From a column of a table to the kind that questions see, and from its values to JSON.

Times leave as ISO 8601 with Z, nested values in the form in which they are sent.
"""

import math
from datetime import datetime
from typing import Any

import pyarrow as pa

from modelwarden.resources.attributes import ValueType
from modelwarden_server.query.sql.expression import Kind, Shape

_KINDS = {
    ValueType.STRING: Kind.TEXT,
    ValueType.UNSTRUCTURED_TEXT: Kind.TEXT,
    ValueType.IMAGE: Kind.TEXT,
    ValueType.INTEGER: Kind.INTEGER,
    ValueType.FLOAT: Kind.NUMBER,
    ValueType.BOOLEAN: Kind.BOOLEAN,
    ValueType.TIMESTAMP: Kind.TIME,
    ValueType.ARRAY_STRING: Kind.TEXTS,
    ValueType.TOKENS: Kind.TEXTS,
    ValueType.RANKED_LIST: Kind.RANKED,
}


def kind_of(value_type: ValueType) -> Kind:
    """The kind of an attribute's values."""
    return _KINDS.get(value_type, Kind.OBJECT)


def shape_of(value_type: ValueType) -> Shape | None:
    """How an attribute's values become JSON; None if they can as they are."""
    return _SHAPES.get(value_type)


def queried_type(stored: pa.DataType) -> pa.DataType:
    """The type in which a column is handed to DuckDB: times without a zone, because all are in UTC."""
    if pa.types.is_timestamp(stored):
        return pa.timestamp("us")
    if pa.types.is_list(stored):
        return pa.list_(queried_type(stored.value_type))
    if pa.types.is_struct(stored):
        return pa.struct([pa.field(f.name, queried_type(f.type)) for f in stored])
    return stored


def instant_text(value: datetime | None) -> str | None:
    """ISO 8601 in UTC, with as many digits behind the second as there are: none, three or six."""
    if value is None:
        return None
    micros = value.microsecond
    precision = "seconds" if not micros else "microseconds" if micros % 1000 else "milliseconds"
    return f"{value.replace(tzinfo=None).isoformat(timespec=precision)}Z"


def importance_shape(inputs: tuple[str, ...]) -> Shape:
    """An explanation as {predicted attribute: {input: value}}; a missing input's value is null."""

    def shaped(value: dict[str, Any] | None) -> Any:
        if value is None:
            return None
        width = len(inputs)
        return {
            output: dict(
                zip(inputs, map(_finite, value["v"][place * width : (place + 1) * width]), strict=True)
            )
            for place, output in enumerate(value["o"])
        }

    return shaped


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _ranked(value: list[dict[str, Any]] | None) -> Any:
    if value is None:
        return None
    return [None if item is None else {k: v for k, v in item.items() if v is not None} for item in value]


def _likelihoods(value: list[list[dict[str, Any]] | None] | None) -> Any:
    if value is None:
        return None
    return [None if step is None else {one["token"]: one["likelihood"] for one in step} for step in value]


def _boxes(value: list[dict[str, Any] | None] | None) -> Any:
    return None if value is None else [None if box is None else list(box.values()) for box in value]


def _series(value: list[dict[str, Any] | None] | None) -> Any:
    if value is None:
        return None
    return [
        None if point is None else {"timestamp": instant_text(point["timestamp"]), "value": point["value"]}
        for point in value
    ]


_SHAPES: dict[ValueType, Shape] = {
    ValueType.TIMESTAMP: instant_text,
    ValueType.RANKED_LIST: _ranked,
    ValueType.TOKEN_LIKELIHOODS: _likelihoods,
    ValueType.BOUNDING_BOX: _boxes,
    ValueType.TIME_SERIES: _series,
}
