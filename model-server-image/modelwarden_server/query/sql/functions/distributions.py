"""Distributions of a number: bins, quantiles, deciles.

What the documents leave open: with `num_bins` the bins are of equal width from the least to the greatest
value, and the last one holds the greatest, too; bins without rows are listed; if all values are the same
there is one bin. Quantiles interpolate linearly, as numpy does. `binsToQuantiles` ends with the quantile at
100 %.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import NUMERIC, Expression, Kind, aggregated, number_of
from modelwarden_server.query.sql.functions.transforms import bin_number

MAX_BINS = 1000


def _quantile(arguments: Arguments) -> Expression:
    of, level = arguments.operand("property", NUMERIC), arguments.number("level", 0, 1)
    return aggregated(f"quantile_cont({_double(of)}, {arguments.bind(float(level))})", Kind.NUMBER, of)


def _deciles(arguments: Arguments) -> Expression:
    of = arguments.operand("property", NUMERIC)
    levels = arguments.bind([place / 10 for place in range(11)])
    sql = f"quantile_cont({_double(of)}, CAST({levels} AS DOUBLE[]))"
    return aggregated(sql, Kind.OBJECT, of, shape=_named_deciles)


def _named_deciles(value: list[float] | None) -> Any:
    if value is None:
        return None
    return {"min": value[0], **{f"q{place}": value[place] for place in range(1, 10)}, "max": value[10]}


def _bins_to_quantiles(arguments: Arguments) -> Expression:
    of, bins = arguments.operand("property", NUMERIC), arguments.whole("num_bins", 1, MAX_BINS)
    levels = arguments.bind([place / bins for place in range(1, bins + 1)])
    return aggregated(f"quantile_cont({_double(of)}, CAST({levels} AS DOUBLE[]))", Kind.NUMBERS, of)


def _distribution(arguments: Arguments) -> Expression:
    of = arguments.operand("property", NUMERIC)
    if arguments.has("num_bins") == arguments.has("bin_thresholds"):
        raise arguments.error("num_bins", "give either num_bins or bin_thresholds")
    if arguments.has("bin_thresholds"):
        return _between_thresholds(arguments, of, arguments.ascending("bin_thresholds", MAX_BINS))
    return _of_equal_width(arguments, of, arguments.whole("num_bins", 1, MAX_BINS))


def _between_thresholds(arguments: Arguments, of: Expression, edges: list[float]) -> Expression:
    def shape(value: dict[int, int] | None) -> Any:
        counts = value or {}
        found = []
        for place in range(len(edges) + 1):
            bounds = {} if place == 0 else {"lower": edges[place - 1]}
            if place < len(edges):
                bounds["upper"] = edges[place]
            found.append({**bounds, "count": counts.get(place + 1, 0)})
        return found

    sql = f"histogram({bin_number(arguments, _double(of), edges)})"
    return aggregated(sql, Kind.OBJECT, of, shape=shape)


def _of_equal_width(arguments: Arguments, of: Expression, bins: int) -> Expression:
    def shape(value: dict[str, Any] | None) -> Any:
        if value is None or value["low"] is None:
            return []
        low, high, counts = value["low"], value["high"], value["counts"] or {}
        if low == high:
            return [{"lower": low, "upper": high, "count": sum(counts.values())}]
        edges = [low + (high - low) * (place / bins) for place in range(bins)] + [high]
        return [
            {"lower": edges[place], "upper": edges[place + 1], "count": counts.get(place, 0)}
            for place in range(bins)
        ]

    aggregated("", Kind.OBJECT, of)  # refuses what is an aggregate already, before it gets into a window
    value = _double(of)
    low = arguments.level.beside(f"min({value}) OVER ({{over}})")
    high = arguments.level.beside(f"max({value}) OVER ({{over}})")
    number = arguments.bind(bins)
    share = f"({value} - {low}) / nullif({high} - {low}, 0)"
    # Where the width is nothing, or more than a double holds, all values are in the first bin.
    place = f"least(CAST(floor(coalesce({share}, 0) * {number}) AS INTEGER), {number} - 1)"
    counted = f"histogram(CASE WHEN {value} IS NULL THEN NULL ELSE {place} END)"
    sql = f"{{'low': any_value({low}), 'high': any_value({high}), 'counts': {counted}}}"
    return aggregated(sql, Kind.OBJECT, of, shape=shape)


def _double(of: Expression) -> str:
    return f"CAST({number_of(of)} AS DOUBLE)"


DISTRIBUTIONS: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "distribution": _distribution,
    "quantile": _quantile,
    "deciles": _deciles,
    "binsToQuantiles": _bins_to_quantiles,
}
