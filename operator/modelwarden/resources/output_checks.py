"""What is wrong with a model's predictions and their ground truth, taken together. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelwarden.resources.attribute_checks import canonical_value
from modelwarden.resources.attributes import Attribute, OutputType, Stage, ValueType
from modelwarden.resources.resolved import Problem

_CLASS_TYPES = frozenset({ValueType.INTEGER, ValueType.STRING})
_NUMBERS = frozenset({ValueType.FLOAT, ValueType.INTEGER})
_PREDICTED = {
    OutputType.REGRESSION: _NUMBERS,
    OutputType.MULTICLASS: frozenset({ValueType.FLOAT}),
    OutputType.MULTILABEL: frozenset({ValueType.FLOAT}),
    OutputType.OBJECT_DETECTION: frozenset({ValueType.BOUNDING_BOX}),
    OutputType.TOKEN_SEQUENCE: frozenset(
        {ValueType.UNSTRUCTURED_TEXT, ValueType.TOKENS, ValueType.TOKEN_LIKELIHOODS}
    ),
    OutputType.RANKED_LIST: frozenset({ValueType.RANKED_LIST}),
}
_TRUTH = {
    OutputType.REGRESSION: _NUMBERS,
    OutputType.MULTICLASS: _CLASS_TYPES,
    OutputType.MULTILABEL: _CLASS_TYPES,
    OutputType.OBJECT_DETECTION: frozenset({ValueType.BOUNDING_BOX}),
    OutputType.TOKEN_SEQUENCE: frozenset({ValueType.UNSTRUCTURED_TEXT, ValueType.TOKENS}),
    OutputType.RANKED_LIST: frozenset({ValueType.ARRAY_STRING}),
}
_CLASSIFIERS = frozenset({OutputType.MULTICLASS, OutputType.MULTILABEL})
_ZERO_AND_ONE = frozenset({"0", "1"})


@dataclass(frozen=True, slots=True)
class Outputs:
    """The attributes of a model's output side, in the order of the list."""

    output_type: OutputType
    predicted: tuple[Attribute, ...]
    truths: tuple[Attribute, ...]
    class_columns: tuple[Attribute, ...]

    @classmethod
    def of(cls, output_type: OutputType, attributes: Iterable[Attribute]) -> "Outputs":
        """Sorts the attributes by stage."""
        listed = tuple(attributes)
        return cls(
            output_type=output_type,
            predicted=tuple(a for a in listed if a.stage is Stage.PREDICTED_VALUE),
            truths=tuple(a for a in listed if a.stage is Stage.GROUND_TRUTH),
            class_columns=tuple(a for a in listed if a.stage is Stage.GROUND_TRUTH_CLASS),
        )


def problems_of_outputs(outputs: Outputs) -> Iterator[Problem]:
    """Every rule that predictions and ground truth break together."""
    if not outputs.predicted:
        yield Problem("", "attributes", "add at least one attribute of the stage PREDICTED_VALUE")
    for check in (_types, _counts, _class_column, _class_links, _truth_of_each, _positives, _implicit):
        yield from check(outputs)


def _names(types: Iterable[ValueType]) -> str:
    return " or ".join(sorted(types))


def _types(outputs: Outputs) -> Iterator[Problem]:
    kind = outputs.output_type
    for attribute in outputs.predicted:
        if attribute.value_type not in _PREDICTED[kind]:
            message = (
                f"a prediction of a {kind} model is {_names(_PREDICTED[kind])}, not {attribute.value_type}"
            )
            yield Problem(attribute.name, "valueType", message)
    for attribute in outputs.truths:
        if attribute.value_type not in _TRUTH[kind]:
            message = (
                f"the ground truth of a {kind} model is {_names(_TRUTH[kind])}, not {attribute.value_type}"
            )
            yield Problem(attribute.name, "valueType", message)
        elif kind in _CLASSIFIERS:
            yield from _zero_or_one(attribute)
    for attribute in outputs.class_columns:
        if attribute.value_type not in _CLASS_TYPES:
            message = f"a class column is {_names(_CLASS_TYPES)}, not {attribute.value_type}"
            yield Problem(attribute.name, "valueType", message)


def _zero_or_one(truth: Attribute) -> Iterator[Problem]:
    values = {canonical_value(truth.value_type, category.value) for category in truth.categories}
    if not values <= _ZERO_AND_ONE:
        yield Problem(
            truth.name,
            "categories",
            "the ground truth of one class is 0 or 1: for a column that holds the class itself use the stage"
            " GROUND_TRUTH_CLASS and set gtClassLink on the predictions",
        )


