"""Which of the measured rules are told as hotspots: worse for certain, worse by enough, and each of them for
its own sake. Must not look at rows: what it needs of them was counted before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.measure import Measured, Overlaps

LEVEL: Final = 0.01
"""Highest adjusted p of a hotspot: of clean data sets at most one in a hundred has any."""
LEAST_DIFFERENCE: Final = 0.05
"""What a share must be below that of the rest to be told without being under a threshold."""
LEAST_RATIO: Final = 1.1
"""What a mean error must be, by that of the rest."""
MOST_SHARED: Final = 0.5
LEAST_ROWS: Final = 30


@dataclass(frozen=True, eq=False)
class Judged:
    """All rules by one metric: what was measured, which explains which, and the rows that two share."""

    measured: Sequence[Measured]
    overlaps: Overlaps
    shared: npt.NDArray[np.float64]


def certain(one: Measured) -> bool:
    """Whether the rule is worse than the rest by more than chance, on enough rows."""
    return one.p_adjusted <= LEVEL and one.n >= LEAST_ROWS and one.value is not None


def chosen(judged: Judged, bad_enough: Callable[[Measured], bool]) -> list[int]:
    """Places of the rules that are told, those with the most excess loss first.

    The one with the highest z is taken first. Then a rule is left out if it shares half of the smaller one's
    rows with one that was taken, if it is only bad because of the rows it shares with that one, or if it is a
    part of a rule that is as bad as a whole.
    """
    fit = [place for place, one in enumerate(judged.measured) if certain(one) and bad_enough(one)]
    fit = [a for a in fit if not any(judged.overlaps.explained[a, b] for b in fit if b != a)]
    taken: list[int] = []
    for place in sorted(fit, key=lambda at: (-judged.measured[at].z, at)):
        told = (
            judged.shared[place, before] > MOST_SHARED or judged.overlaps.echo[place, before]
            for before in taken
        )
        if not any(told):
            taken.append(place)
    return sorted(taken, key=lambda at: (-excess(judged.measured[at]), at))


def excess(one: Measured) -> float:
    """The loss beyond what the rule's rows would have at the mean of all rows' rest: what a repair is
    worth.
    """
    return (one.difference or 0.0) * one.n
