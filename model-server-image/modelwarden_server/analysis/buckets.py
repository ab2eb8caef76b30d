"""From fine cells to the buckets that two distributions are compared in.

Conventions, where the documented ones leave room: a bucket of numbers is `[lower, upper)`, the first and
the last are open-ended; equal quantiles give one edge, not an empty bucket. A column with no more distinct
reference values than bins gets one bucket a value and one for all other numbers: quantiles of such a column
depend on how ties fall. Missing values are in no bucket, and neither are categories that the reference
never had (as documented), unless `gaps` asks for a bucket of each: a column that goes empty has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.cells import CategoryCells, Cells, NumericCells
from modelwarden_server.analysis.grid import FINE_PLACES, inner_places
from modelwarden_server.analysis.partials import Integers

IGNORED = -1
PAIR_PARTS = 4


@dataclass(frozen=True, eq=False)
class Buckets:
    """`bucket_of[cell]` is the bucket of a cell, or IGNORED. `ordered`: whether neighbours are alike
    (numbers).
    """

    bucket_of: npt.NDArray[np.int64]
    size: int
    ordered: bool

    def counts(self, cells: Integers) -> Integers:
        """Counts by bucket, from counts by cell."""
        used = self.bucket_of != IGNORED
        out = np.zeros(self.size, dtype=np.int64)
        np.add.at(out, self.bucket_of[used], np.asarray(cells, dtype=np.int64)[used])
        return out


def buckets(cells: Cells, num_bins: int, gaps: bool = False, tails: bool = False) -> Buckets | None:
    """The buckets of a column; None if its values cannot be compared (free text, identifiers, an empty
    column).

    With `tails` the first and the last bucket are divided: outside of the reference's range, its outermost
    256th, the rest. A few rows in another unit all end there. Raises ValueError for a number of bins that
    fine cells do not give exactly (see `grid.is_exact`).
    """
    if isinstance(cells, CategoryCells):
        return _category(cells, gaps)
    if isinstance(cells, NumericCells) and cells.quantiles:
        valued = cells.discrete and len(cells.points) <= num_bins
        if valued:
            return _values(cells, gaps)
        return _with_missing(cells, *_intervals(cells, _inner(cells, num_bins, tails)), gaps)
    return None


def pair_buckets(cells: Cells, counts: Sequence[int]) -> Buckets | None:
    """A coarse division for counting pairs of attributes: quarters of the numbers or the most frequent
    categories, and one bucket for no value. None as `buckets`.
    """
    if isinstance(cells, NumericCells):
        return buckets(cells, PAIR_PARTS, gaps=True)
    if not isinstance(cells, CategoryCells):
        return None
    most = np.argsort(-np.array(counts[: cells.other]), kind="stable")[:PAIR_PARTS]
    bucket_of = np.full(cells.size, len(most), dtype=np.int64)
    bucket_of[most] = np.arange(len(most))
    bucket_of[list(cells.missing)] = len(most) + 1
    return Buckets(bucket_of, len(most) + 2, ordered=False)


def _category(cells: CategoryCells, gaps: bool) -> Buckets:
    bucket_of = np.arange(cells.size, dtype=np.int64)
    if not gaps:
        bucket_of[[cells.unseen, *cells.missing]] = IGNORED
    return Buckets(bucket_of, cells.size if gaps else cells.unseen, ordered=False)


def _values(cells: NumericCells, gaps: bool) -> Buckets:
    others = len(cells.points)
    bucket_of = np.full(cells.size, others, dtype=np.int64)
    at = np.searchsorted(cells.edges, np.array(cells.points), side="right")
    bucket_of[at] = np.arange(others)
    return _with_missing(cells, bucket_of, others + 1, gaps)


def _inner(cells: NumericCells, num_bins: int, tails: bool) -> npt.NDArray[np.float64]:
    """The inner borders of the buckets, ascending."""
    quantiles = np.array(cells.quantiles)
    places = np.arange(1, cells.bins) if cells.bins == num_bins else inner_places(num_bins)
    inner: npt.NDArray[np.float64] = np.unique(quantiles[places])
    inner = inner[inner > quantiles[0]]
    if not tails or cells.bins:
        return inner
    with np.errstate(over="ignore"):
        beyond = np.nextafter(quantiles[-1], np.inf)
    ends = np.array([quantiles[0], quantiles[FINE_PLACES[1]], quantiles[FINE_PLACES[-2]], beyond])
    return np.unique(np.concatenate([inner, ends[np.isfinite(ends)]]))


def _intervals(cells: NumericCells, inner: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], int]:
    # An interval cell belongs where its lower border lies; cell 0 has none and belongs to the first bucket.
    bucket_of = np.zeros(cells.size, dtype=np.int64)
    bucket_of[1 : cells.intervals] = np.searchsorted(inner, cells.edges, side="right")
    return bucket_of, len(inner) + 1


def _with_missing(cells: NumericCells, bucket_of: npt.NDArray[np.int64], size: int, gaps: bool) -> Buckets:
    bucket_of[list(cells.missing)] = size if gaps else IGNORED
    return Buckets(bucket_of, size + gaps, ordered=True)
