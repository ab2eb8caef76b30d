"""The attributes that nobody declares because others determine them. Pure.

One predicted column of a classifier has a negative twin (1 − p); a class column has a 0/1 ground truth per
class.
"""

from collections.abc import Sequence

from modelwarden.resources.attributes import MAX_NAME, OutputType, Stage, ValueType
from modelwarden.resources.resolved import ResolvedAttribute


def with_implicit(
    attributes: Sequence[ResolvedAttribute], output_type: OutputType
) -> tuple[ResolvedAttribute, ...]:
    """The attributes, links completed, followed by those that they imply."""
    if output_type is not OutputType.MULTICLASS:
        return tuple(attributes)
    listed = _with_negative(list(attributes))
    column = next((a for a in listed if a.stage is Stage.GROUND_TRUTH_CLASS), None)
    if column is not None:
        listed = _with_one_hots(listed, column)
    return tuple(listed)


def _with_negative(listed: list[ResolvedAttribute]) -> list[ResolvedAttribute]:
    predicted = [a for a in listed if a.stage is Stage.PREDICTED_VALUE]
    if len(predicted) != 1:
        return listed
    positive = predicted[0]
    _replace(listed, positive.model_copy(update={"is_positive_predicted_attribute": True}))
    column = next((a for a in listed if a.stage is Stage.GROUND_TRUTH_CLASS), None)
    negative = ResolvedAttribute(
        name=_free_name(listed, f"not_{positive.name}"),
        value_type=ValueType.FLOAT,
        stage=Stage.PREDICTED_VALUE,
        position=1 if positive.position == 0 else 0,
        min_range=0.0,
        max_range=1.0,
        gt_class_link=None
        if column is None
        else next(value for value in column.categories if value != positive.gt_class_link),
        implicit=True,
    )
    listed.append(negative)
    return listed if column is not None else _with_negative_truth(listed, positive, negative)


def _with_negative_truth(
    listed: list[ResolvedAttribute], positive: ResolvedAttribute, negative: ResolvedAttribute
) -> list[ResolvedAttribute]:
    unlinked = [a for a in listed if a.stage is Stage.GROUND_TRUTH and a.attribute_link is None]
    if len(unlinked) == 1:
        # The documented client registers the truth of the class without a column of its own that way.
        truth = unlinked[0]
        _replace(listed, truth.model_copy(update={"attribute_link": negative.name}))
    else:
        truth = _truth(listed, _free_name(listed, f"not_{positive.attribute_link}"), negative)
        listed.append(truth)
    _replace(listed, negative.model_copy(update={"attribute_link": truth.name}))
    return listed


def _with_one_hots(listed: list[ResolvedAttribute], column: ResolvedAttribute) -> list[ResolvedAttribute]:
    for predicted in [a for a in listed if a.stage is Stage.PREDICTED_VALUE and a.attribute_link is None]:
        name = _free_name(listed, f"{column.name}_is_{_identifier(predicted.gt_class_link or '')}")
        listed.append(_truth(listed, name, predicted))
        _replace(listed, predicted.model_copy(update={"attribute_link": name}))
    return listed


def _truth(listed: Sequence[ResolvedAttribute], name: str, predicted: ResolvedAttribute) -> ResolvedAttribute:
    taken = {a.position for a in listed if a.stage is Stage.GROUND_TRUTH}
    position = predicted.position if predicted.position not in taken else max(taken) + 1
    return ResolvedAttribute(
        name=name,
        value_type=ValueType.INTEGER,
        stage=Stage.GROUND_TRUTH,
        position=position,
        categorical=True,
        categories=("0", "1"),
        attribute_link=predicted.name,
        gt_class_link=predicted.gt_class_link,
        implicit=True,
    )


def _replace(listed: list[ResolvedAttribute], changed: ResolvedAttribute) -> None:
    listed[next(index for index, a in enumerate(listed) if a.name == changed.name)] = changed


def _identifier(value: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in value)


def _free_name(listed: Sequence[ResolvedAttribute], wanted: str) -> str:
    taken = {a.name.lower() for a in listed}
    name, number = wanted[:MAX_NAME], 2
    while name.lower() in taken:
        name = f"{wanted[: MAX_NAME - 12]}_{number}"
        number += 1
    return name
