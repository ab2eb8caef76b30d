"""Attribution drift: do the inputs still matter in the order in which they mattered for the reference? Pure.

nDCG, as SageMaker Clarify measures feature attribution drift: F the inputs by their importance in the window,
a their importance for the reference, DCG = sum over ranks i from 1 of a(F_i) / log2(i + 1), divided by the
DCG of the reference's own order. 1: the same order; below 0.9 it is worth a look.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

DRIFTED: Final = 0.9


def agreement(window: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> float | None:
    """nDCG of two importances of the same inputs, (d,) each, not negative. None: the reference has none.

    Of inputs that are equally important in the window, those come first that matter less for the reference:
    the answer does not depend on the order of attributes, and never flatters.
    """
    if not np.any(reference > 0):
        return None
    discount = 1.0 / np.log2(np.arange(len(reference)) + 2.0)
    order = np.lexsort((reference, -window))
    best = float(np.sum(np.sort(reference)[::-1] * discount))
    return float(np.sum(reference[order] * discount)) / best
