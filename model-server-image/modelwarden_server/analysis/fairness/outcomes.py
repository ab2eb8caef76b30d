"""What became of a group's rows at one threshold, and the rates that follow. All from whole numbers.

Selection is asked of all rows that have a score, everything else of those that have a label.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from modelwarden_server.analysis.score_grid import BINS, BinaryCounts


class FairnessMetric(StrEnum):
    """A share of a group's rows."""

    SELECTION_RATE = "selection_rate"
    ACCURACY = "accuracy"
    TPR = "true_positive_rate"
    TNR = "true_negative_rate"
    FPR = "false_positive_rate"
    FNR = "false_negative_rate"
    PPV = "positive_predictive_value"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One group at one threshold. `rows` have a score, `selected` of them reach the threshold; the other four
    count rows that have a label, too.
    """

    rows: int
    selected: int
    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    def __add__(self, other: "Outcomes") -> "Outcomes":
        return Outcomes(
            self.rows + other.rows,
            self.selected + other.selected,
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.true_negatives + other.true_negatives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def labelled(self) -> int:
        """Rows that have a label."""
        return self.positives + self.negatives

    @property
    def positives(self) -> int:
        """Rows whose label is the positive class."""
        return self.true_positives + self.false_negatives

    @property
    def negatives(self) -> int:
        """Rows whose label is the other class."""
        return self.false_positives + self.true_negatives

    def share(self, metric: FairnessMetric) -> tuple[int, int]:
        """The metric as a numerator and a denominator."""
        match metric:
            case FairnessMetric.SELECTION_RATE:
                return self.selected, self.rows
            case FairnessMetric.ACCURACY:
                return self.true_positives + self.true_negatives, self.labelled
            case FairnessMetric.TPR:
                return self.true_positives, self.positives
            case FairnessMetric.TNR:
                return self.true_negatives, self.negatives
            case FairnessMetric.FPR:
                return self.false_positives, self.negatives
            case FairnessMetric.FNR:
                return self.false_negatives, self.positives
            case FairnessMetric.PPV:
                return self.true_positives, self.true_positives + self.false_positives


NOTHING = Outcomes(0, 0, 0, 0, 0, 0)


def grid_bin(threshold: float) -> int | None:
    """The bin from which on scores reach a threshold of the grid; None for one that is not on it.

    1001, one more than the last bin, for every threshold above 1: nobody reaches it.
    """
    if threshold > 1:
        return BINS
    place = round(threshold * (BINS - 1))
    # As doubles the grid is place / 1000: what a person writes as 0.123 is the very same double.
    return place if 0 <= place < BINS and place / (BINS - 1) == threshold else None


def outcomes_from(counts: BinaryCounts, first: int) -> Outcomes:
    """The outcomes if scores of bin `first` (0 … 1001) and above are selected."""
    positives, negatives = int(counts.positives[first:].sum()), int(counts.negatives[first:].sum())
    return Outcomes(
        rows=int(counts.rows.sum()),
        selected=int(counts.rows[first:].sum()),
        true_positives=positives,
        false_positives=negatives,
        true_negatives=int(counts.negatives.sum()) - negatives,
        false_negatives=int(counts.positives.sum()) - positives,
    )


def empty_counts() -> BinaryCounts:
    """No rows at all."""
    return BinaryCounts(*(np.zeros(BINS, dtype=np.int64) for _ in range(3)))
