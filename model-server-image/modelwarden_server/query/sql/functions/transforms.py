"""Transforms: one row to one value.

What the documents leave open: a division by zero is null; `dateDiff` counts the borders of the unit that lie
between the two times (a minute to midnight and midnight are a day apart); `neighbor` looks along the
`order_by` of its own level, else along the order in which rows arrived; the first property wins a tie of
`labelByMaxColumn`. A text given to an arithmetic or logical function is a property's name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import COMPARABLE, NUMERIC, Expression, Kind, combined, number_of
from modelwarden_server.query.sql.request import MAX_SELECT, Property, condition
from modelwarden_server.query.sql.values import constant, moment, number

ROUNDED: Final = ("second", "minute", "hour", "day", "month", "year")
_UNITS = ("second", "minute", "hour", "day", "week", "month", "quarter", "year")
_MAX_THRESHOLDS = 200
_MAX_CONDITIONS = 20
_MAX_OFFSET = 1_000_000


def _round_timestamp(arguments: Arguments) -> Expression:
    of = arguments.operand("property", {Kind.TIME})
    return rounded(of, arguments.choice("time_interval", ROUNDED))


def rounded(of: Expression, interval: str) -> Expression:
    """The time at which the interval of each time begins; `interval` is one of ROUNDED."""
    return combined(f"date_trunc('{ROUNDED[ROUNDED.index(interval)]}', {of.sql})", Kind.TIME, of)


def _label_by_max(arguments: Arguments) -> Expression:
    names = arguments.raw("properties")
    if not isinstance(names, list) or not 1 <= len(names) <= MAX_SELECT:
        raise arguments.error("properties", f"must be a list of 1 to {MAX_SELECT} names")
    columns = []
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise arguments.error(f"properties[{place}]", "must be the name of an attribute")
        column = arguments.level.expression(Property(name, arguments.at(f"properties[{place}]")))
        if column.kind not in NUMERIC:
            raise arguments.error(
                f"properties[{place}]", f"is {column.kind.value}; labelByMaxColumn needs a number"
            )
        columns.append(column)
    values = f"[{', '.join(f'CAST({number_of(column)} AS DOUBLE)' for column in columns)}]"
    greatest = f"list_position({values}, list_max({values}))"
    sql = f"list_extract(CAST({arguments.bind(names)} AS VARCHAR[]), {greatest})"
    return combined(f"(CASE WHEN list_max({values}) IS NOT NULL THEN {sql} END)", Kind.TEXT, *columns)


def _if(arguments: Arguments) -> Expression:
    holds = arguments.condition()
    branches = []
    for key in ("then", "else"):
        value, kind = constant(arguments.raw(key), arguments.at(key))
        branches.append((arguments.bind(value), kind))
    kinds = {kind for _, kind in branches} - {Kind.NOTHING}
    if len(kinds) == 2 and not kinds <= {Kind.INTEGER, Kind.NUMBER}:
        raise arguments.error("else", "must be of the same type as then")
    kind = Kind.NUMBER if len(kinds) == 2 else next(iter(kinds), Kind.NOTHING)
    sql = f"(CASE WHEN {holds.sql} THEN {branches[0][0]} ELSE {branches[1][0]} END)"
    return combined(sql, kind, holds)


def _bin_continuous(arguments: Arguments) -> Expression:
    of = arguments.operand("property", NUMERIC)
    edges = arguments.ascending("bin_thresholds", _MAX_THRESHOLDS)
    return combined(bin_number(arguments, number_of(of), edges), Kind.INTEGER, of)


def bin_number(arguments: Arguments, value: str, edges: Sequence[float]) -> str:
    """The number of a value's bin, from 1: below the first edge, from it on, …; null for null."""
    cases = "".join(
        f" WHEN {value} < {arguments.bind(edge)} THEN {place}" for place, edge in enumerate(edges, 1)
    )
    return f"(CASE{cases} WHEN {value} IS NOT NULL THEN {len(edges) + 1} END)"


def _date_diff(arguments: Arguments) -> Expression:
    unit = _UNITS[_UNITS.index(arguments.choice("unit", _UNITS))]
    start, end = arguments.operand("start_date", {Kind.TIME}), arguments.operand("end_date", {Kind.TIME})
    return combined(f"date_diff('{unit}', {start.sql}, {end.sql})", Kind.INTEGER, start, end)


