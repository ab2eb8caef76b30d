"""How the values of a column are divided into cells, and the vectorised way from values to cell numbers.

Every value has exactly one cell, and which one depends on the value and the reference alone: that makes
counts of cells addable. Cells are finer than any number of bins that is asked for later (see `buckets`).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.columns import Kind
from modelwarden_server.analysis.edge_search import EdgeSearch

Codes = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

MAX_CATEGORY_LENGTH = 255


class Cells(Protocol):
    """The cells of one column, numbered from 0."""

    @property
    def kind(self) -> Kind: ...

    @property
    def size(self) -> int:
        """How many cells there are."""
        ...

    @property
    def missing(self) -> tuple[int, ...]:
        """The cells of rows that have no value (null, NaN)."""
        ...

    def encode(self, values: pa.Array) -> Codes:
        """The cell of each value, in order."""
        ...


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values


def as_floats(values: pa.Array | pa.ChunkedArray) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Values as float64, and which of them are null. What stands at a null's place is not to be used.

    Whole numbers beyond 2^53 are rounded to the nearest double. A list stands for its number of items.
    """
    array = _flat(values)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        array = pc.list_value_length(array)
    null = np.zeros(len(array), dtype=np.bool_)
    if array.null_count:
        null = np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=np.bool_)
        array = pc.fill_null(array, pa.scalar(0, type=array.type))
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64), null


def category_text(value: Any) -> str | None:
    """The text by which a category is known: whole floats as integers, so that 1.0 is the declared "1"."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


@dataclass(frozen=True)
class NumericCells:
    """Half-open intervals `[edge, next edge)`; then a cell for null and one for NaN.

    Cell 0 lies under the lowest value of the reference and the last interval over its highest. `points` are
    values with an interval to themselves. All edges are finite and ascend strictly.
    """

    quantiles: tuple[float, ...]
    """The reference's quantiles at `grid.FRACTIONS`; empty if it had no finite value."""
    points: tuple[float, ...] = ()
    discrete: bool = False
    """Whether `points` are all the values that the reference has."""
    bins: int = 0
    """Other than 0: the quantiles are at 0, 1/bins, … 1 instead, and only that many bins can be formed."""
    lowest: float | None = None
    highest: float | None = None
    """The declared range. It has edges of its own, so that what lies outside is counted exactly."""

    @property
    def kind(self) -> Kind:
        return Kind.NUMERIC

    @cached_property
    def edges(self) -> Floats:
        """Inner borders of the intervals; interval i lies between edge i-1 and edge i."""
        points = np.array(self.points, dtype=np.float64)
        ends = [end for end in (self.highest, *self.quantiles[-1:]) if end is not None]
        starts = [] if self.lowest is None else [self.lowest]
        with np.errstate(over="ignore"):  # nothing lies beyond the largest double
            after = np.nextafter(np.append(points, ends), np.inf)
        edges = np.unique(np.concatenate([np.array(self.quantiles), starts, points, after]))
        finite: Floats = edges[np.isfinite(edges)]
        return finite

    @cached_property
    def _search(self) -> EdgeSearch:
        return EdgeSearch(self.edges)

    @property
    def outside(self) -> tuple[int, ...]:
        """Interval cells outside the declared range or, at an end that is not declared, the reference's."""
        edges = self.edges
        low = self.lowest if self.lowest is not None else self.quantiles[0] if self.quantiles else None
        high = self.highest if self.highest is not None else self.quantiles[-1] if self.quantiles else None
        under = 0 if low is None else int(np.searchsorted(edges, low, side="right"))
        over = self.intervals if high is None else 1 + int(np.searchsorted(edges, high, side="right"))
        return (*range(under), *range(over, self.intervals))

    @property
    def intervals(self) -> int:
        """How many interval cells there are; they are numbered first."""
        return len(self.edges) + 1

    @property
    def size(self) -> int:
        return self.intervals + 2

    @property
    def missing(self) -> tuple[int, ...]:
        return (self.intervals, self.intervals + 1)

    def encode(self, values: pa.Array) -> Codes:
        numbers, null = as_floats(values)
        codes = self._search.places(numbers)
        for mask, cell in zip((np.isnan(numbers), null), reversed(self.missing), strict=True):
            if mask.any():
                codes[mask] = cell
        return codes


@dataclass(frozen=True)
class CategoryCells:
    """One cell a value; then `other` (rare in the reference), `unseen` (never there), and null."""

    values: tuple[str, ...]
    rare: tuple[str, ...] = ()
    overflow: bool = False
    """The reference had too many values to list: what is not in `values` is `other`, and nothing is `unseen`.
    """

    @property
    def kind(self) -> Kind:
        return Kind.CATEGORY

    @property
    def other(self) -> int:
        return len(self.values)

    @property
    def unseen(self) -> int:
        return len(self.values) + 1

    @property
    def size(self) -> int:
        return len(self.values) + 3

    @property
    def missing(self) -> tuple[int, ...]:
        return (len(self.values) + 2,)

    @cached_property
    def _cell_of(self) -> dict[str, int]:
        return dict.fromkeys(self.rare, self.other) | {value: cell for cell, value in enumerate(self.values)}

    def _cell(self, value: Any) -> int:
        text = category_text(value)
        if text is None:
            return self.missing[0]
        unknown = self.other if self.overflow or len(text) > MAX_CATEGORY_LENGTH else self.unseen
        return self._cell_of.get(text, unknown)

    def encode(self, values: pa.Array) -> Codes:
        array = _flat(values)
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        # One place more, so that a null's index finds its cell there.
        cells = np.array([*(self._cell(v) for v in coded.dictionary.to_pylist()), self.missing[0]], np.int32)
        index = coded.indices
        if index.null_count:
            index = pc.fill_null(index.cast(pa.int32()), len(cells) - 1)
        found: Codes = cells.take(index.to_numpy(zero_copy_only=False))
        return found


@dataclass(frozen=True)
class PresenceCells:
    """Two cells: there is a value, there is none."""

    @property
    def kind(self) -> Kind:
        return Kind.PRESENCE

    @property
    def size(self) -> int:
        return 2

    @property
    def missing(self) -> tuple[int, ...]:
        return (1,)

    def encode(self, values: pa.Array) -> Codes:
        return np.asarray(pc.is_null(_flat(values)).to_numpy(zero_copy_only=False)).astype(np.int32)
