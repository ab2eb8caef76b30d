"""Numbers that look random and are the same in every process: the finaliser of SplitMix64 (Steele, Lea and
Flood, 2014). What is stored or trained depends on it: it must not change.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""SplitMix64's step: added before mixing, it keeps small numbers apart from their own mix."""


def mix(words: Words) -> Words:
    """A hash of each word, one to one."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
