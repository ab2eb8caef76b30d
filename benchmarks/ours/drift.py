"""PSI, KL and JS of thirty columns from rows in memory: the cells of every value, counted, and compared with
the reference's.
"""

import numpy as np
import pyarrow as pa

from benchmarks.ours.drift_columns import Scores, profiles_of
from benchmarks.peers.drift_data import frames
from benchmarks.peers.turns import Round, serve


def prepare(scale: float) -> Round:
    """The reference's profile is made beforehand."""
    reference, current = (pa.table(frame) for frame in frames(scale))
    profiles = profiles_of(reference)
    scores = Scores(profiles)

    def once() -> int:
        cells = {
            p.column.name: (p.cells.encode(current.column(p.column.name)), p.cells.size) for p in profiles
        }
        found = scores.of({name: np.bincount(codes, minlength=size) for name, (codes, size) in cells.items()})
        if len(found) != len(profiles):
            raise AssertionError("a column has no score")
        return int(current.num_rows)

    return once


if __name__ == "__main__":
    serve(prepare, "modelwarden")
