"""The row that a what-if question describes, read and judged: every input once, each of its type. Pure.

{"model_pipeline_input": [{"attribute_name": "age", "attribute_value": 41}, …]}
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden.resources.attributes import ValueType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.explain.evaluate import linked, sigmoid
from modelwarden_server.explained import ID
from modelwarden_server.explanations.table import OUTPUTS
from modelwarden_server.schema.compiled import ARROW_TYPES
from modelwarden_server.schema.scalars import (
    ValueProblem,
    take_boolean,
    take_float,
    take_instant_value,
    take_integer,
    take_text,
)
from modelwarden_server.web import Refusal

MOST_TEXT: Final = 65_536
_TAKE: Final[Mapping[ValueType, Callable[[Any, int], Any]]] = {
    ValueType.STRING: take_text,
    ValueType.UNSTRUCTURED_TEXT: take_text,
    ValueType.INTEGER: take_integer,
    ValueType.FLOAT: take_float,
    ValueType.BOOLEAN: take_boolean,
    ValueType.TIMESTAMP: take_instant_value,
}
_EXAMPLE: Final = '{"model_pipeline_input": [{"attribute_name": "age", "attribute_value": 41}, …]}'


class _Value(msgspec.Struct):
    attribute_name: str
    attribute_value: Any = None


class _Asked(msgspec.Struct):
    model_pipeline_input: list[_Value]


def row_of(content: bytes, inputs: Sequence[ResolvedAttribute]) -> pa.RecordBatch:
    """The row, with the id `what-if`. Raises Refusal (400) that names the attribute."""
    try:
        asked = msgspec.json.decode(content, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, f"send {_EXAMPLE}: {error}") from None
    given: dict[str, Any] = {}
    known = {attribute.name for attribute in inputs}
    for value in asked.model_pipeline_input:
        if value.attribute_name not in known:
            raise Refusal(
                400, f"{value.attribute_name[:100]}: the model has no such PIPELINE_INPUT attribute"
            )
        if value.attribute_name in given:
            raise Refusal(400, f"{value.attribute_name}: is given twice")
        given[value.attribute_name] = value.attribute_value
    columns = [pa.array(["what-if"], pa.string())]
    for attribute in inputs:
        if attribute.name not in given:
            raise Refusal(400, f"{attribute.name}: is missing; every PIPELINE_INPUT attribute is needed")
        columns.append(_column(attribute, given[attribute.name]))
    return pa.RecordBatch.from_arrays(columns, names=[ID, *(attribute.name for attribute in inputs)])


def _column(attribute: ResolvedAttribute, value: Any) -> pa.Array:
    kind = ARROW_TYPES[attribute.value_type]
    take = _TAKE.get(attribute.value_type)
    if take is None:
        raise Refusal(400, f"{attribute.name}: what if is not asked of {attribute.value_type.value}")
    if value is None:
        return pa.nulls(1, kind)
    try:
        return pa.array([take(value, MOST_TEXT)], kind)
    except ValueProblem as problem:
        raise Refusal(400, f"{attribute.name}: {problem}") from None


def predicted(record: dict[str, Any], classes: bool) -> list[dict[str, Any]]:
    """What the model predicts for an explained row. `classes`: predictions are probabilities, so a margin is
    turned back into one: log-odds of one or two outputs by the logistic function, of more by softmax.
    """
    values = np.asarray(record["prediction"], dtype=np.float64)
    if classes and record["units"] == "margin":
        values = linked("softmax", values[np.newaxis])[0] if len(values) > 2 else sigmoid(values)
    return [
        {"attribute_name": name, "attribute_value": value if math.isfinite(value) else None}
        for name, value in zip(record[OUTPUTS], values.tolist(), strict=True)
    ]
