"""What is counted of expected losses, by slice of time or by batch: rows, and sums in fixed point.

    0        rows
    1, 2     sum of the expected absolute errors: high and low limb of 31 bits
    3, 4     the same of squared errors

A number stands as round(x · 2^bits); the bits are settled by the first model, at 2^-24 of its mean error, and
never changed: 2^38 times that mean still fits. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.code_space import Times, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, sum_by_key
from modelwarden_server.analysis.performance.fixed_point import joined, limbs
from modelwarden_server.query.performance.expected_loss import LossSums

ABSOLUTE, SQUARED = "expected_absolute_error", "expected_squared_error"
_RESOLUTION: Final = 24
_MOST: Final = float(1 << 61)
_CODES: Final = 5


@dataclass(frozen=True)
class Units:
    """Bits after the point, of absolute and of squared errors."""

    absolute: int
    squared: int

    @classmethod
    def of(cls, mean_absolute: float, mean_squared: float) -> "Units":
        """The units for errors of that size."""
        bits = [_RESOLUTION - int(np.ceil(np.log2(mean))) for mean in (mean_absolute, mean_squared)]
        return cls(*bits)


@dataclass
class LossSpace:
    """The codes. Nothing is counted before the units are known."""

    units: Units | None = None
    names: tuple[str, ...] = (ABSOLUTE, SQUARED)

    @property
    def size(self) -> int:
        """How many codes there are."""
        return _CODES

    def fold(self, rows: pa.RecordBatch, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows by slice of event time."""
        return self.fold_at(rows, slice_of(_column(rows, times.event)), times)

    def fold_at(self, rows: pa.RecordBatch, places: Integers, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows, row i at `places[i]`. Raises RuntimeError without units."""
        del times
        if self.units is None:
            raise RuntimeError("losses came before the unit to count them in")
        keys, counts = [places * _CODES], [np.ones(len(places), dtype=np.int64)]
        for first, name, bits in ((1, ABSOLUTE, self.units.absolute), (3, SQUARED, self.units.squared)):
            scaled = np.ldexp(_column(rows, name).to_numpy(zero_copy_only=False), bits)
            units = np.rint(np.clip(scaled, 0.0, _MOST)).astype(np.int64)
            for code, limb in enumerate(limbs(units), first):
                keys.append(places * _CODES + code)
                counts.append(limb)
        yield sum_by_key(np.concatenate(keys), np.concatenate(counts))

    def told(self, totals: Integers) -> LossSums:
        """The sums of a window, from counts by code."""
        rows = int(totals[0])
        if self.units is None or not rows:
            return LossSums()
        absolute, squared = (
            float(np.ldexp(float(joined(int(totals[at]), int(totals[at + 1]))), -bits))
            for at, bits in ((1, self.units.absolute), (3, self.units.squared))
        )
        return LossSums(rows, absolute, squared)


def _column(rows: pa.RecordBatch, name: str) -> pa.Array:
    return rows.column(rows.schema.get_field_index(name))