def _counts(outputs: Outputs) -> Iterator[Problem]:
    if outputs.output_type is OutputType.REGRESSION:
        for extra in outputs.predicted[1:]:
            yield Problem(
                extra.name, "stage", "a REGRESSION model has one prediction: declare a model for each"
            )
        for extra in outputs.truths[1:]:
            yield Problem(
                extra.name, "stage", "a REGRESSION model has one ground truth: make it NON_INPUT_DATA"
            )


def _class_column(outputs: Outputs) -> Iterator[Problem]:
    for extra in outputs.class_columns[1:]:
        yield Problem(
            extra.name, "stage", "a model has at most one GROUND_TRUTH_CLASS: make it NON_INPUT_DATA"
        )
    if outputs.class_columns and outputs.output_type is not OutputType.MULTICLASS:
        yield Problem(
            outputs.class_columns[0].name,
            "stage",
            "GROUND_TRUTH_CLASS is only for MULTICLASS models: use GROUND_TRUTH and attributeLink",
        )
    declared = [a for a in outputs.predicted if not a.implicit]
    if outputs.class_columns and len(declared) == 1 and len(outputs.class_columns[0].categories) != 2:
        yield Problem(
            outputs.class_columns[0].name,
            "categories",
            f"must be the two classes of the model, because {declared[0].name} is its only prediction:"
            f" list both,"
            " or add a prediction for each class",
        )


def _class_links(outputs: Outputs) -> Iterator[Problem]:
    column = outputs.class_columns[0] if outputs.class_columns else None
    taken: dict[str, str] = {}
    for attribute in outputs.predicted:
        link = attribute.gt_class_link
        if link is None:
            continue
        if column is None:
            yield Problem(
                attribute.name, "gtClassLink", "there is no attribute of the stage GROUND_TRUTH_CLASS: add it"
            )
            continue
        value = canonical_value(column.value_type, link)
        known = {canonical_value(column.value_type, category.value) for category in column.categories}
        if value is None or (known and value not in known):
            message = f"{link!r} is not among the categories of {column.name}: correct it or add the category"
            yield Problem(attribute.name, "gtClassLink", message)
        elif value in taken:
            message = (
                f"{link!r} is the class of {taken[value]} already: give each prediction a class of its own"
            )
            yield Problem(attribute.name, "gtClassLink", message)
        else:
            taken[value] = attribute.name


def _truth_of_each(outputs: Outputs) -> Iterator[Problem]:
    if outputs.output_type is OutputType.TOKEN_SEQUENCE:
        return
    for attribute in outputs.predicted:
        if attribute.attribute_link is not None or attribute.gt_class_link is not None or attribute.implicit:
            continue
        if outputs.class_columns:
            column = outputs.class_columns[0].name
            message = f"say which value of {column} means this class"
            yield Problem(attribute.name, "gtClassLink", message)
        else:
            message = (
                "name the GROUND_TRUTH attribute of this prediction; declare one even if labels never come"
            )
            yield Problem(attribute.name, "attributeLink", message)


def _positives(outputs: Outputs) -> Iterator[Problem]:
    positive = [a for a in outputs.predicted if a.is_positive_predicted_attribute]
    if outputs.output_type is not OutputType.MULTICLASS:
        return
    if len(outputs.predicted) == 2 and not positive:
        first, second = (a.name for a in outputs.predicted)
        message = (
            f"a model of two classes needs one positive prediction: set it to true on {first} or on {second}"
        )
        yield Problem(first, "isPositivePredictedAttribute", message)
    for extra in positive[1:]:
        message = f"{positive[0].name} is the positive prediction already: set it to true on one only"
        yield Problem(extra.name, "isPositivePredictedAttribute", message)


def _implicit(outputs: Outputs) -> Iterator[Problem]:
    derived = [a for a in outputs.predicted if a.implicit]
    binary = outputs.output_type is OutputType.MULTICLASS and len(outputs.predicted) == 2
    if derived and not (binary and len(derived) == 1):
        for attribute in derived:
            yield Problem(
                attribute.name, "implicit", "only the other prediction of a two-class model can be derived"
            )
    partners = {a.attribute_link for a in derived}
    for truth in outputs.truths:
        one_hot = truth.gt_class_link is not None and bool(outputs.class_columns)
        if truth.implicit and not one_hot and truth.name not in partners:
            yield Problem(truth.name, "implicit", "it cannot be derived from anything: remove it here")
