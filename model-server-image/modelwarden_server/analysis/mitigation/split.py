"""Which rows thresholds are found on, and which they are judged on: half and half, by the row's number. Pure.

By a hash of the number, not by its parity: tables come sorted and paired, and every second row of a table of
couples is a woman.
"""

import numpy as np
import numpy.typing as npt

FITTED, JUDGED = 0, 1


def halves(first: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """FITTED or JUDGED for each of `rows` rows, of which the first has the number `first`. Shape (rows,).

    The finalizer of SplitMix64 (Steele, Lea and Flood 2014) over number and seed: the same in every process.
    """
    mixed = np.arange(first, first + rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = mixed + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(63)).astype(np.int64)
