"""What LIME draws rows of a table from: numbers around the mean, categories as often as they come.

Must not know a model or the row that is explained.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats, Rows
from modelwarden_server.explain.missing import Bits, missing

Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Table:
    """What LIME draws from."""

    reference: Rows
    """(m, d), m >= 1: a sample of the reference."""
    categorical: tuple[int, ...] = ()
    """Places of the inputs that are categories; what is no number is so anyhow."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows to ask the model for, and what they are in the local model's terms."""

    rows: Rows
    scaled: Floats
    """(m, d): standard deviations from the mean; 0 for categories."""
    codes: Codes
    """(m, d): places in the categories; 0 for numbers."""


@dataclass(frozen=True, eq=False)
class SampleSpace:
    """The distribution of each input by itself."""

    categories: tuple[tuple[tuple[Any, ...], Floats] | None, ...]
    """Of each input its values and how often they come, None of numbers."""
    mean: Floats
    scale: Floats
    dtype: np.dtype[Any]

    @property
    def categorical(self) -> Bits:
        """(d,): which inputs are categories."""
        return np.array([known is not None for known in self.categories])

    def scaled(self, rows: Rows) -> Floats:
        """(n, d): standard deviations from the mean; NaN where missing, 0 for categories."""
        found = np.zeros(rows.shape)
        for j, known in enumerate(self.categories):
            if known is None:
                found[:, j] = (_numbers(rows[:, j]) - self.mean[j]) / self.scale[j]
        return found

    def codes(self, rows: Rows) -> Codes:
        """(n, d): places in the categories, -1 for a value that the reference has not, 0 for numbers."""
        found = np.zeros(rows.shape, dtype=np.int32)
        for j, known in enumerate(self.categories):
            if known is not None:
                place = {value: at for at, value in enumerate(known[0])}
                found[:, j] = [place.get(value, -1) for value in rows[:, j].tolist()]
        return found

    def drawn(self, number: int, random: np.random.Generator) -> Drawn:
        """`number` rows, each input by itself."""
        shape = (number, len(self.categories))
        scaled, codes = np.zeros(shape), np.zeros(shape, dtype=np.int32)
        rows = np.empty(shape, dtype=self.dtype)
        for j, known in enumerate(self.categories):
            if known is None:
                scaled[:, j] = random.standard_normal(number)
                rows[:, j] = self.mean[j] + self.scale[j] * scaled[:, j]
            else:
                values, shares = known
                codes[:, j] = random.choice(len(values), number, p=shares)
                held = np.empty(len(values), dtype=self.dtype)
                held[:] = values
                rows[:, j] = held[codes[:, j]]
        return Drawn(rows, scaled, codes)


def sample_space(table: Table) -> SampleSpace:
    """What the reference's sample says of each input. An input that is never there is the number 0."""
    rows = table.reference
    gone = missing(rows)
    categories: list[tuple[tuple[Any, ...], Floats] | None] = []
    mean, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    for j in range(rows.shape[1]):
        there = rows[~gone[:, j], j]
        if len(there) and (j in table.categorical or not _is_number(there)):
            counts: dict[Any, int] = {}
            for value in there.tolist():
                counts[value] = counts.get(value, 0) + 1
            categories.append((tuple(counts), np.array(list(counts.values())) / len(there)))
            continue
        categories.append(None)
        if len(there):
            numbers = _numbers(there)
            deviation = float(numbers.std())
            mean[j], scale[j] = float(numbers.mean()), deviation if deviation > 0 else 1.0
    whole = rows.dtype.kind in "iu"
    return SampleSpace(tuple(categories), mean, scale, np.dtype(np.float64) if whole else rows.dtype)


def _is_number(values: Rows) -> bool:
    if values.dtype != object:
        return values.dtype.kind in "fiu"
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _numbers(values: Rows) -> Floats:
    """As floats, NaN where missing."""
    if values.dtype != object:
        return values.astype(np.float64)
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
