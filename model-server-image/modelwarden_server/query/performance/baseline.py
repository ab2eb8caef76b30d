"""The reference's sums: its rows counted by the very code that counts inferences, once a definition, and kept
beside the cube's. Rows of a reference come with their labels. Memory is bounded, whatever its size.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden_server.analysis.partials import Integers, total
from modelwarden_server.analysis.performance.layout import OutcomeSpace
from modelwarden_server.durable import replace_file

log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 65_536
_MAGIC = b"MWBASE01"


@dataclass(frozen=True)
class ReferenceRows:
    """The files of a closed dataset, and the hash of their content."""

    content_hash: str
    paths: tuple[Path, ...]


def counted(space: OutcomeSpace, rows: ReferenceRows) -> Integers:
    """Sums by code of the reference. Raises OSError, pyarrow.ArrowInvalid."""
    columns = list(dict.fromkeys([*space.definition.columns, *space.definition.outcome.truth_columns]))
    totals = np.zeros(space.size, dtype=np.int64)
    for batch in _batches(rows.paths, columns):
        packed, labels = space.packed(batch), space.labels(batch)
        nowhere = np.zeros(batch.num_rows, dtype=np.int64)
        parts = [space.fold_rows(nowhere, packed), space.fold_labels(nowhere, packed, labels)]
        totals += total(parts, space.size)
    return totals


def kept_or_counted(folder: Path, space: OutcomeSpace, rows: ReferenceRows) -> Integers:
    """The same, from a file in the cube's folder if it is there and whole."""
    path = folder / f"baseline-{rows.content_hash[:32]}"
    try:
        content = path.read_bytes()
        found = np.frombuffer(content[len(_MAGIC) :], dtype="<i8").astype(np.int64)
        if content.startswith(_MAGIC) and len(found) == space.size:
            return found
        log.warning("the sums of the reference are damaged: they are made anew")
    except (OSError, ValueError):
        pass
    totals = counted(space, rows)
    replace_file(path, _MAGIC + totals.astype("<i8").tobytes())
    return totals


def _batches(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
            there = set(parquet.schema_arrow.names)
            if not there.issuperset(columns):
                log.warning(
                    "a file of the reference lacks %d columns: it is left out", len(set(columns) - there)
                )
                continue
            yield from parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=list(columns))
