"""SHAP values from all coalitions of a few players: exact, no draws. Must not know the model."""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.missing import Bits

MOST_PLAYERS: Final = 12


@lru_cache(maxsize=MOST_PLAYERS + 1)
def all_coalitions(players: int) -> Bits:
    """(2^players, players): the empty one first, the full one last."""
    places = np.arange(2**players)[:, None] >> np.arange(players)[None, :]
    return np.asarray((places & 1).astype(np.bool_))


@lru_cache(maxsize=MOST_PLAYERS + 1)
def shapley_matrix(players: int) -> Floats:
    """(players, 2^players): times the values of all coalitions these are the Shapley values.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! (v(S + i) - v(S))  (Shapley 1953)
    """
    masks = all_coalitions(players)
    size = masks.sum(axis=1)
    with_it = [math.factorial(s - 1) * math.factorial(players - s) for s in range(1, players + 1)]
    gained = np.array([0.0, *with_it]) / math.factorial(players)
    without = np.array([*with_it, 0.0]) / math.factorial(players)
    return np.asarray(np.where(masks, gained[size][:, None], -without[size][:, None]).T)
