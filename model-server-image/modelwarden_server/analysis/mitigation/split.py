"""Which rows thresholds are found on, and which they are judged on: half and half, by the row's number. Pure.

By a hash of the number, not by its parity: tables come sorted and paired, and every second row of a table of
couples is a woman.
"""

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.mixing import GOLDEN, mix

FITTED, JUDGED = 0, 1


def halves(first: int, rows: int, seed: int) -> npt.NDArray[np.int64]:
    """FITTED or JUDGED for each of `rows` rows, of which the first has the number `first`. Shape (rows,).

    A hash of number and seed: the same in every process.
    """
    numbers = np.arange(first, first + rows, dtype=np.uint64)
    with np.errstate(over="ignore"):
        numbers = numbers + np.uint64(seed) * GOLDEN + GOLDEN
    return (mix(numbers) >> np.uint64(63)).astype(np.int64)
