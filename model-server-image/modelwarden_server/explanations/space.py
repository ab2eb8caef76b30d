"""What is counted of explained rows, by slice of time or by batch: integers that add up, so any window is a
sum.

    0                     rows without an explanation
    1 … 3                 explained rows, by kind: shap in the output's own units, shap in margins, lime
    4 …                   sums of |value| by kind, output and input, in units of 2^-bits

Kinds stand apart because their values do: a margin is no probability, and lime's are slopes. A value of a
missing input adds nothing. Pure. Must not know where counts are kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.code_space import Times, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, sum_by_key
from modelwarden_server.explanations.table import OUTPUTS

KINDS: Final = (("shap", "own"), ("shap", "margin"), ("lime", "own"))
_FAILED: Final = 0
_ROWS: Final = 1
_SUMS: Final = _ROWS + len(KINDS)
_MOST_UNITS: Final = 1 << 46
"""Saturates there: 2^17 such rows still add up."""
BITS: Final = 30
REGRESSION_BITS: Final = 16
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Mean |value| of a window, of its most frequent kind: `values[o][i]` of output o and input i."""

    algorithm: str
    margin: bool
    rows: int
    outputs: tuple[str, ...]
    inputs: tuple[str, ...]
    values: Floats


@dataclass(frozen=True)
class WindowCounts:
    """What the counts of a window say. `importance` is None without an explained row."""

    explained: int
    failed: int
    importance: Importance | None


@dataclass(frozen=True)
class ImportanceSpace:
    """The codes of one model. `bits`: BITS where outputs are probabilities, else REGRESSION_BITS."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    bits: int = BITS
    names: tuple[str, ...] = ("algorithm", "units", OUTPUTS, "values")
    """The columns that are counted, beside the times."""

    @property
    def own_units(self) -> str:
        """What outputs are in, where they are no margins."""
        return "value" if self.bits == REGRESSION_BITS else "probability"

    @property
    def size(self) -> int:
        """How many codes there are."""
        return _SUMS + len(KINDS) * len(self.outputs) * len(self.inputs)

    def fold(self, rows: pa.RecordBatch, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows by slice of event time."""
        return self.fold_at(rows, slice_of(_column(rows, times.event)), times)

    def fold_at(self, rows: pa.RecordBatch, places: Integers, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows, row i at `places[i]`."""
        del times
        kind = self._kinds(rows)
        codes = np.where(kind < 0, _FAILED, _ROWS + kind)
        yield sum_by_key(places * self.size + codes, np.ones(len(places), dtype=np.int64))
        for outputs, chosen in _alike(_column(rows, OUTPUTS), kind >= 0):
            known = [self.outputs.index(name) for name in outputs]
            values = _column(rows, "values").take(pa.array(chosen)).flatten()
            found = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
            yield self._summed(
                np.abs(found).reshape(len(chosen), len(known), len(self.inputs)),
                places[chosen],
                (kind[chosen], np.asarray(known, dtype=np.int64)),
            )

    def told(self, totals: Integers) -> WindowCounts:
        """What the counts of a window, by code, say."""
        rows = totals[_ROWS:_SUMS]
        explained, failed = int(rows.sum()), int(totals[_FAILED])
        if not explained:
            return WindowCounts(0, failed, None)
        kind = int(np.argmax(rows))
        shape = (len(KINDS), len(self.outputs), len(self.inputs))
        sums = totals[_SUMS:].reshape(shape)[kind].astype(np.float64)
        values = np.ldexp(sums, -self.bits) / int(rows[kind])
        given = values.any(axis=1)
        algorithm, units = KINDS[kind]
        found = Importance(
            algorithm,
            units == "margin",
            int(rows[kind]),
            tuple(name for name, there in zip(self.outputs, given.tolist(), strict=True) if there),
            self.inputs,
            values[given],
        )
        return WindowCounts(explained, failed, found)

    def _kinds(self, rows: pa.RecordBatch) -> Integers:
        """The kind of each row; -1 where there is no explanation."""
        lime = _true(pc.equal(_column(rows, "algorithm"), "lime"))
        margin = _true(pc.equal(_column(rows, "units"), "margin"))
        there = _true(pc.is_valid(_column(rows, "values")))
        return np.where(there, np.where(lime, 2, np.where(margin, 1, 0)), -1).astype(np.int64)

    def _summed(self, values: Floats, places: Integers, codes: tuple[Integers, Integers]) -> SparseCounts:
        """Values (n, outputs, inputs), not negative, of rows at `places`; `codes`: kinds, and outputs."""
        kind, outputs = codes
        units = np.rint(np.minimum(np.ldexp(np.nan_to_num(values, nan=0.0), self.bits), _MOST_UNITS))
        each = len(self.outputs) * len(self.inputs)
        at = (places * self.size + _SUMS + kind * each)[:, None, None]
        keys = at + (outputs * len(self.inputs))[None, :, None] + np.arange(len(self.inputs))[None, None, :]
        return sum_by_key(keys.ravel(), units.astype(np.int64).ravel())


def _alike(lists: pa.Array, there: npt.NDArray[np.bool_]) -> Iterator[tuple[Sequence[str], Integers]]:
    """Rows by the outputs that they have."""
    places = np.flatnonzero(there)
    texts = lists.take(pa.array(places)).to_pylist()
    groups: dict[tuple[str, ...], list[int]] = {}
    for place, names in zip(places.tolist(), texts, strict=True):
        groups.setdefault(tuple(names), []).append(place)
    for names, chosen in groups.items():
        yield names, np.asarray(chosen, dtype=np.int64)


def _true(flags: pa.Array) -> npt.NDArray[np.bool_]:
    found = pc.fill_null(flags, fill_value=False).to_numpy(zero_copy_only=False)
    return np.asarray(found, dtype=np.bool_)


def _column(rows: pa.RecordBatch, name: str) -> pa.Array:
    return rows.column(rows.schema.get_field_index(name))
