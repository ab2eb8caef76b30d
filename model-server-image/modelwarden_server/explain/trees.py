"""SHAP values of tree ensembles, exact for a background: interventional TreeSHAP, vectorised over leaves.

For a row x and a background row b, a leaf with value v plays a game of its own: it is reached if each player
of its path is passed by the row from which he is taken. If some player fails in both rows, never. Else let c
players fail in x and a in b; all of the former must come from b, all of the latter from x, which gives

    +v (a-1)! c! / (a+c)!   to each player who fails in b,
    -v a! (c-1)! / (a+c)!   to each player who fails in x,

and nothing to others (Lundberg et al. 2020, Nature MI 2, algorithm 3; the sum over leaves in place of its
recursion). Which players fail are bits (tree_paths.py), so "never" is a bitwise and, done for all leaves and
background rows at once.

Where a link follows, values of the margin are carried to what is predicted for each background row by
(link(m_x) - link(m_b)) / (m_x - m_b), as shap's TreeExplainer does with model_output="probability". Of a
softmax values are margins: that way would need one number where there is a matrix.

Must not know what a row was encoded from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from modelwarden_server.explain.evaluate import linked, raw, thresholds
from modelwarden_server.explain.explanation import Floats, Units
from modelwarden_server.explain.exported import LEAF, UNKNOWN, Integers, TreeEnsemble
from modelwarden_server.explain.leaf_games import (
    MOST_OF_A_TABLE,
    Arena,
    LeafGames,
    PairGames,
    TableGames,
    table_size,
)
from modelwarden_server.explain.tree_paths import TreePaths, grouped

_PAIRS_AT_ONCE: Final = 1 << 20
"""Leaves by background rows in one group of trees: about 20 MB."""
_KEPT_PAIRS: Final = 4 << 20
"""In groups that are kept between requests; what is beyond is made anew for each."""
_CODES_AT_ONCE: Final = 1 << 20
MOST_PAIRS: Final = 16 << 20
"""Leaves of one tree by background rows: more are not taken."""
MOST_PAIRS_IN_ALL: Final = 256 << 20
"""Of an ensemble: about ten seconds a request."""
_ROWS_FOR_LISTS: Final = 40
_NEAR: Final = 1e-5
"""Margins so close have the link's tangent instead of its chord: their difference is mostly rounding."""
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, eq=False)
class TreeBackground:
    """Encoded background rows (m, e) and what each stands for (m,)."""

    encoded: Floats
    weights: Floats


@dataclass(frozen=True, eq=False)
class _Group:
    """Trees that are worked on at a time, and the outputs that they are of."""

    outputs: list[int]
    roots: Integers


