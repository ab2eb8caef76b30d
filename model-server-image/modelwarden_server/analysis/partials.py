"""Partials: how many rows of a slice of time fall into each cell of each attribute, as sparse, addable
integers.

A count belongs to a key `slice * space + code`, where a slice is five minutes since 1970 and a code is a
cell of one attribute (see `code_space`). Merging is addition: associative and commutative, so neither the
order nor the split of the rows can change a number. Must not know where rows come from or where counts are
kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

SLICE_SECONDS: Final = 300
SLICES_PER_HOUR: Final = 12
SLICES_PER_DAY: Final = 288

# Dense counting pays where the rows of a batch meet the same few slices again and again.
_DENSE_FACTOR: Final = 4


@dataclass(frozen=True, eq=False, slots=True)
class SparseCounts:
    """Counts other than zero, by ascending key. Both arrays are int64, of one length, and
    never written to.
    """

    keys: Integers
    counts: Integers

    def __len__(self) -> int:
        return len(self.keys)

    def between(self, start: int, end: int) -> "SparseCounts":
        """The counts of keys in [start, end), without a copy."""
        low, high = np.searchsorted(self.keys, [start, end])
        return SparseCounts(self.keys[low:high], self.counts[low:high])

    def same_as(self, other: "SparseCounts") -> bool:
        """Whether both hold the very same integers."""
        return np.array_equal(self.keys, other.keys) and np.array_equal(self.counts, other.counts)


@dataclass(frozen=True, eq=False, slots=True)
class PackedCounts:
    """The same counts in less memory: most counts of a thin slice are 1, so five bytes an
    entry, not sixteen.
    """

    first: int
    keys: npt.NDArray[np.uint32] | Integers
    counts: npt.NDArray[np.integer]

    @classmethod
    def of(cls, part: SparseCounts) -> "PackedCounts":
        """Pack counts."""
        if not len(part):
            return cls(0, np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint8))
        first = int(part.keys[0])
        keys = part.keys - first
        lowest, highest = int(part.counts.min()), int(part.counts.max())
        # With a sign: of an unsigned and a signed type numpy would make a double, which cannot hold all sums.
        kind = np.min_scalar_type(highest if lowest >= 0 else min(lowest, -highest - 1))
        return cls(first, keys.astype(np.uint32) if keys[-1] < 2**32 else keys, part.counts.astype(kind))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return self.keys.nbytes + self.counts.nbytes

    @property
    def last_key(self) -> int:
        """The highest key. Raises IndexError without any."""
        return int(self.keys[-1]) + self.first

    def unpacked(self) -> SparseCounts:
        """All counts."""
        return SparseCounts(self.keys.astype(np.int64) + self.first, self.counts.astype(np.int64))

    def between(self, start: int, end: int) -> SparseCounts:
        """The counts of keys in [start, end)."""
        low, high = (self._place(key - self.first) for key in (start, end))
        return PackedCounts(self.first, self.keys[low:high], self.counts[low:high]).unpacked()

    def _place(self, key: int) -> int:
        if self.keys.dtype != np.uint32:
            return int(np.searchsorted(self.keys, key))
        if not 0 <= key < 2**32:
            return 0 if key < 0 else len(self.keys)
        # In the keys' own type: for any other, numpy would convert all of them first.
        return int(np.searchsorted(self.keys, np.uint32(key)))


def empty() -> SparseCounts:
    """No counts at all: the neutral element of `merge`."""
    return SparseCounts(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


def merge(parts: Iterable[SparseCounts]) -> SparseCounts:
    """The sum of counts, key by key."""
    held = [part for part in parts if len(part)]
    if len(held) <= 1:
        return held[0] if held else empty()
    return sum_by_key(np.concatenate([p.keys for p in held]), np.concatenate([p.counts for p in held]))


def sum_by_key(keys: Integers, counts: Integers) -> SparseCounts:
    """Counts with keys in any order, repeated or not, summed by key; zeros (a +1 and a -1) are dropped."""
    if not len(keys):
        return empty()
    # Stable: runs that are sorted already are merged, not sorted again.
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    new = np.empty(len(keys), dtype=np.bool_)
    new[0] = True
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    if not new.all():
        first = np.flatnonzero(new)
        keys, counts = keys[first], np.add.reduceat(counts, first)
    kept = counts != 0
    return SparseCounts(keys, counts) if kept.all() else SparseCounts(keys[kept], counts[kept])


def count_rows(slices: Integers, codes: Sequence[npt.NDArray[np.signedinteger]], space: int) -> SparseCounts:
    """Fold rows: `slices[i]` is row i's slice, `codes[a][i]` its code for attribute a. Each
    pair counts one.
    """
    if not len(slices):
        return empty()
    present, rank = np.unique(slices, return_inverse=True)
    entries = len(slices) * len(codes)
    if len(present) * space <= _DENSE_FACTOR * entries:
        dense = np.zeros(len(present) * space, dtype=np.int64)
        for attribute in codes:
            dense += np.bincount(rank * space + attribute, minlength=len(dense))
        held = np.flatnonzero(dense)
        return SparseCounts(present[held // space] * space + held % space, dense[held])
    keys, counts = np.unique(
        np.concatenate([slices * space + attribute for attribute in codes]), return_counts=True
    )
    return SparseCounts(keys, counts.astype(np.int64))


def roll_up(parts: SparseCounts, space: int, slices: int) -> SparseCounts:
    """The same counts with slices joined: key `unit * space + code`, a unit being `slices` slices."""
    units, codes = np.divmod(parts.keys, space)
    return sum_by_key(units // slices * space + codes, parts.counts)


def total(parts: Iterable[SparseCounts], space: int) -> Integers:
    """Counts by code over all slices, as a dense vector of length `space`."""
    out = np.zeros(space, dtype=np.int64)
    for part in parts:
        if not len(part):
            continue
        first = int(part.keys[0]) // space
        if int(part.keys[-1]) // space == first:
            out[part.keys - first * space] += part.counts  # one unit of time: no code twice
        else:
            np.add.at(out, part.keys % space, part.counts)
    return out
