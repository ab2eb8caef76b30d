"""The value of one attribute in one row, as its column holds it: the one place that joins types and takers.

The reasons end up in answers: they name what is wrong and what to send, and never repeat the value.
"""

import math
from collections.abc import Callable
from typing import Any

from modelwarden.resources.attributes import ValueType
from modelwarden_server.schema.compiled import Column
from modelwarden_server.schema.lists import (
    take_boxes,
    take_likelihoods,
    take_ranked,
    take_series,
    take_texts,
)
from modelwarden_server.schema.scalars import (
    MAX_ID_LENGTH,
    ValueProblem,
    id_text,
    kind_of,
    take_boolean,
    take_float,
    take_id,
    take_instant,
    take_instant_value,
    take_integer,
    take_text,
    whole,
)

__all__ = [
    "MAX_ID_LENGTH",
    "REQUIRED_PREDICTION",
    "TAKERS",
    "ValueProblem",
    "id_text",
    "kind_of",
    "take_id",
    "take_instant",
    "take_value",
    "whole",
]

REQUIRED_PREDICTION = "is required: a prediction needs a value"


def take_value(value: Any, column: Column, longest: int) -> Any:
    """The value as its column holds it, None for a missing one. Raises ValueProblem.

    `longest`: characters of a text, and elements of a list that has no documented bound.
    """
    if value is None or (column.nan_is_missing and isinstance(value, float) and math.isnan(value)):
        if column.valued:
            raise ValueProblem(REQUIRED_PREDICTION)
        return None
    return TAKERS[column.value_type](value, longest)


TAKERS: dict[ValueType, Callable[[Any, int], Any]] = {
    ValueType.STRING: take_text,
    ValueType.UNSTRUCTURED_TEXT: take_text,
    ValueType.IMAGE: take_text,
    ValueType.INTEGER: take_integer,
    ValueType.FLOAT: take_float,
    ValueType.BOOLEAN: take_boolean,
    ValueType.TIMESTAMP: take_instant_value,
    ValueType.ARRAY_STRING: take_texts,
    ValueType.TOKENS: take_texts,
    ValueType.TOKEN_LIKELIHOODS: take_likelihoods,
    ValueType.RANKED_LIST: take_ranked,
    ValueType.BOUNDING_BOX: take_boxes,
    ValueType.TIME_SERIES: take_series,
}
