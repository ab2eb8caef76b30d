"""Which of a few hundred ascending edges lie at or below each of many numbers: `numpy.searchsorted`, several
times faster.

A grid of equal steps over most of the edges says how many edges lie below each step; from there one or two
comparisons lead to the place. Numbers in steps with more edges than that are searched for one by one. The
result is the same to the last number: a step is computed for an edge by the very operations that compute it
for a number, and these never order two numbers the other way round.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int32]

_STEPS: Final = 4096
_COMPARISONS: Final = 2
_FEW_EDGES: Final = 32
_AT_ONCE: Final = 1 << 14
_LEFT_OUT: Final = (0.0, 0.01, 0.05)
"""Shares of the edges at each end that the grid may leave out: a far outlier would make its steps wide."""
_TOO_CROWDED: Final = 0.6


class EdgeSearch:
    """The search in one set of edges: finite, strictly ascending. Memory: 20 KB."""

    def __init__(self, edges: Floats) -> None:
        self._edges = edges
        self._ends = np.append(edges, np.inf)
        self._grid = self._best_grid() if len(edges) > _FEW_EDGES else None

    def places(self, numbers: Floats) -> Places:
        """For each number, how many edges are not above it. NaN has some place."""
        if self._grid is None:
            return np.searchsorted(self._edges, numbers, side="right").astype(np.int32)
        low, scale, below, crowded = self._grid
        places = np.empty(len(numbers), dtype=np.int32)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(numbers), _AT_ONCE):
                piece, found = numbers[start : start + _AT_ONCE], places[start : start + _AT_ONCE]
                steps = _steps(piece, low, scale)
                np.take(below, steps, out=found, mode="clip")
                for _ in range(_COMPARISONS):
                    found += piece >= self._ends.take(found, mode="clip")
                if crowded is not None:
                    left = np.flatnonzero(crowded.take(steps, mode="clip"))
                    found[left] = np.searchsorted(self._edges, piece[left], side="right")
        return places

    def _best_grid(self) -> "tuple[float, float, Places, npt.NDArray[np.bool_] | None] | None":
        """The grid that leaves the fewest edges in crowded steps; None if all leave too many."""
        best, least = None, _TOO_CROWDED
        for share in _LEFT_OUT:
            cut = int(share * len(self._edges))
            low, high = float(self._edges[cut]), float(self._edges[-1 - cut])
            with np.errstate(over="ignore"):
                scale = (_STEPS - 1) / np.float64(high - low)
            if not (np.isfinite(scale) and scale > 0):
                continue
            steps = _steps(self._edges, low, float(scale))
            per_step = np.bincount(steps, minlength=_STEPS)
            crowded = per_step > _COMPARISONS
            inside = float(per_step[crowded].sum() / len(self._edges))
            if inside < least:
                below = np.concatenate([[0], np.cumsum(per_step)[:-1]]).astype(np.int32)
                best, least = (low, float(scale), below, crowded if crowded.any() else None), inside
        return best


def _steps(numbers: Floats, low: float, scale: float) -> Places:
    steps = np.subtract(numbers, low)
    np.multiply(steps, scale, out=steps)
    np.clip(steps, 0, _STEPS - 1, out=steps)
    return steps.astype(np.int32)
