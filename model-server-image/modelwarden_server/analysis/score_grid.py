"""The grid that scores are counted on: 1001 bins, one for each threshold 0, 0.001, … 1.

Bin k holds scores in [k/1000, (k+1)/1000); bin 1000 those of 1 and above, bin 0 those below 0 too. So for a
threshold on the grid "score >= threshold" is exactly "bin >= k", compared as doubles: every count at such a
threshold is exact. What orders scores within a bin (AUC, calibration) is known up to the ties of the bin.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers

BINS: Final = 1001
THRESHOLDS: Final[npt.NDArray[np.float64]] = np.arange(BINS) / 1000.0


def score_bins(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The bin of each score; -1 for NaN. Shape (n,)."""
    bins = np.clip(np.searchsorted(THRESHOLDS, scores, side="right") - 1, 0, BINS - 1).astype(np.int32)
    bins[np.isnan(scores)] = -1
    return bins


@dataclass(frozen=True, eq=False)
class BinaryCounts:
    """One population in one window, for one class against the rest: rows by score bin. All int64 (1001,).

    `rows` counts all rows that have a score; `positives` and `negatives` those of them that have a label.
    """

    rows: Integers
    positives: Integers
    negatives: Integers

    def __add__(self, other: "BinaryCounts") -> "BinaryCounts":
        return BinaryCounts(
            self.rows + other.rows, self.positives + other.positives, self.negatives + other.negatives
        )

    @property
    def labelled(self) -> int:
        """Rows that have a label."""
        return int(self.positives.sum() + self.negatives.sum())
