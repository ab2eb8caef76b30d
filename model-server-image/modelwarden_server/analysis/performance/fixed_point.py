"""Real numbers as integers, so that any split and any order of rows gives the same sums. Pure.

A number x stands as round(x * 2^bits). Squares of 31-bit numbers need 62 bits, and their sums more: they are
kept as two limbs of 31 bits, each summed by itself.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers

Floats = npt.NDArray[np.float64]
LOSS_BITS: Final = 24
"""Of log-loss: steps of 6e-8, at most 36.05 a row."""
BRIER_BITS: Final = 30
LIMB: Final = 31
MOST: Final = (1 << LIMB) - 1
_EPSILON: Final = float(np.finfo(np.float64).eps)
_ROOM: Final = 64.0
"""An error as large as so many times the range of the reference's labels still fits."""


def log_loss_units(probability: Floats) -> Integers:
    """-log p of what was true, clipped as scikit-learn does, in units of 2^-LOSS_BITS."""
    loss = -np.log(np.clip(probability, _EPSILON, 1 - _EPSILON))
    return np.rint(np.ldexp(loss, LOSS_BITS)).astype(np.int64)


def brier_units(squares: Floats) -> Integers:
    """Squared distances of probabilities, at most 2 a row, in units of 2^-BRIER_BITS."""
    return np.rint(np.ldexp(squares, BRIER_BITS)).astype(np.int64)


@dataclass(frozen=True)
class Scale:
    """Of a regression: values in units of 2^-bits, labels around `centre` units. What does not fit into 31
    bits saturates and is counted.
    """

    bits: int
    centre: int = 0

    @classmethod
    def of(cls, lowest: float, highest: float, mean: float) -> "Scale":
        """The scale of labels in that range (the reference's): steps of at most 2^-24 of it."""
        span = max(highest - lowest, abs(mean) * 1e-6, 1e-300)
        bits = int(np.clip(np.floor(LIMB - np.log2(span * _ROOM)), -900, 900))
        return cls(bits, round(float(np.ldexp(mean, bits))) if abs(bits) < 900 else 0)

    def units(self, values: Floats) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Values in units, and which of them saturate."""
        scaled = np.rint(np.ldexp(values, self.bits))
        over = np.abs(scaled) > MOST
        return np.clip(scaled, -MOST, MOST).astype(np.int64), over

    def centred(self, labels: Floats) -> tuple[Integers, npt.NDArray[np.bool_]]:
        """Labels in units from the centre."""
        scaled = np.rint(np.ldexp(labels, self.bits)) - self.centre
        over = np.abs(scaled) > MOST
        return np.clip(scaled, -MOST, MOST).astype(np.int64), over

    def value(self, units: float) -> float:
        """A number from units."""
        return float(np.ldexp(units, -self.bits))

    def square(self, units: float) -> float:
        """A squared number from squared units; infinite where it is too large."""
        with np.errstate(over="ignore"):
            return float(np.ldexp(units, -2 * self.bits))


def limbs(squares: Integers) -> tuple[Integers, Integers]:
    """The high and the low limb of numbers below 2^62."""
    return squares >> LIMB, squares & MOST


def joined(high: int, low: int) -> int:
    """The number of two sums of limbs."""
    return (int(high) << LIMB) + int(low)
