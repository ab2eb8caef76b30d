"""Pieces of a statement: SQL that holds nothing of the request, and what kind of value it has.

A piece consists of our own words, names like c3 and places like $7. Whatever a client wrote (names, values,
thresholds) is bound to such a place or looked up in a dictionary, and never becomes part of the text.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modelwarden_server.query.request import QueryError

Shape = Callable[[Any], Any]
"""From a value as DuckDB gives it to one that JSON can hold."""


class Kind(enum.Enum):
    """What a piece is worth, in words for people."""

    INTEGER = "a whole number"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    TEXT = "a text"
    TIME = "a time"
    TEXTS = "a list of texts"
    NUMBERS = "a list of numbers"
    RANKED = "a ranked list"
    OBJECT = "a structured value"
    NOTHING = "null"


NUMERIC = frozenset({Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN})
COMPARABLE = NUMERIC | {Kind.TEXT, Kind.TIME}
_LONGEST = 200_000
LISTS = frozenset({Kind.TEXTS, Kind.NUMBERS, Kind.RANKED})


@dataclass(frozen=True)
class Expression:
    """One piece. `aggregate`: it needs many rows; `loose`: properties that it takes from a single row.

    `windowed`: it needs its row's neighbours. `shape` turns its values into JSON where they are not plain.
    """

    sql: str
    kind: Kind
    aggregate: bool = False
    windowed: bool = False
    loose: frozenset[str] = frozenset()
    shape: Shape | None = None

    def __post_init__(self) -> None:
        # A column that is referred to is written out again: a chain of sums with themselves would double
        # at each step.
        if len(self.sql) > _LONGEST:
            raise QueryError("the functions refer to each other too often: use a subquery")


def combined(sql: str, kind: Kind, *parts: Expression) -> Expression:
    """A piece made of others, row by row or from what they come to."""
    return Expression(
        sql,
        kind,
        aggregate=any(part.aggregate for part in parts),
        windowed=any(part.windowed for part in parts),
        loose=frozenset().union(*(part.loose for part in parts)),
    )


def aggregated(sql: str, kind: Kind, *parts: Expression, shape: Shape | None = None) -> Expression:
    """A piece that folds rows; `parts` are what it folds."""
    for part in parts:
        if part.aggregate or part.windowed:
            raise QueryError(
                "an aggregate cannot be taken of another in one step: put the inner one into a subquery"
            )
    return Expression(sql, kind, aggregate=True, shape=shape)


def number_of(part: Expression) -> str:
    """The piece as something to calculate with."""
    return f"CAST({part.sql} AS INTEGER)" if part.kind is Kind.BOOLEAN else part.sql


@dataclass
class Binder:
    """The values of a statement, in the order of their places."""

    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        """The place of a value."""
        self.values.append(value)
        return f"${len(self.values)}"
