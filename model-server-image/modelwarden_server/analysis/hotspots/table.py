"""The columns that rules are over, as arrays, and which rows fulfil a rule. Must not search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.rules import Among, Condition, Interval, Missing, Rule, Value

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers, shape (rows,). NaN: no value. Infinite values lie beyond all bounds."""

    name: str
    values: Floats

    @property
    def missing(self) -> Mask:
        """Rows without a value."""
        return np.isnan(self.values)

    def fulfil(self, one: Condition) -> Mask:
        """Rows that fulfil the condition."""
        match one:
            case Missing():
                return self.missing
            case Among(values=values, negated=negated):
                found = np.isin(self.values, np.array([float(v) for v in values]))
                return ~found & ~self.missing if negated else found
            case Interval(low=low, high=high):
                found = ~self.missing
                if low is not None:
                    found &= self.values > low
                if high is not None:
                    found &= self.values <= high
                return found


@dataclass(frozen=True, eq=False)
class Categories:
    """A column of categories: each row's place in `values`, shape (rows,); -1: no value."""

    name: str
    codes: npt.NDArray[np.int32]
    values: tuple[Value, ...]

    @property
    def missing(self) -> Mask:
        """Rows without a value."""
        return self.codes < 0

    def fulfil(self, one: Condition) -> Mask:
        """Rows that fulfil the condition. An interval that is not open holds for none."""
        match one:
            case Missing():
                return self.missing
            case Among(values=values, negated=negated):
                wanted = set(values)
                among = np.array([*(v in wanted for v in self.values), False])
                found: Mask = among[self.codes]
                return ~found & ~self.missing if negated else found
            case Interval(low=None, high=None):
                return ~self.missing
            case _:
                return np.zeros(len(self.codes), dtype=np.bool_)


Attribute = Numbers | Categories


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length with different names."""

    rows: int
    attributes: Sequence[Attribute]

    @property
    def by_name(self) -> Mapping[str, Attribute]:
        """The columns by name."""
        return {attribute.name: attribute for attribute in self.attributes}

    def fulfil(self, rule: Rule) -> Mask:
        """Rows that fulfil all conditions of the rule. A rule over a column that is not there holds for
        none.
        """
        found = np.ones(self.rows, dtype=np.bool_)
        by_name = self.by_name
        for one in rule.conditions:
            attribute = by_name.get(one.attribute)
            found &= False if attribute is None else attribute.fulfil(one)
        return found
