"""The profile of a reference column: its cells, and how many reference rows are in each.

Two passes over the column, one column at a time: the first finds the cells (quantiles, categories), the
second counts through the very code that counts inferences, so the reference and what is compared with it
cannot be divided differently. Memory: at most `MAX_SORTED` numbers or `MAX_DISTINCT` texts, whatever the
number of rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.cells import (
    MAX_CATEGORY_LENGTH,
    CategoryCells,
    Cells,
    Floats,
    NumericCells,
    PresenceCells,
    as_floats,
    category_text,
)
from modelwarden_server.analysis.columns import NUMERIC_TYPES, Column, Kind
from modelwarden_server.analysis.grid import FINE_PLACES, FRACTIONS

if TYPE_CHECKING:
    from modelwarden_server.analysis.relations import Relations

ColumnSource = Callable[[], Iterable[pa.Array]]
"""Gives the column's chunks, in the same order at each call."""

MAX_SORTED: Final = 16_000_000
MAX_POINTS: Final = 256
TOP_CATEGORIES: Final = 100
MAX_RARE: Final = 1000
MAX_DISTINCT: Final = 200_000
_KEPT_AT_OVERFLOW: Final = 50_000
_REPEATS_AT_OVERFLOW: Final = 5
_IDENTIFIER_DISTINCT: Final = 50
_SUM_BITS: Final = 40


@dataclass(frozen=True, slots=True)
class Moments:
    """Lowest, highest and sum of the finite values. The sum is fixed point: `total / 2**scale`.

    Each value is rounded to 40 bits of the largest one's magnitude, so the mean's relative error is below
    2^-40 of the largest value; integer addition makes it the same for any split of the rows.
    """

    count: int
    lowest: float
    highest: float
    total: int
    scale: int

    @property
    def mean(self) -> float:
        """The mean of the finite values."""
        return float(np.ldexp(self.total / self.count, -self.scale))


