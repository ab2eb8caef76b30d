"""The rows that stand for what inputs usually are: a small, stated summary of the reference's sample. Pure.

Must not know the model but through the predictions it is given.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats, Rows

DEFAULT: Final = 50
MOST: Final = 100


@dataclass(frozen=True, eq=False)
class Background:
    """Rows as `predict` takes them, what each stands for, and how they were chosen, in a sentence's part."""

    rows: Rows
    """(m, d)"""
    weights: Floats
    """(m,): positive, they sum to 1."""
    how: str


def summarised(sample: Rows, predictions: Floats | None, seed: str, most: int = DEFAULT) -> Background:
    """At most `most` (1 to MOST) rows of the reference's `sample` (n, d), n >= 1.

    Ordered by prediction, or as they come without `predictions` (n,) or (n, k; the last column counts), the
    sample is cut into strata of equal size, and one row is drawn of each: what the model says of the summary
    is closer to what it says of the sample than with rows drawn from all. `seed`: the reference's hash; the
    same sample, predictions and seed give the same rows.
    """
    if not 1 <= most <= MOST:
        raise ValueError(f"a background has 1 to {MOST} rows")
    n = len(sample)
    if n < 1:
        raise ValueError("a background needs at least one reference row")
    if n <= most:
        return Background(sample, np.full(n, 1 / n), f"all {n} rows of the reference's sample")
    order: npt.NDArray[np.int64] = np.arange(n)
    by = "in their order"
    if predictions is not None:
        scores = predictions if predictions.ndim == 1 else predictions[:, -1]
        order, by = np.argsort(scores, kind="stable"), "in the order of their predictions"
    edges = np.linspace(0, n, most + 1).round().astype(np.int64)
    rng = np.random.default_rng(np.frombuffer(seed.encode(), dtype=np.uint8).astype(np.uint32))
    places = edges[:-1] + np.floor(rng.random(most) * np.diff(edges)).astype(np.int64)
    how = f"{most} of {n} reference rows, one of each {n / most:g} {by}"
    return Background(sample[order[places]], np.diff(edges) / n, how)
