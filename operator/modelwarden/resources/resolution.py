"""From declared attributes to those a model really has: checked against each other, implicit ones added.
Pure.

The stories that must resolve are the ones the documented client registers: one or two columns for two
classes, a column per class, a class column, regression, text, tokens, ranked lists, images.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from modelwarden.resources.attribute_checks import TOKEN_TYPES, canonical_value, problems_alone
from modelwarden.resources.attributes import Attribute, OutputType, Stage, ValueType
from modelwarden.resources.implicit import with_implicit
from modelwarden.resources.monitoredmodel import MonitoredModelSpec
from modelwarden.resources.output_checks import Outputs, problems_of_outputs
from modelwarden.resources.resolved import Problem, ResolvedAttribute, SchemaError

__all__ = ["Problem", "ResolvedAttribute", "SchemaError", "resolve_attributes"]

_INPUTS = frozenset({Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT, Stage.NON_INPUT_DATA})


def resolve_attributes(spec: MonitoredModelSpec) -> tuple[ResolvedAttribute, ...]:
    """The attributes in the order of the spec, implicit ones after them.

    Raises SchemaError with every problem found: attribute, field, and what to do. A spec that only serves
    has none.
    """
    attributes = spec.attributes
    if not attributes:
        if spec.serving is not None:
            return ()
        raise SchemaError((Problem("", "attributes", "add the model's attributes, or serving"),))
    problems = _in_order(attributes, _problems(spec))
    if problems or spec.output_type is None:
        raise SchemaError(problems)
    return with_implicit(_resolved(attributes), spec.output_type)


def _problems(spec: MonitoredModelSpec) -> Iterator[Problem]:
    attributes = spec.attributes
    if spec.input_type is None:
        yield Problem("", "inputType", "is needed with attributes")
    if spec.output_type is None:
        yield Problem("", "outputType", "is needed with attributes")
    if not any(attribute.stage in _INPUTS for attribute in attributes):
        yield Problem(
            "", "attributes", "add at least one attribute of the stage PIPELINE_INPUT or NON_INPUT_DATA"
        )
    yield from _repeated_names(attributes)
    for attribute in attributes:
        yield from problems_alone(attribute)
    yield from _repeated_positions(attributes)
    yield from _attribute_links(attributes)
    yield from _token_links(attributes)
    if spec.output_type is not None:
        yield from problems_of_outputs(Outputs.of(spec.output_type, attributes))


def _in_order(attributes: Sequence[Attribute], problems: Iterable[Problem]) -> tuple[Problem, ...]:
    place = {attribute.name: index for index, attribute in reversed(list(enumerate(attributes)))}
    return tuple(sorted(problems, key=lambda problem: place.get(problem.attribute, -1)))


def _repeated_names(attributes: Sequence[Attribute]) -> Iterator[Problem]:
    # Tables compare column names without case, so `Age` and `age` would be one column there.
    seen: dict[str, str] = {}
    for attribute in attributes:
        key = attribute.name.lower()
        if key in seen:
            message = (
                f"{seen[key]} is there already: give each attribute a name that differs in more than case"
            )
            yield Problem(attribute.name, "name", message)
        seen.setdefault(key, attribute.name)


def _repeated_positions(attributes: Sequence[Attribute]) -> Iterator[Problem]:
    taken: dict[tuple[Stage, int], str] = {}
    for attribute in attributes:
        if attribute.position is None:
            continue
        first = taken.setdefault((attribute.stage, attribute.position), attribute.name)
        if first != attribute.name:
            where = f"{attribute.position} is the position of {first} in {attribute.stage} already"
            message = f"{where}: choose another"
            yield Problem(attribute.name, "position", message)


def _attribute_links(attributes: Sequence[Attribute]) -> Iterator[Problem]:
    opposite = {Stage.PREDICTED_VALUE: Stage.GROUND_TRUTH, Stage.GROUND_TRUTH: Stage.PREDICTED_VALUE}
    by_name = {attribute.name: attribute for attribute in attributes}
    for attribute in attributes:
        if attribute.attribute_link is None or attribute.stage not in opposite:
            continue
        other = by_name.get(attribute.attribute_link)
        wanted = opposite[attribute.stage]
        if other is None:
            message = (
                f"there is no attribute {attribute.attribute_link}: name an attribute of the stage {wanted}"
            )
            yield Problem(attribute.name, "attributeLink", message)
        elif other.stage is not wanted:
            message = f"{other.name} is {other.stage}: name an attribute of the stage {wanted}"
            yield Problem(attribute.name, "attributeLink", message)
        elif other.attribute_link != attribute.name:
            message = f"{attribute.name} links to it, so it must link back: set it to {attribute.name}"
            yield Problem(other.name, "attributeLink", message)


def _token_links(attributes: Sequence[Attribute]) -> Iterator[Problem]:
    by_name = {attribute.name: attribute for attribute in attributes}
    for attribute in attributes:
        link = attribute.token_attribute_link
        if link is None or attribute.value_type not in TOKEN_TYPES:
            continue
        other = by_name.get(link)
        is_text = attribute.value_type is ValueType.UNSTRUCTURED_TEXT
        if other is None:
            message = f"there is no attribute {link}: name the attribute that holds the same text"
            yield Problem(attribute.name, "tokenAttributeLink", message)
        elif other.value_type not in TOKEN_TYPES or is_text == (
            other.value_type is ValueType.UNSTRUCTURED_TEXT
        ):
            message = f"joins a text and its tokens, and {other.name} is {other.value_type}: name another"
            yield Problem(attribute.name, "tokenAttributeLink", message)
        elif other.token_attribute_link != attribute.name:
            message = f"{attribute.name} links to it, so it must link back: set it to {attribute.name}"
            yield Problem(other.name, "tokenAttributeLink", message)


def _resolved(attributes: Sequence[Attribute]) -> tuple[ResolvedAttribute, ...]:
    positions = _positions(attributes)
    column = next((a for a in attributes if a.stage is Stage.GROUND_TRUTH_CLASS), None)
    return tuple(
        ResolvedAttribute(
            name=attribute.name,
            value_type=attribute.value_type,
            stage=attribute.stage,
            position=position,
            categorical=attribute.categorical,
            categories=tuple(
                canonical_value(attribute.value_type, category.value) or category.value
                for category in attribute.categories
            ),
            bins=attribute.bins,
            min_range=attribute.min_range,
            max_range=attribute.max_range,
            monitor_for_bias=attribute.monitor_for_bias,
            is_unique=attribute.is_unique,
            is_positive_predicted_attribute=attribute.is_positive_predicted_attribute,
            attribute_link=attribute.attribute_link,
            token_attribute_link=attribute.token_attribute_link,
            gt_class_link=_canonical_link(attribute.gt_class_link, column),
            implicit=attribute.implicit,
        )
        for attribute, position in zip(attributes, positions, strict=True)
    )


def _canonical_link(link: str | None, column: Attribute | None) -> str | None:
    return link if link is None or column is None else canonical_value(column.value_type, link)


def _positions(attributes: Sequence[Attribute]) -> list[int]:
    taken: dict[Stage, set[int]] = {stage: set() for stage in Stage}
    for attribute in attributes:
        if attribute.position is not None:
            taken[attribute.stage].add(attribute.position)
    free = {stage: _numbers_without(used) for stage, used in taken.items()}
    return [next(free[a.stage]) if a.position is None else a.position for a in attributes]


def _numbers_without(used: Collection[int]) -> Iterator[int]:
    return (number for number in itertools.count() if number not in used)


def is_binary_classifier(attributes: Sequence[ResolvedAttribute], output_type: OutputType | None) -> bool:
    """Whether the resolved model tells two classes apart."""
    predicted = [a for a in attributes if a.stage is Stage.PREDICTED_VALUE]
    return output_type is OutputType.MULTICLASS and len(predicted) == 2
