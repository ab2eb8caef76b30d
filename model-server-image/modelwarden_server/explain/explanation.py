"""What every engine takes and gives. No numerics of its own.

An engine is made once for a model and a background, and then asked for rows. It sees the model only through
`Predict`; it knows no web, no files, no child process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[Any]
"""(n, d): float64 where all inputs are numbers, else object with each value as the user's frame had it."""
Predict = Callable[[Rows], Floats]
"""(n, d) -> (n, k), finite. Raises whatever the user's code is at fault for; engines let it pass."""
Units = Literal["probability", "margin", "value"]
Path = Literal["linear", "trees", "enumeration", "kernel", "lime", "lime-text", "lime-image"]


@dataclass(frozen=True)
class Explanations:
    """Of n rows, k outputs, d inputs. values sums over d to prediction - expected, within what the path
    states (exact paths 1e-6; kernel 1e-9 by construction; lime does not sum)."""

    values: Floats
    """(n, k, d); NaN for the inputs that are missing in a row."""
    expected: Floats
    """(k,): of the background, in `units`."""
    predictions: Floats
    """(n, k), in `units`."""
    units: Units
    path: Path
    why: str
    """Why this path, in a sentence: shown with each result."""
    model_rows: npt.NDArray[np.int64]
    """(n,): rows given to predict."""
    errors: Floats | None = None
    """(n, k, d): standard errors; None where values are exact."""
    parts: tuple[str | None, ...] | None = None
    """(n,): JSON of tokens or segments; None for tables."""
    failures: tuple[str | None, ...] | None = None
    """(n,): why a row has no values (they are NaN); None: all rows have. An exact engine gives it for rows of
    which `predict` says something else than the arrays that were verified: ask the black box for these."""
    stability: Floats | None = None
    """(n,): share of its most important parts that a row's explanation has again with other seeds, 0 to 1;
    None where nothing is drawn."""
    fit: Floats | None = None
    """(n, k): weighted R2 of the local model (LIME); None where the values are no fit."""


class Explainer(Protocol):
    """An engine that is ready."""

    def explain(self, rows: Rows, ids: Sequence[str], samples: int | None = None) -> Explanations:
        """Explain rows (n, d). Randomness is seeded by each row's id: the same row, id and samples give the
        same values whatever else is in the request. `samples`: another number of perturbed rows."""
        ...