def _neighbor(arguments: Arguments) -> Expression:
    of = arguments.operand("property", COMPARABLE)
    if of.aggregate or of.windowed:
        raise arguments.error("property", "must belong to a row: put what is computed into a subquery")
    offset = arguments.whole("offset", -_MAX_OFFSET, _MAX_OFFSET)
    given = arguments.raw("default")
    value = None
    if given is not None:
        value = moment(given, arguments.at("default")) if of.kind is Kind.TIME else given
        kind = of.kind if of.kind is Kind.TIME else constant(given, arguments.at("default"))[1]
        if kind is not of.kind and not {kind, of.kind} <= NUMERIC:
            raise arguments.error("default", f"must be {of.kind.value}, as the property is")
    function, distance = ("lead", offset) if offset >= 0 else ("lag", -offset)
    order = arguments.level.row_order()
    sql = f"{function}({of.sql}, {arguments.bind(distance)}, {arguments.bind(value)}) OVER ({order})"
    return Expression(sql, of.kind, windowed=True, loose=of.loose, shape=of.shape)


def _arithmetic(sign: str) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        left, right = (arguments.operand_or_number(key, NUMERIC) for key in ("left", "right"))
        whole = sign != "/" and Kind.NUMBER not in (left.kind, right.kind)
        divisor = f"nullif({number_of(right)}, 0)" if sign == "/" else number_of(right)
        sql = f"({number_of(left)} {sign} {divisor})"
        return combined(sql, Kind.INTEGER if whole else Kind.NUMBER, left, right)

    return function


def _abs(arguments: Arguments) -> Expression:
    of = arguments.operand("property", NUMERIC)
    return combined(f"abs({number_of(of)})", Kind.NUMBER if of.kind is Kind.NUMBER else Kind.INTEGER, of)


def _equals(arguments: Arguments) -> Expression:
    left, right = (arguments.operand_or_number(key, COMPARABLE) for key in ("left", "right"))
    if left.kind is not right.kind and not {left.kind, right.kind} <= NUMERIC:
        raise arguments.error("right", f"is {right.kind.value}, and left is {left.kind.value}")
    return combined(f"CAST({number_of(left)} = {number_of(right)} AS INTEGER)", Kind.INTEGER, left, right)


def _logical(word: str) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        left, right = (arguments.operand_or_number(key, NUMERIC) for key in ("left", "right"))
        sql = f"CAST(({number_of(left)} <> 0) {word} ({number_of(right)} <> 0) AS INTEGER)"
        return combined(sql, Kind.INTEGER, left, right)

    return function


def _bias_mitigated(arguments: Arguments) -> Expression:
    """1 from the threshold of the row's group on, 0 below it; null for a row of no group, or without a
    prediction. A row is in the first group whose conditions it meets, all of them.
    """
    named = arguments.level.model.prediction()
    _, predicted = arguments.property("predicted_property", None if named is None else named.name, NUMERIC)
    groups = arguments.raw("thresholds")
    if not isinstance(groups, list) or not 1 <= len(groups) <= _MAX_THRESHOLDS:
        raise arguments.error("thresholds", f"must be a list of 1 to {_MAX_THRESHOLDS} groups")
    cases, parts = "", [predicted]
    for place, group in enumerate(groups):
        holds, threshold = _group(arguments, group, f"thresholds[{place}]")
        parts += holds
        passed = f"CAST({number_of(predicted)} >= {arguments.bind(threshold)} AS INTEGER)"
        cases += f" WHEN {' AND '.join(one.sql for one in holds) or 'true'} THEN {passed}"
    return combined(f"(CASE{cases} END)", Kind.INTEGER, *parts)


def _group(arguments: Arguments, group: object, where: str) -> tuple[list[Expression], float]:
    """A group's conditions and its threshold."""
    if not isinstance(group, dict) or group.get("threshold") is None:
        raise arguments.error(where, "needs conditions and a threshold")
    if extra := group.keys() - {"conditions", "threshold"}:
        raise arguments.error(where, f"has no place for {min(extra)[:100]!r}")
    given = group.get("conditions")
    conditions = given if isinstance(given, list) else [given]
    if len(conditions) > _MAX_CONDITIONS:
        raise arguments.error(where, f"at most {_MAX_CONDITIONS} conditions")
    holds = [
        arguments.judged(condition(one, f"{arguments.at(where)}.conditions[{place}]"))
        for place, one in enumerate(conditions)
    ]
    return holds, float(number(group["threshold"], f"{arguments.at(where)}.threshold"))


TRANSFORMS: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "roundTimestamp": _round_timestamp,
    "labelByMaxColumn": _label_by_max,
    "if": _if,
    "binContinuous": _bin_continuous,
    "dateDiff": _date_diff,
    "neighbor": _neighbor,
    "add": _arithmetic("+"),
    "subtract": _arithmetic("-"),
    "multiply": _arithmetic("*"),
    "divide": _arithmetic("/"),
    "abs": _abs,
    "equals": _equals,
    "and": _logical("AND"),
    "or": _logical("OR"),
    "biasMitigatedPredictions": _bias_mitigated,
}
