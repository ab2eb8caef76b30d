"""Aggregates: many rows to one value.

What the documents leave open: variance and standard deviation are those of a sample (n - 1), as in pandas;
`rate` divides by all rows, missing values included; `argMax` gives the `argument` of the row where `value`
is greatest (one documented sample has the two the other way round).
"""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import (
    COMPARABLE,
    NUMERIC,
    Expression,
    Kind,
    aggregated,
    number_of,
)


def _of_number(template: str, kind: Kind | None = Kind.NUMBER) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        of = arguments.operand("property", NUMERIC)
        result = kind or (Kind.NUMBER if of.kind is Kind.NUMBER else Kind.INTEGER)
        return aggregated(template.format(number_of(of)), result, of)

    return function


def _extreme(name: str) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        of = arguments.operand("property", COMPARABLE)
        return aggregated(f"{name}({of.sql})", of.kind, of)

    return function


def _at_extreme(name: str) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        argument, value = arguments.operand("argument", COMPARABLE), arguments.operand("value", COMPARABLE)
        return aggregated(f"{name}({argument.sql}, {value.sql})", argument.kind, argument, value)

    return function


def _count(arguments: Arguments) -> Expression:
    if not arguments.has("property"):
        return Expression("count(*)", Kind.INTEGER, aggregate=True)
    of = arguments.operand("property")
    return aggregated(f"count({of.sql})", Kind.INTEGER, of)


def _count_if(arguments: Arguments) -> Expression:
    holds = arguments.condition()
    return aggregated(f"count(*) FILTER (WHERE {holds.sql})", Kind.INTEGER, holds)


def _rate(arguments: Arguments) -> Expression:
    holds = arguments.condition()
    counted = f"count(*) FILTER (WHERE {holds.sql})"
    return aggregated(f"({counted} / nullif(count(*), 0))", Kind.NUMBER, holds)


def _categories(arguments: Arguments) -> Expression:
    of = arguments.operand("property", COMPARABLE)
    return aggregated(f"count(DISTINCT {of.sql})", Kind.INTEGER, of)


def _any_if(arguments: Arguments) -> Expression:
    result, holds = arguments.operand("result", COMPARABLE), arguments.condition()
    return aggregated(f"any_value({result.sql}) FILTER (WHERE {holds.sql})", result.kind, result, holds)


AGGREGATES: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "avg": _of_number("avg({})"),
    "avgAbs": _of_number("avg(abs(CAST({} AS DOUBLE)))"),
    "sum": _of_number("sum({})", None),
    "variance": _of_number("var_samp({})"),
    "stdDev": _of_number("stddev_samp({})"),
    "min": _extreme("min"),
    "max": _extreme("max"),
    "count": _count,
    "countIf": _count_if,
    "rate": _rate,
    "categoriesCount": _categories,
    "argMax": _at_extreme("arg_max"),
    "argMin": _at_extreme("arg_min"),
    "anyIf": _any_if,
}
