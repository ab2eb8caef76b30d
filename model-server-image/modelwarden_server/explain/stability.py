"""How much of an explanation comes again when other numbers are drawn. No draws of its own."""

from itertools import combinations
from typing import Final

import numpy as np

from modelwarden_server.explain.explanation import Floats

TOP: Final = 5
"""So many of the most important parts are compared."""


def agreement(importance: Floats, top: int = TOP) -> float:
    """0 to 1: the share of the `top` most important parts that two of the explanations have in common, on
    the mean of all pairs of them. importance (seeds, parts): sizes, missing parts left out."""
    top = min(top, importance.shape[1])
    if top == 0 or len(importance) < 2:
        return 1.0
    best = np.argsort(-importance, axis=1, kind="stable")[:, :top]
    common = [len(set(one) & set(other)) for one, other in combinations(best.tolist(), 2)]
    return float(np.mean(common)) / top
