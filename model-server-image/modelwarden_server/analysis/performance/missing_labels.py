"""Labels that are missing for some scores more than for others: weights that make up for it. Pure.

Rows are cut into strata of about equal size by score. Within a stratum, labelled rows stand for all of its
rows; so they are weighted by rows / labelled rows. What is left is as sure as fewer rows would be: Kish's
effective number, (Σw)² / Σw². Labels that are missing because of what they say cannot be made up for; of
windows that have fewer labels than others had, nothing is said (see `worse`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.score_grid import BinaryCounts

Floats = npt.NDArray[np.float64]
STRATA: Final = 20
_COMPLETE: Final = 0.999
MOST_UNKNOWN: Final = 0.02
"""Share of rows in strata without a label, above which the rest cannot stand for all."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """Positives and negatives by score bin that add up to the effective number of rows."""

    positives: Floats
    negatives: Floats
    unknown: float
    """The share of rows in strata that have too few labels."""

    @property
    def n(self) -> float:
        """The effective number of labelled rows."""
        return float(self.positives.sum() + self.negatives.sum())


def weighted(counts: BinaryCounts, least: int = 5) -> Weighted:
    """The labelled rows, weighted like all rows."""
    rows = counts.rows.astype(np.float64)
    positives, negatives = (c.astype(np.float64) for c in (counts.positives, counts.negatives))
    labelled, n = positives + negatives, float(rows.sum())
    if not n or labelled.sum() >= _COMPLETE * n:
        return Weighted(positives, negatives, 0.0)
    place = (np.cumsum(rows) - rows / 2) / n
    stratum = np.minimum(np.floor(place * STRATA), STRATA - 1).astype(np.int64)
    all_rows = np.bincount(stratum, weights=rows, minlength=STRATA)
    with_label = np.bincount(stratum, weights=labelled, minlength=STRATA)
    known = with_label >= least
    weight = np.where(known, all_rows / np.maximum(with_label, 1.0), 0.0)
    spread = float((weight**2 * with_label).sum())
    effective = float((weight * with_label).sum()) ** 2 / spread if spread else 0.0
    scale = effective / max(float((weight * with_label).sum()), 1e-300)
    factor = (weight * scale)[stratum]
    return Weighted(positives * factor, negatives * factor, float(all_rows[~known].sum()) / n)
