"""One number for each thing that is counted of a row: `offset of the group + cell`. Code 0 counts rows.

The groups, in this order: rows; the cells of each attribute that comes with the inference; labelled rows and
the cells of each label; the coarse tables of the profile's pairs; how late rows came; the numbers that tell
repeats. Must not change for a given profile: codes are what partials store (see `store.partials.FORMAT`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.buckets import Buckets, pair_buckets
from modelwarden_server.analysis.cells import Cells, Codes
from modelwarden_server.analysis.lag import CELLS as LAG_CELLS
from modelwarden_server.analysis.lag import lag_cells
from modelwarden_server.analysis.pairs import Pair
from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers, SparseCounts, count_rows, sum_by_key
from modelwarden_server.analysis.profile import ColumnProfile, ReferenceProfile
from modelwarden_server.analysis.relations import is_stored
from modelwarden_server.analysis.repeats import BUCKETS, numbers_of

ROWS: Final = 0
_VALUES_AT_ONCE = 4_000_000
_ENTRIES_AT_ONCE = 1_000_000
_SLICE_MICROSECONDS = SLICE_SECONDS * 1_000_000


@dataclass(frozen=True)
class Times:
    """Names of the columns with the time of the event and of the arrival, both timestamp[us, UTC]."""

    event: str
    arrival: str


@dataclass(frozen=True)
class CodeSpace:
    """What is folded, in the order of the profile. Without a profile: rows and how late they came."""

    columns: tuple[ColumnProfile, ...] = ()
    labels: tuple[ColumnProfile, ...] = ()
    pairs: tuple[Pair, ...] = ()
    _offsets: dict[str, tuple[int, Cells]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        offsets, at = {}, 1
        for profile in self.columns:
            offsets[profile.column.name] = (at, profile.cells)
            at += profile.cells.size
        at += 1
        for profile in self.labels:
            offsets[profile.column.name] = (at, profile.cells)
            at += profile.cells.size
        object.__setattr__(self, "_offsets", offsets)

    @classmethod
    def of(cls, profile: ReferenceProfile | None, stored: frozenset[str]) -> "CodeSpace":
        """The space of a profile; `stored` are the columns of the table of inferences."""
        if profile is None:
            return cls()
        columns = tuple(c for c in profile.columns if c.column.name in stored)
        names = {c.column.name for c in columns}
        pairs = profile.relations.pairs if profile.relations is not None else ()
        return cls(
            columns,
            tuple(c for c in profile.columns if not is_stored(c)),
            tuple(p for p in pairs if p.one in names and p.other in names),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes that come with the inference and have codes."""
        return tuple(c.column.name for c in self.columns)

    @cached_property
    def labelled(self) -> int:
        """The code that counts labelled rows."""
        return 1 + sum(profile.cells.size for profile in self.columns)

    @cached_property
    def _pairs_at(self) -> int:
        return self.labelled + 1 + sum(profile.cells.size for profile in self.labels)

    @cached_property
    def _lag_at(self) -> int:
        return self._pairs_at + sum(len(pair.counts) for pair in self.pairs)

    @property
    def _repeats_at(self) -> int:
        return self._lag_at + LAG_CELLS

    @cached_property
    def size(self) -> int:
        """How many codes there are."""
        return self._repeats_at + (BUCKETS if self.columns else 0)

    def cells_of(self, name: str, totals: Integers) -> Integers:
        """The counts of one attribute's cells within counts by code. Raises KeyError for
        one without codes.
        """
        offset, cells = self._offsets[name]
        return totals[offset : offset + cells.size]

    def pair_of(self, place: int, totals: Integers) -> Integers:
        """The counts of one pair's table."""
        start = self._pairs_at + sum(len(pair.counts) for pair in self.pairs[:place])
        return totals[start : start + len(self.pairs[place].counts)]

    def lag_of(self, totals: Integers) -> Integers:
        """The counts of the cells of lag."""
        return totals[self._lag_at : self._lag_at + LAG_CELLS]

    def repeats_of(self, totals: Integers) -> Integers:
        """The counts of the numbers that tell repeats; empty without a profile."""
        return totals[self._repeats_at :]

    def fold(self, rows: pa.Table | pa.RecordBatch, times: Times) -> Iterator[SparseCounts]:
        """The partial of these rows, in pieces to be added up: memory is bounded, whatever is given.

        Neither time has nulls.
        """
        return self.fold_at(rows, slice_of(rows.column(times.event)), times)

    def fold_at(
        self, rows: pa.Table | pa.RecordBatch, places: Integers, times: Times
    ) -> Iterator[SparseCounts]:
        """As `fold`, with the slice of each row given."""
        values = len(self.columns) + len(self.pairs) + 3
        at_once = max(1, _VALUES_AT_ONCE // values)
        for start in range(0, rows.num_rows, at_once):
            piece = rows.slice(start, at_once)
            slices, codes = places[start : start + at_once], self._encoded(piece, times)
            entries = max(1, _ENTRIES_AT_ONCE // values)
            for low in range(0, len(slices), entries):
                part = slice(low, low + entries)
                yield count_rows(slices[part], [attribute[part] for attribute in codes], self.size)

    def fold_labels(self, slices: Integers, labels: Sequence[Codes], sign: int = 1) -> SparseCounts:
        """The partial of labels at the slices of their inferences: `labels[i]` are the cells of the i-th
        label attribute (see `label_cells`). With sign -1: what a label that is replaced had added.
        """
        codes = [np.full(len(slices), self.labelled, dtype=np.int64)]
        for profile, cells in zip(self.labels, labels, strict=True):
            codes.append(cells.astype(np.int64) + self._offsets[profile.column.name][0])
        keys = np.concatenate([slices * self.size + code for code in codes])
        return sum_by_key(keys, np.full(len(keys), sign, dtype=np.int64))

    def label_cells(self, rows: pa.Table | pa.RecordBatch) -> list[Codes]:
        """The cells of each label attribute of these rows."""
        return [profile.cells.encode(rows.column(profile.column.name)) for profile in self.labels]

    @cached_property
    def _coarse(self) -> dict[str, Buckets]:
        paired = {name for pair in self.pairs for name in (pair.one, pair.other)}
        found = {
            p.column.name: pair_buckets(p.cells, p.counts) for p in self.columns if p.column.name in paired
        }
        return {name: layout for name, layout in found.items() if layout is not None}

    def _encoded(self, rows: pa.Table | pa.RecordBatch, times: Times) -> list[Codes]:
        cells = {name: self._offsets[name][1].encode(rows.column(name)) for name in self.names}
        codes = [np.zeros(rows.num_rows, dtype=np.int32)]
        codes += [cells[name] + np.int32(self._offsets[name][0]) for name in self.names]
        at = self._pairs_at
        for pair in self.pairs:
            one, other = (self._coarse[name].bucket_of[cells[name]] for name in (pair.one, pair.other))
            codes.append((at + one * pair.shape[1] + other).astype(np.int32))
            at += len(pair.counts)
        lag = lag_cells(micros(rows.column(times.event)), micros(rows.column(times.arrival)))
        codes.append(lag + np.int32(self._lag_at))
        if self.columns:
            repeated = numbers_of([cells[name] for name in self.names])
            codes.append((repeated + self._repeats_at).astype(np.int32))
        return codes


def micros(times: pa.Array | pa.ChunkedArray) -> Integers:
    """Microseconds since 1970 of timestamp[us] values without nulls."""
    array = times.combine_chunks() if isinstance(times, pa.ChunkedArray) else times
    return np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def slice_of(times: pa.Array | pa.ChunkedArray) -> Integers:
    """The slice that each time falls into. Times before 1970 have negative slices."""
    return micros(times) // _SLICE_MICROSECONDS
