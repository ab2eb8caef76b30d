"""One number for each cell of each attribute: `offset of the attribute + cell`. Code 0 counts rows.

Must not change for a given profile: codes are what partials store.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.cells import Cells, Codes
from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers, SparseCounts, count_rows
from modelwarden_server.analysis.profile import ColumnProfile, ReferenceProfile

ROWS = 0
_VALUES_AT_ONCE = 4_000_000
_ENTRIES_AT_ONCE = 1_000_000
_SLICE_MICROSECONDS = SLICE_SECONDS * 1_000_000


@dataclass(frozen=True)
class CodeSpace:
    """The attributes that are folded, in the order of the profile. Without any: only rows are counted."""

    columns: tuple[ColumnProfile, ...] = ()

    @classmethod
    def of(cls, profile: ReferenceProfile | None, stored: frozenset[str]) -> "CodeSpace":
        """The space of a profile's columns that are also columns of the table of inferences."""
        columns = profile.columns if profile is not None else ()
        return cls(tuple(c for c in columns if c.column.name in stored))

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that have codes."""
        return tuple(c.column.name for c in self.columns)

    @cached_property
    def _offsets(self) -> dict[str, tuple[int, Cells]]:
        offsets, at = {}, 1
        for profile in self.columns:
            offsets[profile.column.name] = (at, profile.cells)
            at += profile.cells.size
        return offsets

    @cached_property
    def size(self) -> int:
        """How many codes there are."""
        return 1 + sum(profile.cells.size for profile in self.columns)

    def cells_of(self, name: str, totals: Integers) -> Integers:
        """The counts of one attribute's cells within counts by code. Raises KeyError for
        one without codes.
        """
        offset, cells = self._offsets[name]
        return totals[offset : offset + cells.size]

    def fold(self, rows: pa.Table | pa.RecordBatch, time_column: str) -> Iterator[SparseCounts]:
        """The partial of these rows, in pieces to be added up: memory is bounded, whatever is given.

        `time_column` is timestamp[us, UTC] without nulls.
        """
        values = len(self.columns) + 1
        at_once = max(1, _VALUES_AT_ONCE // values)
        for start in range(0, rows.num_rows, at_once):
            piece = rows.slice(start, at_once)
            slices, codes = slice_of(piece.column(time_column)), self._encoded(piece)
            entries = max(1, _ENTRIES_AT_ONCE // values)
            for low in range(0, len(slices), entries):
                part = slice(low, low + entries)
                yield count_rows(slices[part], [attribute[part] for attribute in codes], self.size)

    def _encoded(self, rows: pa.Table | pa.RecordBatch) -> list[Codes]:
        codes = [np.zeros(rows.num_rows, dtype=np.int32)]
        for name, (offset, cells) in self._offsets.items():
            codes.append(cells.encode(rows.column(name)) + np.int32(offset))
        return codes


def slice_of(times: pa.Array | pa.ChunkedArray) -> Integers:
    """The slice that each time falls into. Times before 1970 have negative slices."""
    array = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    microseconds = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.asarray(microseconds // _SLICE_MICROSECONDS, dtype=np.int64)
