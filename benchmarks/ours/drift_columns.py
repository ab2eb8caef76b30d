"""The profile and the scores of the drift benchmark's thirty columns, as an answer makes them."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from benchmarks.peers.drift_data import CATEGORICAL, NUMERIC
from modelwarden_server.analysis.buckets import Buckets, buckets
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.distances import Metric, distances
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile, profile_column

METRICS = (Metric.PSI, Metric.KL, Metric.JS)


def columns() -> list[Column]:
    """The thirty columns."""
    numbers = [Column(name, "FLOAT", "PIPELINE_INPUT") for name in NUMERIC]
    return numbers + [Column(name, "STRING", "PIPELINE_INPUT", categorical=True) for name in CATEGORICAL]


def profiles_of(reference: pa.Table) -> tuple[ColumnProfile, ...]:
    """Their profiles in the reference."""
    return tuple(profile_column(c, partial(_chunks, reference, c.name)) for c in columns())


def _chunks(table: pa.Table, name: str) -> list[pa.Array]:
    chunks: list[pa.Array] = table.column(name).chunks
    return chunks


class Scores:
    """PSI, KL and JS of each column, from counts by cell. What the reference gives is made once."""

    def __init__(self, profiles: Sequence[ColumnProfile]) -> None:
        by_size: dict[int, list[tuple[str, Buckets, Integers]]] = {}
        for profile in profiles:
            layout = buckets(profile.cells, 10)
            if layout is None:
                raise AssertionError(f"{profile.column.name} cannot be compared")
            base = layout.counts(np.asarray(profile.counts, dtype=np.int64))
            by_size.setdefault(layout.size, []).append((profile.column.name, layout, base))
        self._alike = list(by_size.values())

    def of(self, counts: Mapping[str, Integers]) -> dict[str, list[float]]:
        """The scores of each column, in the order of METRICS."""
        found: dict[str, list[float]] = {}
        for alike in self._alike:  # columns with as many buckets are compared in one go
            bases = np.stack([base for _, _, base in alike])
            targets = np.stack([layout.counts(counts[name]) for name, layout, _ in alike])
            scores = np.stack([distances(metric, bases, targets) for metric in METRICS], axis=1)
            found |= dict(zip((name for name, _, _ in alike), scores.tolist(), strict=True))
        return found
