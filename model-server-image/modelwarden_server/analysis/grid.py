"""The fractions at which the quantiles of a reference column are kept, and what can be told exactly from
them.

256 fine bins alone cannot give deciles: 1/10 is no multiple of 1/256. So the grid is the union of the
256-quantiles, of the k-quantiles for every k up to 20, and of the percentiles: each documented number of
bins comes out of fine counts to the last row, not interpolated.
"""

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

FINE_BINS: Final = 256
MAX_BINS: Final = 256
_DENOMINATORS: Final = (*range(2, 21), 100, FINE_BINS)

_EXACT: Final = tuple(
    sorted({Fraction(k, d) for d in _DENOMINATORS for k in range(d + 1)}),
)
_PLACE: Final = {fraction: place for place, fraction in enumerate(_EXACT)}

FRACTIONS: Final[npt.NDArray[np.float64]] = np.array([float(fraction) for fraction in _EXACT])
"""Ascending, from 0 to 1, both included."""

FINE_PLACES: Final = np.array([_PLACE[Fraction(k, FINE_BINS)] for k in range(FINE_BINS + 1)])
"""Where the 256-quantiles stand in `FRACTIONS`."""


def is_exact(num_bins: int) -> bool:
    """Whether `num_bins` quantile bins can be formed from fine counts without a division of any fine bin."""
    return 2 <= num_bins <= MAX_BINS and all(Fraction(k, num_bins) in _PLACE for k in range(1, num_bins))


def inner_places(num_bins: int) -> npt.NDArray[np.intp]:
    """Places in `FRACTIONS` of 1/num_bins … (num_bins-1)/num_bins. Raises ValueError where `is_exact` is
    false.
    """
    if not is_exact(num_bins):
        raise ValueError(f"{num_bins} bins are not on the grid of stored quantiles")
    return np.array([_PLACE[Fraction(k, num_bins)] for k in range(1, num_bins)], dtype=np.intp)
