"""PSI, KL and JS of a million rows and 30 columns against a reference: ours from raw rows, and from partials;
the peer's preset with PSI.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.harness import Case, elsewhere, here
from benchmarks.peers.drift_data import CATEGORICAL, NUMERIC, REFERENCE_ROWS, ROWS, frames
from modelwarden_server.analysis.buckets import buckets
from modelwarden_server.analysis.code_space import CodeSpace
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.distances import Metric, distance
from modelwarden_server.analysis.partials import Integers, total
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column

PEER = Path(__file__).parent / "peers" / "evidently_drift.py"
METRICS = (Metric.PSI, Metric.KL, Metric.JS)


def cases() -> Sequence[Case]:
    """Cold, from rows in memory; and as a query answers, from what was folded when the rows came in."""
    reference, current = (pa.table(frame) for frame in frames())
    columns = [Column(name, "FLOAT", "PIPELINE_INPUT") for name in NUMERIC]
    columns += [Column(name, "STRING", "PIPELINE_INPUT", categorical=True) for name in CATEGORICAL]
    profiles = tuple(profile_column(c, partial(_chunks, reference, c.name)) for c in columns)
    space = CodeSpace(ReferenceProfile("bench", REFERENCE_ROWS, profiles).columns)
    times = pa.array(np.full(ROWS, 1_700_000_000_000_000), pa.timestamp("us", "UTC"))
    rows = current.append_column("time", times).combine_chunks()
    folded = total(space.fold(rows, "time"), space.size)

    def from_rows() -> int:
        _scores(space, total(space.fold(rows, "time"), space.size))
        return ROWS

    def from_partials() -> int:
        _scores(space, folded)
        return ROWS

    peer = elsewhere("evidently", ["evidently==0.7.23", "pandas<3"], PEER)
    name = "Evidently preset, PSI"
    return [
        Case("drift of 1M x 30 from rows", name, "rows", here(from_rows), peer, target=20),
        Case("drift of 1M x 30 from partials", name, "rows", here(from_partials), peer, target=5000),
    ]


def _chunks(table: pa.Table, name: str) -> list[pa.Array]:
    chunks: list[pa.Array] = table.column(name).chunks
    return chunks


def _scores(space: CodeSpace, totals: Integers) -> list[float | None]:
    scores: list[float | None] = []
    for profile in space.columns:
        layout = buckets(profile.cells, 10)
        if layout is None:
            continue
        name = profile.column.name
        base = layout.counts(np.asarray(profile.counts, dtype=np.int64))
        target = layout.counts(space.cells_of(name, totals))
        scores += [distance(metric, base, target) for metric in METRICS]
    return scores
