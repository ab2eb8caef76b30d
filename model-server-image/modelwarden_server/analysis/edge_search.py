"""Which of a few hundred ascending edges lie at or below each of many numbers: `numpy.searchsorted`, several
times faster.

A grid of equal steps over most of the edges says how many edges lie below each step; from there one or two
comparisons lead to the place. Numbers in steps with more edges than that are searched for one by one. The
result is the same to the last number: a step is computed for an edge by the very operations that compute it
for a number, and these never order two numbers the other way round.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]

_STEPS: Final = 8192
_FEW_EDGES: Final = 32
_MANY_EDGES: Final = 1 << 15
_AT_ONCE: Final = 1 << 15
_LEFT_OUT: Final = (0.0, 0.01, 0.05)
"""Shares of the edges at each end that a grid may leave out: a far outlier would make its steps wide."""
# In units of one comparison of all numbers: what a search of all of them costs, and how much of that a grid
# must save.
_SEARCH: Final = 25.0
_WORTH_IT: Final = 0.7


@dataclass(frozen=True, eq=False)
class _Grid:
    low: float
    scale: float
    below: npt.NDArray[np.int16]
    comparisons: int
    crowded: npt.NDArray[np.bool_] | None
    """Steps with more edges than there are comparisons; None if there is no such step."""


class EdgeSearch:
    """The search in one set of edges: finite, strictly ascending. Memory: 25 KB."""

    def __init__(self, edges: Floats) -> None:
        self._edges = edges
        self._ends = np.append(edges, np.nan)  # not even infinity is above what comes after the last edge
        self._grid = _best_grid(edges) if _FEW_EDGES < len(edges) < _MANY_EDGES else None

    def places(self, numbers: Floats) -> Places:
        """For each number, how many edges are not above it. NaN has some place."""
        if self._grid is None:
            return np.searchsorted(self._edges, numbers, side="right").astype(np.int32)
        places = np.empty(len(numbers), dtype=np.int32)
        with np.errstate(over="ignore", invalid="ignore"):
            # As much at a time as a processor's cache holds.
            for start in range(0, len(numbers), _AT_ONCE):
                piece = slice(start, start + _AT_ONCE)
                self._find(numbers[piece], self._grid, places[piece])
        return places

    def _find(self, numbers: Floats, grid: _Grid, found: Places) -> None:
        steps = _steps(numbers, grid.low, grid.scale)
        found[:] = grid.below.take(steps, mode="clip")
        for _ in range(grid.comparisons):
            found += numbers >= self._ends.take(found, mode="clip")
        if grid.crowded is not None:
            left = np.flatnonzero(grid.crowded.take(steps, mode="clip"))
            found[left] = np.searchsorted(self._edges, numbers[left], side="right")


def _best_grid(edges: Floats) -> _Grid | None:
    """The grid that is searched fastest by numbers that lie as the edges do; None if none is worth it."""
    best, least = None, _SEARCH * _WORTH_IT
    for share in _LEFT_OUT:
        cut = int(share * len(edges))
        low, high = edges[cut], edges[-1 - cut]
        with np.errstate(over="ignore"):
            scale = float((_STEPS - 1) / (high - low))
        if not 0 < scale < np.inf:
            continue
        with np.errstate(over="ignore"):  # what lies that far from the grid belongs to its last step
            per_step = np.bincount(_steps(edges, low, scale), minlength=_STEPS)
        for comparisons in (1, 2):
            crowded = per_step > comparisons
            cost = comparisons + _SEARCH * per_step[crowded].sum() / len(edges)
            if cost < least:
                below = (np.cumsum(per_step) - per_step).astype(np.int16)
                best = _Grid(float(low), scale, below, comparisons, crowded if crowded.any() else None)
                least = cost
    return best


def _steps(numbers: Floats, low: float, scale: float) -> Places:
    steps = np.subtract(numbers, low)
    np.multiply(steps, scale, out=steps)
    np.clip(steps, 0, _STEPS - 1, out=steps)
    return steps.astype(np.int32)