class TreeEngine:
    """Trees over `inputs` players against a background. Outputs as the link has them: of a logit (1-p, p), of
    a softmax margins. Raises ValueError if a tree is too large.
    """

    def __init__(self, model: TreeEnsemble, inputs: int, background: TreeBackground) -> None:
        self.model, self._inputs, self._background = model, inputs, background
        # Columns that no input is known to move are one player more, who never differs.
        self._players = np.where(model.players == UNKNOWN, inputs, model.players).astype(np.int16)
        self._bounds = thresholds(model)
        self._margins = raw(model, background.encoded)
        self._carried = model.link in ("logit", "log")
        self._one_sum = not self._carried and _is_of_one_sum(model)
        self._groups = list(self._divided())
        self._kept: list[LeafGames] = []
        self._keep()

    @property
    def units(self) -> Units:
        """In what values are."""
        if self.model.link == "logit" or (self.model.link == "identity" and self.model.classifies):
            return "probability"
        return "margin" if self.model.link == "softmax" else "value"

    @property
    def expected(self) -> Floats:
        """(outputs,)"""
        return np.asarray(self._background.weights @ self._told(self._margins))

    def predictions(self, encoded: Floats) -> Floats:
        """(n, e) -> (n, outputs), in units."""
        return self._told(raw(self.model, encoded))

    def values(self, encoded: Floats) -> Floats:
        """(n, e) -> (n, outputs, inputs)."""
        found = np.zeros((len(encoded), len(self.model.base), self._inputs + 1))
        margins = raw(self.model, encoded) if self._carried else None
        for number, group in enumerate(self._groups):
            kept = number < len(self._kept)
            games = self._kept[number] if kept else self._made(group, listed=len(encoded) > _ROWS_FOR_LISTS)
            at_once = max(1, _CODES_AT_ONCE // len(games.arena.paths.leaves))
            for start in range(0, len(encoded), at_once):
                codes = np.ascontiguousarray(games.arena.paths.codes(encoded[start : start + at_once]).T)
                for row, code in enumerate(codes, start):
                    shares = None if margins is None else self._shares(margins[row])[:, group.outputs]
                    found[row, group.outputs] += games.values(code, shares)
        if self._one_sum:
            found[:, -1] = -found[:, :-1].sum(axis=1)
        found = found[:, :, : self._inputs]
        return np.concatenate([-found, found], axis=1) if self.model.link == "logit" else found

    def _told(self, margins: Floats) -> Floats:
        """What is explained, of margins (n, k)."""
        return margins if self.model.link == "softmax" else linked(self.model.link, margins)

    def _shares(self, margin: Floats) -> Floats:
        """(k,) of a row -> (m, k): weight of each background row, times what a unit of margin is worth
        between the two: the slope of the link's chord."""
        link = self.model.link
        apart = margin - self._margins
        near = np.abs(apart) < _NEAR
        middle = linked(link, (margin + self._margins) / 2)[:, -len(margin) :]
        tangent = middle * (1 - middle) if link == "logit" else middle
        one, other = linked(link, margin[None]), linked(link, self._margins)
        rise = (one - other)[:, -len(margin) :]
        slope = np.where(near, tangent, rise / np.where(near, 1.0, apart))
        return np.asarray(self._background.weights[:, None] * slope)

    def _divided(self) -> Iterator[_Group]:
        """The trees in groups of a bounded size, each for the outputs they are of."""
        model, rows = self.model, len(self._background.weights)
        largest = _most_leaves(model)
        if largest * rows > MOST_PAIRS:
            raise ValueError(f"a tree has {largest} leaves: more than {MOST_PAIRS // rows} are not taken")
        leaves = int((model.feature == LEAF).sum())
        if leaves * rows > MOST_PAIRS_IN_ALL:
            raise ValueError(f"it has {leaves} leaves: more than {MOST_PAIRS_IN_ALL // rows} take too long")
        for output in np.unique(model.outputs).tolist():
            # Where all outputs of a leaf have one sum, the last follows from the others.
            whole = list(range(len(model.base) - self._one_sum))
            trees = np.flatnonzero(model.outputs == output)
            for roots in grouped(model, trees, max(1, _PAIRS_AT_ONCE // rows)):
                yield _Group(whole if output < 0 else [output], roots)

    def _keep(self) -> None:
        """Make what is kept between requests: what is beyond the bounds is made anew for each."""
        pairs = 0
        for group in self._groups:
            games = self._made(group, listed=True)
            pairs += games.arena.pairs
            if pairs > _KEPT_PAIRS and self._kept:
                return
            self._kept.append(games)

    def _made(self, group: _Group, *, listed: bool) -> LeafGames:
        model = self.model
        paths = TreePaths.of(model, self._bounds, group.roots, self._players)
        columns = group.outputs if model.outputs[0] < 0 else [0]
        value = model.scale * model.value[paths.leaves][:, columns]
        weights = None if self._carried else self._background.weights
        arena = Arena(paths, paths.codes(self._background.encoded), value, self._inputs + 1, weights)
        bound = MOST_OF_A_TABLE // len(self._groups)
        if table_size(paths.players, len(self._background.weights)) <= bound:
            return TableGames(arena)
        return PairGames(arena, listed=listed)


def _is_of_one_sum(model: TreeEnsemble) -> bool:
    """Whether the outputs of each leaf have the same sum, as probabilities have."""
    if model.outputs[0] >= 0 or len(model.base) < 2:
        return False
    sums = model.value[model.feature == LEAF].sum(axis=1)
    return float(np.ptp(sums)) <= _ROUNDING * max(1.0, float(np.abs(sums).max()))


def _most_leaves(model: TreeEnsemble) -> int:
    before = np.concatenate([[0], np.cumsum(model.feature == LEAF)])
    return int(np.diff(before[np.append(model.roots, len(model.feature))]).max())
