"""What is counted of scored rows, by slice of time or by batch: integers that add up, so any window is a sum.

    0                  rows
    1                  sum of the scores, in units of 2^-20
    2 … 102            rows by percentile: [0, 1), [1, 2) … [99, 100), and above all of the reference
    103 …              rows from the 99th percentile on, by a column that made them so

Pure. Must not know where counts are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.anomaly import PERCENTILE
from modelwarden_server.analysis.code_space import Times, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, sum_by_key

SCORE, PERCENT, NAMED = "score", "percentile", "attributes"
BINS: Final = 101
_SCORE_BITS: Final = 20
_SUM: Final = 1
_FIRST_BIN: Final = 2
_FIRST_NAME: Final = _FIRST_BIN + BINS
_BEYOND: Final = int(PERCENTILE)


@dataclass(frozen=True)
class ScoreSpace:
    """The codes of one model. `attributes` in the order of the model, which never changes."""

    attributes: tuple[str, ...]
    names: tuple[str, ...] = (SCORE, PERCENT, NAMED)
    """The columns that are counted, beside the times."""

    @property
    def size(self) -> int:
        """How many codes there are."""
        return _FIRST_NAME + len(self.attributes)

    def fold(self, rows: pa.RecordBatch, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows by slice of event time."""
        return self.fold_at(rows, slice_of(_column(rows, times.event)), times)

    def fold_at(self, rows: pa.RecordBatch, places: Integers, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows, row i at `places[i]`."""
        del times
        score = _floats(rows, SCORE)
        bins = percentile_bins(_floats(rows, PERCENT))
        keys = [places * self.size, places * self.size + _SUM, places * self.size + _FIRST_BIN + bins]
        ones = np.ones(len(places), dtype=np.int64)
        counts = [ones, np.rint(np.ldexp(score, _SCORE_BITS)).astype(np.int64), ones]
        row, code = self._named(_column(rows, NAMED))
        beyond = bins[row] >= _BEYOND
        keys.append(places[row[beyond]] * self.size + _FIRST_NAME + code[beyond])
        counts.append(np.ones(int(beyond.sum()), dtype=np.int64))
        yield sum_by_key(np.concatenate(keys), np.concatenate(counts))

    def told(self, totals: Integers) -> "ScoreCounts":
        """What the counts of a window, by code, say."""
        rows = int(totals[0])
        named = totals[_FIRST_NAME:]
        return ScoreCounts(
            rows=rows,
            mean=float(np.ldexp(float(totals[_SUM]), -_SCORE_BITS)) / rows if rows else None,
            bins=tuple(totals[_FIRST_BIN:_FIRST_NAME].tolist()),
            named={self.attributes[i]: int(named[i]) for i in np.flatnonzero(named).tolist()},
        )

    def _named(self, lists: pa.Array) -> tuple[Integers, Integers]:
        """The rows that have attributes named, and the places of those."""
        row = _parents(lists)
        coded = lists.flatten().dictionary_encode()
        known = {name: place for place, name in enumerate(self.attributes)}
        place = np.array([known.get(name, -1) for name in coded.dictionary.to_pylist()], dtype=np.int64)
        code = place[coded.indices.to_numpy(zero_copy_only=False)] if len(coded) else place[:0]
        return row[code >= 0], code[code >= 0]


@dataclass(frozen=True)
class ScoreCounts:
    """Of a window: rows that have a score, their mean score (None without rows), rows by percentile, and of
    those beyond the 99th by the columns that made them so.
    """

    rows: int
    mean: float | None
    bins: Sequence[int]
    named: Mapping[str, int]

    @property
    def beyond(self) -> int:
        """Rows beyond the reference's 99th percentile."""
        return sum(self.bins[_BEYOND:])


def percentile_bins(percentiles: npt.NDArray[np.float64]) -> Integers:
    """The bin of each percentile: 99 and 100 hold what is beyond the reference's 99th."""
    return np.clip(np.floor(percentiles), 0, BINS - 1).astype(np.int64)


def _parents(lists: pa.Array) -> Integers:
    import pyarrow.compute as pc

    found = pc.list_parent_indices(lists)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)


def _column(rows: pa.RecordBatch, name: str) -> pa.Array:
    return rows.column(rows.schema.get_field_index(name))


def _floats(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(_column(rows, name).to_numpy(zero_copy_only=False), dtype=np.float64)
