"""PSI, KL and JS of thirty columns from rows in memory: the cells of every value, counted, and compared with
the reference's.
"""

import numpy as np
import pyarrow as pa

from benchmarks.ours.drift_columns import Scores, profiles_of
from benchmarks.peers.drift_data import frames
from benchmarks.peers.turns import Round, serve
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile

_ROWS_AT_ONCE = 65_536


def prepare(scale: float) -> Round:
    """The reference's profile is made beforehand."""
    reference, current = (pa.table(frame) for frame in frames(scale))
    profiles = profiles_of(reference)
    scores = Scores(profiles)

    def once() -> int:
        found = scores.of({p.column.name: _counted(p, current.column(p.column.name)) for p in profiles})
        if len(found) != len(profiles):
            raise AssertionError("a column has no score")
        return int(current.num_rows)

    return once


def _counted(profile: ColumnProfile, values: pa.ChunkedArray) -> Integers:
    """Rows by cell: a piece at a time, as a store folds what comes, so that it stays in the cache."""
    cells, counts = profile.cells, np.zeros(profile.cells.size, dtype=np.int64)
    for start in range(0, len(values), _ROWS_AT_ONCE):
        counts += np.bincount(cells.encode(values.slice(start, _ROWS_AT_ONCE)), minlength=cells.size)
    return counts


if __name__ == "__main__":
    serve(prepare, "modelwarden")