@dataclass(frozen=True)
class ColumnProfile:
    """A column's cells and the reference's count in each; `moments` for numbers that have a finite value."""

    column: Column
    cells: Cells
    counts: tuple[int, ...]
    moments: Moments | None = None

    @property
    def rows(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class ReferenceProfile:
    """The profile of a closed reference dataset: what partials and drift are computed against."""

    content_hash: str
    rows: int
    columns: tuple[ColumnProfile, ...]
    relations: "Relations | None" = None
    """What the rows say beyond their columns; None in profiles of older versions."""

    def column(self, name: str) -> ColumnProfile | None:
        """The column of that name."""
        return next((c for c in self.columns if c.column.name == name), None)


def profile_column(column: Column, source: ColumnSource, bins: int = 0) -> ColumnProfile:
    """The profile of one column. `source` is read several times.

    With `bins`, a number is divided for that many bins only: for a comparison that is made once.
    """
    cells, moments = _divide(column, source, bins)
    counts = np.zeros(cells.size, dtype=np.int64)
    for chunk in source():
        counts += np.bincount(cells.encode(chunk), minlength=cells.size)
    return ColumnProfile(column, cells, tuple(counts.tolist()), moments)


def _divide(column: Column, source: ColumnSource, bins: int) -> tuple[Cells, Moments | None]:
    if column.declared_kind is Kind.NUMERIC:
        return _numeric(column, source, bins)
    if column.declared_kind is Kind.CATEGORY:
        return _categories(column, source, bins)
    return PresenceCells(), None


def _numeric(column: Column, source: ColumnSource, bins: int) -> tuple[NumericCells, Moments | None]:
    values, moments = _sorted_sample(source), None
    low, high = column.min_range, column.max_range
    if not len(values):
        return NumericCells((), lowest=low, highest=high), None
    moments = _moments(source)
    new = np.empty(len(values), dtype=np.bool_)
    new[0] = True
    np.not_equal(values[1:], values[:-1], out=new[1:])
    distinct = int(new.sum())
    quantiles = _quantiles(values, np.arange(bins + 1) / bins if bins else FRACTIONS)
    # The thinned sample may have missed the extremes; cells under and over must be empty in the reference.
    quantiles[0], quantiles[-1] = moments.lowest, moments.highest
    if distinct <= MAX_POINTS:
        points = tuple(values[new].tolist())
        cells = NumericCells(
            tuple(quantiles.tolist()), points, discrete=True, bins=bins, lowest=low, highest=high
        )
        return cells, moments
    fine = quantiles if bins else quantiles[FINE_PLACES]
    heavy = np.unique(fine[1:][fine[1:] == fine[:-1]])
    cells = NumericCells(
        tuple(quantiles.tolist()), tuple(heavy.tolist()), bins=bins, lowest=low, highest=high
    )
    return cells, moments


def _quantiles(values: Floats, fractions: Floats) -> Floats:
    """Linear interpolation between order statistics, numpy's default; halved where a difference would
    overflow.
    """
    unit = 2.0 if max(-values[0], values[-1]) > np.finfo(np.float64).max / 2 else 1.0
    quantiles: Floats = np.quantile(values / unit if unit > 1 else values, fractions) * unit
    return quantiles


def _finite(chunk: pa.Array) -> Floats:
    numbers, null = as_floats(chunk)
    kept: Floats = numbers[np.isfinite(numbers) & ~null]
    return kept


def _sorted_sample(source: ColumnSource) -> Floats:
    """All finite values, or beyond MAX_SORTED every second (fourth, …) of them, sorted."""
    kept: list[Floats] = []
    size, stride, seen = 0, 1, 0
    for chunk in source():
        numbers = _finite(chunk)
        kept.append(numbers[-seen % stride :: stride].copy())
        seen += len(numbers)
        size += len(kept[-1])
        if size > MAX_SORTED:
            kept = [np.concatenate(kept)[::2].copy()]
            size, stride = len(kept[0]), stride * 2
    values = np.concatenate(kept) if kept else np.empty(0, dtype=np.float64)
    values.sort()
    return values


def _moments(source: ColumnSource) -> Moments:
    lowest, highest, count = np.inf, -np.inf, 0
    for chunk in source():
        numbers = _finite(chunk)
        if len(numbers):
            lowest, highest = min(lowest, float(numbers.min())), max(highest, float(numbers.max()))
            count += len(numbers)
    _, exponent = np.frexp(max(abs(lowest), abs(highest)))
    scale = int(np.clip(_SUM_BITS - int(exponent), -1000, 1000))
    total = sum(int(np.rint(np.ldexp(_finite(chunk), scale)).astype(np.int64).sum()) for chunk in source())
    return Moments(count, lowest, highest, total, scale)


def _categories(column: Column, source: ColumnSource, bins: int) -> tuple[Cells, Moments | None]:
    seen, lossy = _count_texts(source)
    rows = sum(seen.values())
    if column.value_type in NUMERIC_TYPES and len(seen) > MAX_POINTS + len(column.categories):
        return _numeric(column, source, bins)
    declared = dict.fromkeys(_declared(column))
    if not declared and len(seen) > _IDENTIFIER_DISTINCT and len(seen) * 2 > rows:
        return PresenceCells(), None
    ranked = sorted(
        (text for text in seen if text not in declared and len(text) <= MAX_CATEGORY_LENGTH),
        key=lambda text: (-seen[text], text),
    )
    overflow = lossy or len(ranked) > TOP_CATEGORIES + MAX_RARE
    if overflow:
        ranked = [text for text in ranked[:TOP_CATEGORIES] if seen[text] >= _REPEATS_AT_OVERFLOW]
    top, rare = ranked[:TOP_CATEGORIES], ranked[TOP_CATEGORIES:]
    return CategoryCells((*declared, *top), tuple(sorted(rare)), overflow), None


def _declared(column: Column) -> list[str]:
    """Declared values as `category_text` would write them: "1.0" of an INTEGER is "1", "True" of a BOOLEAN
    "true".
    """
    if column.value_type == "BOOLEAN":
        return [{"1": "true", "0": "false"}.get(text, text.lower()) for text in column.categories]
    if column.value_type not in NUMERIC_TYPES:
        return list(column.categories)
    return [_number_text(text) for text in column.categories]


def _number_text(text: str) -> str:
    try:
        return str(int(text))
    except ValueError:
        pass
    try:
        return category_text(float(text)) or text
    except ValueError:
        return text


def _count_texts(source: ColumnSource) -> tuple[Counter[str], bool]:
    """How often each value occurs; beyond MAX_DISTINCT values the rarest are forgotten, and
    the flag says so.
    """
    seen: Counter[str] = Counter()
    lossy = False
    for chunk in source():
        counted = pc.value_counts(chunk)
        for value, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
            text = category_text(value)
            if text is not None:
                seen[text] += count
        if len(seen) > MAX_DISTINCT:
            seen, lossy = Counter(dict(seen.most_common(_KEPT_AT_OVERFLOW))), True
    return seen, lossy
