"""The documented contract of `predict(x)`: what x is made of, and what its answer means, output by output.

Pure. Must not call anything: see predictor.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ValueKind = Literal["STRING", "INTEGER", "FLOAT", "BOOLEAN", "OTHER"]


class ContractError(ValueError):
    """predict gave something else than it should: a sentence with what was expected."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What the model takes and gives, from its attributes."""

    inputs: tuple[str, ...]
    kinds: tuple[ValueKind, ...]
    """Of each input: how its values were in the user's frame."""
    outputs: tuple[str, ...]
    """Predicted attributes by position."""
    probabilities: bool
    """Outputs are probabilities: within 0 and 1, and of several that are classes a sum of 1."""
    positive: int | None = None
    """Of a binary model's two outputs the place of the positive one (of one output: 0)."""
    sums_to_one: bool = False


def rows_of(columns: Sequence[pa.Array], contract: Contract) -> npt.NDArray[Any]:
    """(n, d) rows for the engines and for predict: float64 where all inputs are numbers (missing: NaN), else
    objects as the user's frame had them (missing: None for strings, NaN for numbers)."""
    raise NotImplementedError


def predictions_of(answer: npt.NDArray[Any], rows: int, contract: Contract) -> npt.NDArray[np.float64]:
    """(n, k) finite outputs of what predict gave. Raises ContractError."""
    raise NotImplementedError


def difference(predicted: npt.NDArray[np.float64], stored: npt.NDArray[np.float64]) -> float | None:
    """The greatest absolute difference where a stored prediction is known (not NaN); None: nowhere."""
    raise NotImplementedError
