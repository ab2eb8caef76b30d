"""How late rows arrive, in cells: arrival time minus event time, on a scale that doubles or so.

A row that claims to be from after its arrival is in the first cell (clocks differ). Must not change: cells
are stored in partials.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
EDGES: Final = (
    *(0, 1, 5, 15),
    *(_MINUTE, 5 * _MINUTE, 15 * _MINUTE),
    *(_HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 4 * _DAY, 8 * _DAY, 16 * _DAY, 32 * _DAY, 64 * _DAY),
)
"""Seconds; cell i lies between edge i-1 and edge i, the lower end inside."""
CELLS: Final = len(EDGES) + 1
_EDGES_MICROS: Final = np.array(EDGES, dtype=np.int64) * 1_000_000


def lag_cells(event: npt.NDArray[np.int64], arrival: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """The cell of each row, from both times in microseconds."""
    return np.searchsorted(_EDGES_MICROS, arrival - event, side="right").astype(np.int32)


def lag_quantile(counts: npt.NDArray[np.int64], fraction: float) -> float | None:
    """An upper bound, in seconds, of the lag of that fraction of the rows; None without rows. Beyond the last
    edge: twice it.
    """
    total = int(counts.sum())
    if not total:
        return None
    cell = int(np.searchsorted(np.cumsum(counts), fraction * total, side="left"))
    return float(EDGES[cell]) if cell < len(EDGES) else 2.0 * EDGES[-1]
