"""SliceLine's best slice of at most three conditions over columns in five bins, which are made beforehand.

Within a bounded address space: where it wants more, it says so (`gave_up`) and after how long.
"""

import os
import resource
import time

import numpy as np
from hotspots_data import BINS, alike, rows
from sliceline.slicefinder import Slicefinder
from turns import Round, serve

LIMIT = int(os.environ.get("HOTSPOTS_MEMORY_GIB", "8")) << 30


def prepare(scale: float) -> Round:
    columns, wrong = rows(scale)
    binned = np.column_stack(
        [np.searchsorted(np.quantile(v, np.arange(1, BINS) / BINS), v) + 1 for v in columns.values()]
    )
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))

    def once() -> dict[str, float]:
        started = time.perf_counter()
        finder = Slicefinder(alpha=0.95, k=1, max_l=3, min_sup=200, verbose=False)
        try:
            finder.fit(binned, wrong.astype(np.int64))
        except MemoryError:
            return {"units": 0, "gave_up": time.perf_counter() - started}
        found = np.ones(len(binned), dtype=bool)
        for place, value in enumerate(finder.top_slices_[0]):
            if value is not None:
                found &= binned[:, place] == value
        return {"units": len(binned), "alike": alike(found, columns), "gave_up": 0}

    return once


if __name__ == "__main__":
    serve(prepare, "sliceline")
