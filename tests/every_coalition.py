"""Shapley values as they are defined: over every coalition, the model asked for each. Few inputs only."""

from collections.abc import Callable
from itertools import combinations
from math import factorial

import numpy as np

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.explanation import Floats, Rows

Game = Callable[[Rows], Floats]
"""(n, d) -> (n, k)"""


def shapley_by_background_row(game: Game, row: Rows, background: Rows) -> Floats:
    """(m, k, d): of a row (d,) against each background row, what each input adds, the mean of all orders."""
    inputs = len(row)
    sets = [frozenset(c) for size in range(inputs + 1) for c in combinations(range(inputs), size)]
    mixed = np.repeat(background[None], len(sets), axis=0)
    for place, members in enumerate(sets):
        mixed[place][:, list(members)] = row[list(members)]
    told = game(mixed.reshape(-1, inputs)).reshape(len(sets), len(background), -1)
    worth = dict(zip(sets, told, strict=True))
    found = np.zeros((*told.shape[1:], inputs))
    for members in sets:
        weight = (
            factorial(len(members)) * factorial(inputs - len(members) - 1) if len(members) < inputs else 0
        )
        for one in set(range(inputs)) - members:
            found[..., one] += weight / factorial(inputs) * (worth[members | {one}] - worth[members])
    return found


def shapley(game: Game, row: Rows, background: Background) -> Floats:
    """(k, d): the same against the whole background."""
    return np.tensordot(background.weights, shapley_by_background_row(game, row, background.rows), axes=1)
