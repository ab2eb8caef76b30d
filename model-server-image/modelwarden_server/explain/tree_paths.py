"""The paths of trees as bits: which players a row fails on the way to each leaf. No game theory.

A player is passed on a path if the row, at every node of the path that asks one of the player's columns, goes
the path's way. Players of a path have places, in the order in which they are first asked; bit i of a row's
code at a leaf says that the row fails the player in place i. The leaf that the row comes to has code 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.evaluate import comparable, goes_left
from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.exported import LEAF, Integers, TreeEnsemble

Codes = npt.NDArray[np.unsignedinteger]
Players = npt.NDArray[np.int16]
Bounds = npt.NDArray[np.floating]
NOBODY = -1


@dataclass(frozen=True, eq=False)
class _Level:
    """Inner nodes of one depth. `inner`: which nodes of the level they are."""

    inner: npt.NDArray[np.bool_]
    nodes: Integers
    bit: Codes
    """(nodes, 1): of the place of the player that each node asks."""


@dataclass(frozen=True, eq=False)
class TreePaths:
    """All paths of some trees of an ensemble. Leaves are in the order of their depth."""

    model: TreeEnsemble
    bounds: Bounds
    leaves: Integers
    """(L,): node numbers."""
    players: npt.NDArray[np.int16]
    """(L, u): the player in each place, or NOBODY."""
    levels: tuple[_Level, ...]
    trees: int

    @classmethod
    def of(cls, model: TreeEnsemble, bounds: Bounds, roots: Integers, players: Players) -> "TreePaths":
        """The paths of the trees with these roots. `bounds`: thresholds(model). `players` (e,): of each
        encoded column, none negative."""
        level, places = roots, np.full((len(roots), 0), NOBODY, dtype=np.int16)
        leaves, seen, steps = [], [], []
        while len(level):
            inner = model.feature[level] != LEAF
            leaves.append(level[~inner])
            seen.append(places[~inner])
            nodes = level[inner]
            places, bit = _placed(places[inner], players[model.feature[nodes]])
            steps.append((inner, nodes, bit))
            level = np.concatenate([model.left[nodes], model.right[nodes]])
            places = np.concatenate([places, places])
        width = max(1, *(found.shape[1] for found in seen))
        kind = np.min_scalar_type((1 << width) - 1)
        one = kind.type(1)
        levels = tuple(_Level(i, n, (one << b.astype(kind))[:, None]) for i, n, b in steps if len(n))
        wide = [np.pad(s, ((0, 0), (0, width - s.shape[1])), constant_values=NOBODY) for s in seen]
        return cls(model, bounds, np.concatenate(leaves), np.concatenate(wide), levels, len(roots))

    def codes(self, encoded: Floats) -> Codes:
        """(n, e) -> (L, n): the code of each row at each leaf."""
        columns = np.ascontiguousarray(comparable(self.model, encoded).T)
        kind = self.levels[0].bit.dtype if self.levels else np.dtype(np.uint8)
        code: Codes = np.zeros((self.trees, len(encoded)), dtype=kind)
        found = []
        for level in self.levels:
            found.append(code[~level.inner])
            code = code[level.inner]
            at = level.nodes
            left = goes_left(
                self.model, columns[self.model.feature[at]], self.bounds[at][:, None],
                self.model.missing_left[at][:, None],
            )  # fmt: skip
            failed = left * level.bit
            code = np.concatenate([code | (failed ^ level.bit), code | failed])
        return np.concatenate([*found, code])


def grouped(model: TreeEnsemble, trees: npt.NDArray[np.int64], leaves_at_once: int) -> Iterator[Integers]:
    """The roots of these trees, in groups of at most so many leaves, or of one tree."""
    ends = np.append(model.roots[1:], len(model.feature))
    before = np.concatenate([[0], np.cumsum(model.feature == LEAF)])
    counts = before[ends[trees]] - before[model.roots[trees]]
    group: list[int] = []
    held = 0
    for tree, count in zip(trees.tolist(), counts.tolist(), strict=True):
        if group and held + count > leaves_at_once:
            yield model.roots[group]
            group, held = [], 0
        group.append(tree)
        held += count
    if group:
        yield model.roots[group]


def _placed(
    places: npt.NDArray[np.int16], asked: npt.NDArray[np.int16]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Places of (nodes, u) with the asked player in each row, and the place that he has there."""
    if not len(asked):
        return places, np.zeros(0, dtype=np.int64)
    there = places == asked[:, None]
    known = there.any(axis=1)
    free = (places != NOBODY).sum(axis=1)
    place = np.where(known, there.argmax(axis=1) if places.shape[1] else 0, free)
    if place.max() >= places.shape[1]:
        places = np.pad(places, ((0, 0), (0, 1)), constant_values=NOBODY)
    else:
        places = places.copy()
    places[np.arange(len(asked)), place] = asked
    return places, place
