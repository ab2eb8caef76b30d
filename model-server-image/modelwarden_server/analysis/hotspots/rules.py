"""Rules: conditions over attributes that all hold. How they are written as JSON, as a filter of the query
API, and as a sentence.

An interval is above its lower bound and up to its upper one, as declared bins are. A missing value (null, or
NaN) fulfils nothing but `IsNull`. Must not look at rows.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

Value = str | bool | int | float


@dataclass(frozen=True, slots=True)
class Interval:
    """low < value <= high; None is open. Both None: there is a value."""

    attribute: str
    low: float | None = None
    high: float | None = None

    @property
    def operators(self) -> dict[str, Any]:
        """As `{comparator: value}`."""
        bounds = {"gt": self.low, "lte": self.high}
        return {name: bound for name, bound in bounds.items() if bound is not None} or {"NotNull": True}

    def text(self, _hidden: bool) -> str:
        """In words."""
        name = self.attribute
        match self.low, self.high:
            case None, None:
                return f"{name} is there"
            case None, high:
                return f"{name} <= {high:g}"
            case low, None:
                return f"{name} > {low:g}"
            case low, high:
                return f"{low:g} < {name} <= {high:g}"


@dataclass(frozen=True, slots=True)
class Among:
    """The value is one of these or, `negated`, there is one and it is none of these."""

    attribute: str
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def operators(self) -> dict[str, Any]:
        """As `{comparator: value}`."""
        if self.negated:
            return {"not_in": list(self.values)}
        return {"eq": self.values[0]} if len(self.values) == 1 else {"in": list(self.values)}

    def text(self, hidden: bool) -> str:
        """In words; `hidden`: without the values."""
        if self.negated:
            return f"{self.attribute} is none of the {len(self.values)} most frequent values"
        if hidden:
            many = len(self.values) > 1
            return (
                f"{self.attribute} is one of {len(self.values)} values"
                if many
                else f"{self.attribute} is one value"
            )
        return f"{self.attribute} is {' or '.join(_shown(value) for value in self.values)}"


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no value."""

    attribute: str

    @property
    def operators(self) -> dict[str, Any]:
        """As `{comparator: value}`."""
        return {"IsNull": True}

    def text(self, _hidden: bool) -> str:
        """In words."""
        return f"{self.attribute} is missing"


Condition = Interval | Among | Missing
Region = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Rule:
    """Conditions over different attributes, in the order of the attributes' names."""

    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, *conditions: Condition) -> "Rule":
        """The rule of these conditions. Raises ValueError if two are over one attribute."""
        if len({one.attribute for one in conditions}) < len(conditions):
            raise ValueError("a rule has one condition an attribute")
        return cls(tuple(sorted(conditions, key=lambda one: one.attribute)))

    @property
    def region(self) -> dict[str, dict[str, Any]]:
        """The documented form: `{attribute: {comparator: value}}`."""
        return {one.attribute: one.operators for one in self.conditions}

    @property
    def filter(self) -> list[dict[str, Any]]:
        """Conditions of a query that selects the rule's rows, as the query API takes them."""
        found: list[dict[str, Any]] = []
        for one in self.conditions:
            for comparator, value in one.operators.items():
                if comparator == "not_in":
                    found += [_asked(one, "ne", each) for each in value]
                elif value is True and comparator in ("IsNull", "NotNull"):
                    found.append({"property": one.attribute, "comparator": comparator})
                else:
                    found.append(_asked(one, comparator, value))
        return found

    def text(self, hidden: Set[str] = frozenset()) -> str:
        """In words, without the categories of `hidden` attributes."""
        if not self.conditions:
            return "all rows"
        return " and ".join(one.text(one.attribute in hidden) for one in self.conditions)


def rule_of(region: Region) -> Rule:
    """The rule that a region is of. Raises ValueError for what `Rule.region` would not give."""
    return Rule.of(*(_condition(name, operators) for name, operators in region.items()))


def _condition(name: str, operators: Mapping[str, Any]) -> Condition:
    match dict(operators):
        case {"IsNull": True}:
            return Missing(name)
        case {"NotNull": True}:
            return Interval(name)
        case {"eq": str() | bool() | int() | float() as value}:
            return Among(name, (value,))
        case {"in": list() as values} if values and all(isinstance(v, Value) for v in values):
            return Among(name, tuple(values))
        case {"not_in": list() as values} if values and all(isinstance(v, Value) for v in values):
            return Among(name, tuple(values), negated=True)
        case other if other and other.keys() <= {"gt", "lte"}:
            bounds = [other.get("gt"), other.get("lte")]
            if all(b is None or (isinstance(b, int | float) and not isinstance(b, bool)) for b in bounds):
                return Interval(name, *bounds)
    raise ValueError(f"{name}: this is no condition of a rule")


def _asked(one: Condition, comparator: str, value: Any) -> dict[str, Any]:
    return {"property": one.attribute, "comparator": comparator, "value": value}


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
