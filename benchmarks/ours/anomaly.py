"""Training of anomaly detection on rows in memory, as its Job does it: encoding, forest, the scores to
compare with.
"""

import resource

import numpy as np
import pyarrow as pa

from benchmarks.peers.turns import Round, serve
from modelwarden_server.analysis.anomaly import train_anomaly
from modelwarden_server.analysis.columns import Column

ROWS, COLUMNS = 100_000, 20


def rows(scale: float, seed: int = 1) -> pa.Table:
    """Rows of 16 numbers, of which a tenth of some are missing, and 4 categories."""
    rng = np.random.default_rng(seed)
    count = max(1000, round(ROWS * scale))
    data: dict[str, object] = {f"n{i}": rng.normal(size=count) for i in range(12)}
    for i in range(12, 16):
        data[f"n{i}"] = np.where(rng.random(count) < 0.1, np.nan, rng.lognormal(size=count))
    data |= {f"c{i}": rng.choice(["a", "b", "c", "d"], count, p=[0.6, 0.3, 0.09, 0.01]) for i in range(4)}
    return pa.table(data)


def columns() -> list[Column]:
    """What they are."""
    numbers = [Column(f"n{i}", "FLOAT", "PIPELINE_INPUT") for i in range(16)]
    return [*numbers, *(Column(f"c{i}", "STRING", "PIPELINE_INPUT") for i in range(4))]


def prepare(scale: float) -> Round:
    """The rows are read beforehand."""
    table = rows(scale)

    def once() -> dict[str, float]:
        train_anomaly(columns(), table, 7)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"units": table.num_rows, "peak": peak}

    return once


if __name__ == "__main__":
    serve(prepare, "modelwarden")
