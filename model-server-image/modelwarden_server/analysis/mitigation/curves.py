"""For one group and constraint the best threshold at each point x = 0, 0.001 … 1 of what is to be equal.

| constraint | x | y |
| demographic_parity | selection rate | accuracy |
| equal_opportunity | true positive rate | accuracy |
| equalized_odds | false positive rate | true positive rate |

Of the 1002 thresholds (0, 0.001 … 1, and 2, which nobody reaches) it is the one whose rate is nearest to x.
Of equally near ones the one with the highest y; of those the highest threshold. No coin decides between two
thresholds, so the rate is not x itself where scores are few: `attained` says what it is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.score_grid import BINS, THRESHOLDS, BinaryCounts

Floats = npt.NDArray[np.float64]
POINTS: Final = 1001
NOBODY: Final = 2.0
CHOICES: Final[Floats] = np.append(THRESHOLDS, NOBODY)
"""The thresholds to choose from, (1002,)."""


class Constraint(StrEnum):
    """What is to be the same in all groups."""

    DEMOGRAPHIC_PARITY = "demographic_parity"
    EQUAL_OPPORTUNITY = "equal_opportunity"
    EQUALIZED_ODDS = "equalized_odds"

    @property
    def labels(self) -> tuple[str, str]:
        """What x and y are."""
        return _LABELS[self]


_LABELS: Final = {
    Constraint.DEMOGRAPHIC_PARITY: ("Selection rate", "Accuracy"),
    Constraint.EQUAL_OPPORTUNITY: ("True positive rate", "Accuracy"),
    Constraint.EQUALIZED_ODDS: ("False positive rate", "True positive rate"),
}


@dataclass(frozen=True, eq=False)
class Curve:
    """A group's points, arrays of (1001,), in whole numbers: `choices` are places in CHOICES, y is `gains` of
    `gains_whole` rows, and the rate that is really attained `selected` of `selected_whole`.
    """

    choices: Integers
    gains: Integers
    gains_whole: int
    selected: Integers
    selected_whole: int

    @property
    def y(self) -> Floats:
        """See the module's table."""
        found: Floats = self.gains / self.gains_whole
        return found

    @property
    def attained(self) -> Floats:
        """The rate at each point: x, as near as thresholds come."""
        found: Floats = self.selected / self.selected_whole
        return found


@dataclass(frozen=True, eq=False)
class Reached:
    """What each of the 1002 thresholds selects, as counts from it upwards: all int64 (1002,)."""

    rows: Integers
    positives: Integers
    negatives: Integers

    @classmethod
    def of(cls, counts: BinaryCounts) -> "Reached":
        """Of a group's counts."""
        return cls(_upwards(counts.rows), _upwards(counts.positives), _upwards(counts.negatives))

    @property
    def correct(self) -> Integers:
        """Labelled rows that are decided rightly."""
        found: Integers = self.positives + (self.negatives[0] - self.negatives)
        return found


def _upwards(counts: Integers) -> Integers:
    found: Integers = np.append(np.cumsum(counts[::-1], dtype=np.int64)[::-1], 0)
    return found


def lacks(counts: BinaryCounts, constraint: Constraint, least_rows: int) -> str | None:
    """Why a group has no curve, as the end of a sentence; None if it has one."""
    if counts.labelled < max(1, least_rows):
        return f"has {counts.labelled} labelled rows to learn from, fewer than {max(1, least_rows)}"
    if constraint is not Constraint.DEMOGRAPHIC_PARITY and not counts.positives.any():
        return "has no row whose label is the positive class"
    if constraint is Constraint.EQUALIZED_ODDS and not counts.negatives.any():
        return "has no row whose label is the negative class"
    return None


def curve(counts: BinaryCounts, constraint: Constraint) -> Curve:
    """A group's curve. Raises ValueError for one that `lacks` something."""
    why = lacks(counts, constraint, 1)
    if why is not None:
        raise ValueError(f"the group {why}")
    reached = Reached.of(counts)
    of = {
        Constraint.DEMOGRAPHIC_PARITY: reached.rows,
        Constraint.EQUAL_OPPORTUNITY: reached.positives,
        Constraint.EQUALIZED_ODDS: reached.negatives,
    }[constraint]
    odds = constraint is Constraint.EQUALIZED_ODDS
    gain = reached.positives if odds else reached.correct
    choices = _nearest(of, gain)
    whole = int(reached.positives[0]) if odds else counts.labelled
    return Curve(choices, gain[choices], whole, of[choices], int(of[0]))


def _nearest(of: Integers, gain: Integers) -> Integers:
    """For each point the place of the threshold whose share of `of[0]` is nearest. In whole numbers, so that
    ties are ties.
    """
    best = _best_of_each(of, gain)
    rates, places = of[best], best
    wanted = np.arange(POINTS, dtype=np.int64) * int(of[0])
    # `rates` ascend strictly: the nearest is one of the two neighbours of the point.
    # There are two at least: nobody, and everybody.
    above = np.clip(np.searchsorted(rates * (POINTS - 1), wanted), 1, len(rates) - 1)
    below = above - 1
    far_above = np.abs(rates[above] * (POINTS - 1) - wanted)
    far_below = np.abs(rates[below] * (POINTS - 1) - wanted)
    high = (far_above < far_below) | ((far_above == far_below) & (gain[places[above]] > gain[places[below]]))
    return np.where(high, places[above], places[below])


def _best_of_each(of: Integers, gain: Integers) -> Integers:
    """For each rate that any threshold attains, ascending: the place with the highest gain, of those the
    highest threshold.
    """
    order = np.lexsort((np.arange(BINS + 1), gain, of))
    last = np.append(of[order][1:] != of[order][:-1], True)
    found: Integers = order[last]
    return found
