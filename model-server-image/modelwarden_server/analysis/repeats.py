"""Rows that come again: a sum-only sketch of how often the same content is among the rows of a window.

The cells of all attributes of a row are mixed into one of `BUCKETS` numbers, and rows are counted by number.
Counts of slices add up, and the pairs of rows that share a number, Σ c(c-1)/2, tell repeats: rows that have
nothing to do with each other meet with probability 1/BUCKETS, equal ones always (the estimator of the second
moment by Alon, Matias and Szegedy, 1996). How often rows are alike by nature, in a model of few categories,
the reference tells by the same count. Repeats of about one row in thirty can be told from chance at any
number of rows. Must not change: the numbers are stored in partials.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.mixing import GOLDEN, mix

BUCKETS: Final = 16_384
_SHIFT: Final = np.uint64(64 - 14)
_SURE: Final = 5.0
_REFERENCE_SURE: Final = 2.5
LEAST_SHARE: Final = 0.01
_MORE_THAN_NATURAL: Final = 0.5


@dataclass(frozen=True, slots=True)
class RepeatProfile:
    """Rows of the reference, and how many ordered pairs and triples of them share a number."""

    rows: int = 0
    pairs: int = 0
    triples: int = 0

    @classmethod
    def of(cls, counts: npt.NDArray[np.int64]) -> "RepeatProfile":
        """From the reference's counts by number."""
        held = [int(c) for c in counts[counts > 1]]
        return cls(
            int(counts.sum()),
            sum(c * (c - 1) for c in held),
            sum(c * (c - 1) * (c - 2) for c in held),
        )


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows that are copies of another row in the window, as a share (estimated), and whether that is more
    than the reference explains.
    """

    share: float
    deviation: float
    """Pairs beyond expectation, in standard deviations."""
    raised: bool


def numbers_of(codes: Sequence[npt.NDArray[np.signedinteger]]) -> npt.NDArray[np.int64]:
    """The number of each row, from its cells, attribute by attribute in a fixed order."""
    mixed = np.zeros(len(codes[0]) if codes else 0, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place, code in enumerate(codes):
            mixed = mix(mixed ^ (code.astype(np.uint64) + np.uint64((place + 1) * int(GOLDEN) % 2**64)))
    return (mixed >> _SHIFT).astype(np.int64)


def repeats(counts: npt.NDArray[np.int64], reference: RepeatProfile) -> Repeats | None:
    """What the window's counts by number say; None for less than two rows on either side."""
    n, m = int(counts.sum()), reference.rows
    if n < 2 or m < 2:
        return None
    found = sum(int(c) * (int(c) - 1) for c in counts[counts > 1]) / 2
    meeting = max(1.0 / BUCKETS, reference.pairs / (m * (m - 1)))
    thrice = max(meeting**2, reference.triples / (m * (m - 1) * (m - 2)) if m > 2 else 0.0)
    expected = n * (n - 1) / 2 * meeting
    deviation = max(1.0, _variance(n, meeting, thrice)) ** 0.5
    unsure = n * (n - 1) / (m * (m - 1)) * max(0.0, _variance(m, meeting, thrice)) ** 0.5
    natural = n * (n - 1) / 2 * (meeting - 1.0 / BUCKETS)
    beyond = found - expected
    share = max(0.0, beyond) / n
    sure = beyond > _SURE * deviation + _REFERENCE_SURE * unsure
    raised = sure and share >= LEAST_SHARE and beyond > _MORE_THAN_NATURAL * natural
    return Repeats(min(share, _copies(counts, n)), beyond / (deviation**2 + unsure**2) ** 0.5, raised)


def _copies(counts: npt.NDArray[np.int64], n: int) -> float:
    """At most this share of the rows is a copy of another one: by how many different rows the numbers that
    occur tell (linear counting, Whang et al., 1990). Where content comes many times, pairs tell too much.
    """
    free = int((counts == 0).sum())
    if free == 0 or len(counts) == 0:
        return 1.0
    different = -len(counts) * math.log(free / len(counts))
    return min(1.0, max(0.0, 1.0 - different / n))


def _variance(n: int, meeting: float, thrice: float) -> float:
    """Of the number of pairs that share a number among n independent rows."""
    pairs = n * (n - 1) / 2
    return pairs * (meeting - meeting**2) + 2 * pairs * (n - 2) * (thrice - meeting**2)
