"""What matters in a region: mean |value| of explanations over the rows that a filter or a group leaves.

From `enriched` only. Values of a missing input, and rows without an explanation, are left out. The documents
name the functions and not their parameters; these are ours:

    regionalFeatureImportance   {"property": an input, "predicted_property"?, "explanation_algorithm"?}
    regionalFeatureImportances  {"predicted_property"?, "explanation_algorithm"?}: {input: importance}
"""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import Expression, Kind, aggregated
from modelwarden_server.query.sql.request import Property


def _one(arguments: Arguments) -> Expression:
    inputs = [attribute.name for attribute in arguments.level.model.inputs]
    asked = arguments.choice("property", inputs)
    mean, parts = _mean(arguments)
    return aggregated(mean(inputs.index(asked)), Kind.NUMBER, *parts)


def _all(arguments: Arguments) -> Expression:
    inputs = [attribute.name for attribute in arguments.level.model.inputs]
    mean, parts = _mean(arguments)
    means = ", ".join(mean(place) for place in range(len(inputs)))

    def shaped(values: list[float | None] | None) -> object:
        return None if values is None else dict(zip(inputs, values, strict=True))

    return aggregated(f"[{means}]", Kind.OBJECT, *parts, shape=shaped)


def _mean(arguments: Arguments) -> tuple[Callable[[int], str], tuple[Expression, ...]]:
    """The mean of |value| of an input by its place, and what is folded for it."""
    model = arguments.level.model
    predictions = [attribute.name for attribute in model.predictions]
    usual = model.prediction()
    output = arguments.choice("predicted_property", predictions, None if usual is None else usual.name)
    algorithm = arguments.choice("explanation_algorithm", ("shap", "lime", "any"), "any")
    values, outputs, made = (
        arguments.level.expression(Property(name, arguments.path))
        for name in ("explainer_values", "explainer_outputs", "explainer_algorithm")
    )
    first = f"(list_position({outputs.sql}, {arguments.bind(output)}) - 1) * {len(model.inputs)}"
    only = "" if algorithm == "any" else f" FILTER (WHERE {made.sql} = {arguments.bind(algorithm)})"

    def mean(place: int) -> str:
        value = f"nullif(list_extract({values.sql}, {first} + {place + 1}), 'nan'::DOUBLE)"
        return f"avg(abs({value})){only}"

    return mean, (values, outputs, made)


IMPORTANCE: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "regionalFeatureImportance": _one,
    "regionalFeatureImportances": _all,
}
