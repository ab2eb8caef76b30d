"""What is wrong with one attribute, looked at alone. Pure.

Most of it is refused by the API server already; `modelwarden local` and the gateway have none.
"""

import math
from collections.abc import Iterator
from typing import TypeAlias

from modelwarden.resources.attributes import (
    NUMERIC,
    RESERVED_NAMES,
    Attribute,
    Sensitivity,
    Stage,
    ValueType,
)
from modelwarden.resources.resolved import Problem

LINKABLE = frozenset({Stage.PREDICTED_VALUE, Stage.GROUND_TRUTH})
TOKEN_TYPES = frozenset({ValueType.UNSTRUCTURED_TEXT, ValueType.TOKENS, ValueType.TOKEN_LIKELIHOODS})

_Findings: TypeAlias = Iterator[tuple[str, str]]


def problems_alone(attribute: Attribute) -> Iterator[Problem]:
    """Every rule that this attribute breaks by itself."""
    for check in (_name, _ranges, _categories, _bins, _bias, _links, _sensitivity):
        for field, message in check(attribute):
            yield Problem(attribute.name, field, message)


def canonical_value(value_type: ValueType, text: str) -> str | None:
    """A category in the one form that values are compared in, or None if it is no value of that type.

    Clients turn integers with gaps into floats, so "1.0" is the INTEGER 1.
    """
    if value_type is ValueType.BOOLEAN:
        return {"true": "true", "false": "false", "1": "true", "0": "false"}.get(text.strip().lower())
    if value_type not in NUMERIC:
        return text
    try:
        number = float(text)
    except ValueError:
        return None
    if "_" in text or not math.isfinite(number):
        return None
    if value_type is ValueType.FLOAT:
        return repr(number)
    # An integer goes its own way: beyond 2**53 a float is not exact.
    return str(int(text)) if text.strip().lstrip("+-").isdigit() else _whole(number)


def _whole(number: float) -> str | None:
    return str(int(number)) if number.is_integer() else None


def _name(attribute: Attribute) -> _Findings:
    lowered = attribute.name.lower()
    if lowered in RESERVED_NAMES or lowered.startswith("__"):
        yield "name", "is reserved for a column of Modelwarden's own: rename the attribute"


def _ranges(attribute: Attribute) -> _Findings:
    low, high = attribute.min_range, attribute.max_range
    if low is not None and high is not None and low > high:
        yield "minRange", f"{low:g} is greater than maxRange {high:g}: swap them"


def _categories(attribute: Attribute) -> _Findings:
    if attribute.categories and not attribute.categorical:
        yield (
            "categories",
            "are only for categorical attributes: set categorical to true or remove the categories",
        )
    if attribute.categories and attribute.bins:
        yield "bins", "cannot be given together with categories: keep one of the two"
    seen: set[str] = set()
    for category in attribute.categories:
        value = canonical_value(attribute.value_type, category.value)
        if value is None:
            yield (
                "categories",
                f"{category.value!r} is no {attribute.value_type} value: correct it or the valueType",
            )
        elif value in seen:
            yield "categories", f"{category.value!r} is there twice: remove one"
        else:
            seen.add(value)


def _bins(attribute: Attribute) -> _Findings:
    if not attribute.bins:
        return
    if attribute.categorical or attribute.value_type not in NUMERIC:
        yield "bins", "are only for numbers that are not categorical: remove the bins"
    edge: float | None = None
    for index, piece in enumerate(attribute.bins):
        start, end = piece.continuous_start, piece.continuous_end
        if start is None and end is None:
            yield f"bins[{index}]", "needs continuousStart, continuousEnd or both"
            return
        if start is not None and end is not None and start >= end:
            yield f"bins[{index}]", "continuousStart must be less than continuousEnd"
            return
        open_inside = index > 0 and (start is None or edge is None)
        if open_inside or (start is not None and edge is not None and start < edge):
            yield (
                f"bins[{index}]",
                "overlaps the bin before it: list the bins from low to high, without overlap",
            )
            return
        edge = end


def _bias(attribute: Attribute) -> _Findings:
    if not attribute.monitor_for_bias or attribute.categorical or attribute.bins:
        return
    if attribute.value_type in NUMERIC:
        yield "bins", "are needed to monitor a number for bias: add bins, or set categorical to true"
    elif attribute.value_type is not ValueType.BOOLEAN:
        yield (
            "categorical",
            "must be true to monitor the attribute for bias: groups are formed by its categories",
        )


def _links(attribute: Attribute) -> _Findings:
    stage = attribute.stage
    if attribute.attribute_link is not None and stage not in LINKABLE:
        yield "attributeLink", "joins a prediction and its ground truth: remove it here"
    derived_truth = attribute.implicit and stage is Stage.GROUND_TRUTH
    if attribute.gt_class_link is not None and stage is not Stage.PREDICTED_VALUE and not derived_truth:
        yield "gtClassLink", "names the class that a prediction stands for: set it on predictions only"
    if attribute.is_positive_predicted_attribute and stage is not Stage.PREDICTED_VALUE:
        yield "isPositivePredictedAttribute", "is only for predictions: set it to false here"
    if attribute.token_attribute_link is not None and attribute.value_type not in TOKEN_TYPES:
        yield "tokenAttributeLink", "joins a text and its tokens: remove it here"
    if attribute.implicit and stage not in LINKABLE:
        yield "implicit", "only a prediction or a ground truth can be derived from others: remove it here"


def _sensitivity(attribute: Attribute) -> _Findings:
    if attribute.sensitivity is Sensitivity.HASH and attribute.value_type is not ValueType.STRING:
        yield "sensitivity", "hash is only for STRING: use mask or drop"
