"""Scores of a regression, over the rows that have a prediction and a label.

R² is 1 - (sum of squared errors) / (sum of squares around the labels' mean); null if the labels do not vary.
`mae` takes `aggregation` (avg, min, max) and, given both, `normalizationMin` and `normalizationMax`, by whose
distance errors are divided.
"""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import NUMERIC, Expression, Kind, aggregated, number_of


def _pair(arguments: Arguments) -> tuple[Expression, Expression]:
    """The prediction and its truth."""
    model = arguments.level.model
    named = model.prediction()
    name, predicted = arguments.property("predicted_property", None if named is None else named.name, NUMERIC)
    linked = model.truth_of(name)
    _, truth = arguments.property("ground_truth_property", None if linked is None else linked.name, NUMERIC)
    arguments.raw("threshold")  # the documented client sends one with every score
    return predicted, truth


def _error(predicted: Expression, truth: Expression) -> str:
    return f"(CAST({number_of(predicted)} AS DOUBLE) - CAST({number_of(truth)} AS DOUBLE))"


def _rmse(arguments: Arguments) -> Expression:
    predicted, truth = _pair(arguments)
    error = _error(predicted, truth)
    return aggregated(f"sqrt(avg({error} * {error}))", Kind.NUMBER, predicted, truth)


def _mae(arguments: Arguments) -> Expression:
    predicted, truth = _pair(arguments)
    how = {"avg": "avg", "min": "min", "max": "max"}[
        arguments.choice("aggregation", ("avg", "min", "max"), "avg")
    ]
    sql = f"{how}(abs({_error(predicted, truth)}))"
    if arguments.has("normalizationMin") or arguments.has("normalizationMax"):
        low = arguments.number("normalizationMin", -1e300, 1e300)
        high = arguments.number("normalizationMax", -1e300, 1e300)
        if not low < high:
            raise arguments.error("normalizationMax", "must be more than normalizationMin")
        sql = f"({sql} / {arguments.bind(high - low)})"
    return aggregated(sql, Kind.NUMBER, predicted, truth)


def _r_squared(arguments: Arguments) -> Expression:
    predicted, truth = _pair(arguments)
    error = _error(predicted, truth)
    both = f"FILTER (WHERE {error} IS NOT NULL)"
    around = f"var_pop(CAST({number_of(truth)} AS DOUBLE)) {both}"
    return aggregated(f"(1 - avg({error} * {error}) / nullif({around}, 0))", Kind.NUMBER, predicted, truth)


REGRESSION: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "rmse": _rmse,
    "mae": _mae,
    "rSquared": _r_squared,
}
