"""Who is counted apart: groups of attributes that are monitored for bias, and declared segments. Pure.

A row is in exactly one group of an attribute: a listed one, OTHER, or MISSING. It is in a segment if it
passes all of its tests; a missing value passes none.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden.resources.attributes import Bin, ValueType
from modelwarden.resources.monitoring import Segment, SegmentCondition
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.cells import CategoryCells, as_floats, category_text

Groups = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
MISSING: Final = "(missing)"
OTHER: Final = "(other)"
MAX_GROUPS: Final = 50
MAX_ATTRIBUTES: Final = 12
_ORDERED: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_COMPARED = frozenset({ValueType.INTEGER, ValueType.FLOAT})
_NAMED = _COMPARED | {ValueType.STRING, ValueType.BOOLEAN}


@dataclass(frozen=True)
class GroupRule:
    """The groups of one attribute: its values, or (start outside, end inside) its ranges."""

    attribute: str
    values: tuple[str, ...] = ()
    ranges: tuple[tuple[float, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The listed groups."""
        return self.values or tuple(_range_text(low, high) for low, high in self.ranges)

    def encode(self, values: pa.Array | pa.ChunkedArray) -> Groups:
        """The group of each row: its place in `names`; then OTHER, then MISSING."""
        listed = len(self.names)
        if self.values:
            cells = CategoryCells(self.values).encode(values)
            return np.where(cells == listed + 2, listed + 1, np.minimum(cells, listed)).astype(np.int64)
        numbers, null = as_floats(values)
        found = np.full(len(numbers), listed, dtype=np.int64)
        for place, (low, high) in reversed(list(enumerate(self.ranges))):
            found[(numbers > low) & (numbers <= high)] = place
        found[null | np.isnan(numbers)] = listed + 1
        return found


@dataclass(frozen=True)
class SegmentRule:
    """A declared segment."""

    name: str
    where: tuple[SegmentCondition, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its tests look at."""
        return tuple(dict.fromkeys(condition.attribute for condition in self.where))

    def holds(self, rows: pa.RecordBatch | pa.Table) -> Mask:
        """Which rows are in it."""
        inside = np.ones(rows.num_rows, dtype=np.bool_)
        for condition in self.where:
            inside &= _passes(rows.column(condition.attribute), condition)
        return inside


def group_rules(
    attributes: Sequence[ResolvedAttribute], known: Mapping[str, tuple[str, ...]]
) -> tuple[GroupRule, ...]:
    """The groups of every attribute that is monitored for bias. `known` are the reference's values of
    attributes that declare none. At most MAX_ATTRIBUTES attributes and MAX_GROUPS groups; what is beyond is
    OTHER, or is not told apart.
    """
    found = []
    for a in attributes:
        if not a.monitor_for_bias or a.implicit:
            continue
        if a.bins:
            ranges = tuple(_range(one) for one in a.bins[:MAX_GROUPS])
            found.append(GroupRule(a.name, ranges=ranges))
            continue
        values = a.categories or known.get(a.name, ())
        if a.value_type is ValueType.BOOLEAN:
            values = ("true", "false")
        if values:
            found.append(GroupRule(a.name, values=tuple(values[:MAX_GROUPS])))
    return tuple(found[:MAX_ATTRIBUTES])


def segment_rules(
    segments: Sequence[Segment], attributes: Sequence[ResolvedAttribute], stored: frozenset[str]
) -> tuple[tuple[SegmentRule, ...], dict[str, str]]:
    """The segments that can be counted; of the others, by name, why not."""
    kinds = {a.name: a.value_type for a in attributes if a.name in stored}
    rules, refused = [], {}
    for segment in segments:
        wrong = next((w for c in segment.where if (w := _wrong(c, kinds)) is not None), None)
        if wrong is None:
            rules.append(SegmentRule(segment.name, segment.where))
        else:
            refused[segment.name] = wrong
    return tuple(rules), refused


def _wrong(condition: SegmentCondition, kinds: Mapping[str, ValueType]) -> str | None:
    kind = kinds.get(condition.attribute)
    if kind is None:
        return f"{condition.attribute} is no attribute that comes with an inference"
    if kind not in (_COMPARED if condition.comparator in _ORDERED else _NAMED):
        return f"{condition.attribute} is {kind}, which {condition.comparator} cannot compare"
    if condition.comparator in _ORDERED and _number(condition.values[0]) is None:
        return f"{condition.values[0]!r} is no number to compare {condition.attribute} with"
    return None


def _passes(values: pa.Array | pa.ChunkedArray, condition: SegmentCondition) -> Mask:
    if condition.comparator in _ORDERED:
        numbers, null = as_floats(values)
        bound = cast("float", _number(condition.values[0]))
        return np.asarray(_ORDERED[condition.comparator](numbers, bound) & ~null, dtype=np.bool_)
    wanted = {_canonical(value, values.type) for value in condition.values}
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    coded = array.dictionary_encode()
    inside = [category_text(v) in wanted for v in coded.dictionary.to_pylist()]
    table = np.array([*inside, False], dtype=np.bool_)
    index = coded.indices.cast(pa.int64()).fill_null(len(inside))
    return np.asarray(table[index.to_numpy(zero_copy_only=False)])


def _canonical(text: str, kind: pa.DataType) -> str | None:
    """A value as `category_text` writes it."""
    if pa.types.is_boolean(kind):
        return {"1": "true", "0": "false"}.get(text, text.lower())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        number = _number(text)
        return text if number is None else category_text(number)
    return text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number == number else None


def _range(one: Bin) -> tuple[float, float]:
    low = -np.inf if one.continuous_start is None else one.continuous_start
    return float(low), float(np.inf if one.continuous_end is None else one.continuous_end)


def _range_text(low: float, high: float) -> str:
    return f"({low:g}, inf)" if np.isinf(high) else f"({low:g}, {high:g}]"
