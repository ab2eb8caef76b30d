"""Functions of the lists in a row: tokens, their likelihoods, ranked items.

`arraySlice` is documented by name only: here `offset` counts from 1, or from the end if negative, as in
ClickHouse, and without `length` the slice goes to the end. The others are ours; with `avg` over
`arrayAvg` of `<attribute>_likelihoods` one has the mean token likelihood, with `arrayStdDev` its stability,
with `arrayLength` of the tokens the length of the sequence.
"""

from collections.abc import Callable, Mapping
from typing import Final

from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import LISTS as LIST_KINDS
from modelwarden_server.query.sql.expression import Expression, Kind, combined

_LONGEST = 1_000_000


def _slice(arguments: Arguments) -> Expression:
    of = arguments.operand("property", LIST_KINDS)
    offset = arguments.whole("offset", -_LONGEST, _LONGEST)
    if offset == 0:
        raise arguments.error("offset", "counts from 1, or from the end if negative: 0 is no place")
    length = arguments.whole("length", 0, _LONGEST, _LONGEST)
    at = arguments.bind(offset)
    begin = at if offset > 0 else f"greatest(len({of.sql}) + {at} + 1, 1)"
    sql = f"list_slice({of.sql}, {begin}, {begin} + {arguments.bind(length)} - 1)"
    found = combined(sql, of.kind, of)
    return Expression(found.sql, of.kind, found.aggregate, found.windowed, found.loose, of.shape)


def _length(arguments: Arguments) -> Expression:
    of = arguments.operand("property", LIST_KINDS)
    return combined(f"len({of.sql})", Kind.INTEGER, of)


def _folded(name: str) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        of = arguments.operand("property", {Kind.NUMBERS})
        return combined(f"list_aggregate({of.sql}, '{name}')", Kind.NUMBER, of)

    return function


LISTS: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "arraySlice": _slice,
    "arrayLength": _length,
    "arrayAvg": _folded("avg"),
    "arrayMin": _folded("min"),
    "arrayMax": _folded("max"),
    "arraySum": _folded("sum"),
    "arrayStdDev": _folded("stddev_samp"),
}
