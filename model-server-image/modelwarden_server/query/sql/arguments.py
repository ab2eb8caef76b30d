"""What a function is called with: parameters taken one by one, each judged, and none left over.

Functions are written against this; how a name finds its column is the level's business.
"""

import itertools
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from modelwarden_server.query.request import QueryError
from modelwarden_server.query.sql.expression import Binder, Expression, Kind
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import Call, Condition, Operand, Property, condition, operand
from modelwarden_server.query.sql.values import condition_over, constant, number

_TAKEN_AS_NUMBERS = frozenset({Kind.INTEGER, Kind.BOOLEAN})


class Level(Protocol):
    """One SELECT of a statement, as functions need it."""

    model: QueriedModel
    binder: Binder

    def expression(self, asked: Operand) -> Expression:
        """The piece that an operand comes to. Raises QueryError."""
        ...

    def beside(self, sql: str) -> str:
        """The name of a column that every row gets before rows are folded.

        `{over}` in `sql` becomes what the row's group is partitioned by, to go on with `, more` or nothing.
        """
        ...

    def row_order(self) -> str:
        """The order of the rows of this level, for functions of neighbours."""
        ...


class Arguments:
    """The parameters of one call."""

    def __init__(self, call: Call, level: Level) -> None:
        self.level = level
        self.function = call.function
        self.path = call.path
        self._given = call.parameters
        self._taken: set[str] = set()

    def raw(self, key: str) -> Any:
        """A parameter as it came, None if it did not."""
        self._taken.add(key)
        return self._given.get(key)

    def at(self, key: str) -> str:
        """Where a parameter stands in the request."""
        return f"{self.path}.{key}"

    def error(self, key: str, sentence: str) -> QueryError:
        """A refusal that names the parameter."""
        return QueryError(f"{self.at(key)}: {sentence}")

    def has(self, key: str) -> bool:
        """Whether a parameter came with a value."""
        return self.raw(key) is not None

    def operand(self, key: str, kinds: Collection[Kind] | None = None) -> Expression:
        """A property, alias or nested function, of one of these kinds."""
        given = self.raw(key)
        if given is None:
            raise self.error(key, f"is missing: {self.function} needs it")
        return self._of_kind(key, self.level.expression(operand(given, self.at(key))), kinds)

    def operand_or_number(self, key: str, kinds: Collection[Kind]) -> Expression:
        """As `operand`, or a number that stands for itself."""
        given = self.raw(key)
        if isinstance(given, bool | int | float):
            value, kind = constant(given, self.at(key))
            return Expression(self.level.binder.bind(value), kind)
        return self.operand(key, kinds)

    def property(
        self, key: str, name: str | None, kinds: Collection[Kind] | None = None
    ) -> tuple[str, Expression]:
        """A property by its name alone, `name` if none is given."""
        given = self.raw(key)
        if given is None:
            given = name
        if not isinstance(given, str):
            raise self.error(key, f"must name an attribute: {self.function} cannot tell which one is meant")
        asked = Property(given, self.at(key))
        return given, self._of_kind(key, self.level.expression(asked), kinds)

    def condition(self) -> Expression:
        """`property`, `comparator` and `value` among the parameters, as true, false or null."""
        keys = ("property", "comparator", "value")
        fields = {key: self._given[key] for key in keys if key in self._given}
        self._taken.update(keys)
        return self.judged(condition(fields, self.path))

    def judged(self, asked: Condition) -> Expression:
        """A condition as a piece."""
        return condition_over(self.level.expression(asked.of), asked, self.level.binder)

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number between two bounds, both inside."""
        given = self.raw(key)
        if given is None:
            if default is None:
                raise self.error(key, f"is missing: {self.function} needs it")
            return default
        found = number(given, self.at(key))
        if not low <= found <= high:
            raise self.error(key, f"must be {low:g} to {high:g}")
        return found

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number between two bounds, both inside."""
        found = self.number(key, low, high, default)
        if found != int(found):
            raise self.error(key, "must be a whole number")
        return int(found)

    def ascending(self, key: str, most: int) -> list[float]:
        """Numbers that ascend strictly."""
        given = self.raw(key)
        if not isinstance(given, list) or not 1 <= len(given) <= most:
            raise self.error(key, f"must be a list of 1 to {most} numbers")
        numbers = [number(value, f"{self.at(key)}[{place}]") for place, value in enumerate(given)]
        if any(b <= a for a, b in itertools.pairwise(numbers)):
            raise self.error(key, "must ascend")
        return [float(value) for value in numbers]

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """One of some words."""
        given = self.raw(key)
        if given is None and default is not None:
            return default
        if given not in allowed:
            raise self.error(key, f"must be one of {', '.join(allowed)}")
        return str(given)

    def bind(self, value: Any) -> str:
        """The place of a value."""
        return self.level.binder.bind(value)

    def finish(self) -> None:
        """Refuse parameters that nobody asked for: a misspelt one would change the answer in silence."""
        extra = self._given.keys() - self._taken
        if extra:
            raise self.error(min(extra)[:100], f"{self.function} has no such parameter")

    def _of_kind(self, key: str, one: Expression, kinds: Collection[Kind] | None) -> Expression:
        if kinds is not None and one.kind not in kinds and one.kind is not Kind.NOTHING:
            wanted = " or ".join(k.value for k in Kind if k in kinds and (k not in _TAKEN_AS_NUMBERS))
            raise self.error(key, f"is {one.kind.value}; {self.function} needs {wanted}")
        return one
