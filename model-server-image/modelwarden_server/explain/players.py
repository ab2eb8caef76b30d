"""Which input moves an encoded column: found by changing one input at a time. Must not know estimators."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats, Rows
from modelwarden_server.explain.exported import UNKNOWN, Integers

Encode = Callable[[Rows], Floats]
"""(n, d) raw rows -> (n, e): the matrix that reaches the fitted estimator while predict runs on them."""
_ROUNDING: Final = 1e-9


def differ(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Where encoded values differ by more than rounding; NaN is like NaN."""
    with np.errstate(invalid="ignore"):
        same = np.abs(one - other) <= _ROUNDING * np.maximum(1.0, np.abs(other))
    return np.asarray(~(same | (one == other) | (np.isnan(one) & np.isnan(other))))


@dataclass(frozen=True, eq=False)
class Base:
    """A background row to compare with, raw (1, d) and encoded (1, e)."""

    row: Rows
    encoded: Floats
    encode: Encode

    def movers(self, other: Rows) -> Integers:
        """(e,): the input that moves each column when it is taken from `other` (1, d); UNKNOWN of columns
        that no input moves alone, or more than one."""
        changed = np.where(np.eye(self.row.shape[1], dtype=np.bool_), other, self.row)
        moved = differ(self.encode(changed), self.encoded)
        return np.where(moved.sum(axis=0) == 1, moved.argmax(axis=0), UNKNOWN).astype(np.int32)


def completed(
    players: Integers, base: Base, rows: Rows, encoded: Floats, most: int
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Players (e,) where each column in which a row is unlike the base has one, and which rows (n,) have a
    column for which none is to be found.

    A category that no row had until now is such a column. At most `most` rows are tried, a row for each
    input; those beyond are among the rows that have none.
    """
    players = players.copy()
    unlike, lost = differ(encoded, base.encoded), np.zeros(len(rows), dtype=np.bool_)
    for tried in range(most + 1):
        unknown = (players == UNKNOWN) & unlike
        todo = np.flatnonzero(unknown.any(axis=1) & ~lost)
        if not len(todo):
            break
        if tried == most:
            lost[todo] = True
            break
        row = int(todo[0])
        movers = base.movers(rows[row : row + 1])
        found = unknown[row] & (movers != UNKNOWN)
        players[found] = movers[found]
        lost[row] = not found[unknown[row]].all()
    return players, lost
