"""Rows of the reference for a training that needs them in memory: all, or a sample by the seed of bounded
size.

The sample is spread over the whole reference: one row of each stretch, at a place that the seed decides.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.jobs.training import Tell, TrainingInput

MOST_ROWS: Final = 100_000
MOST_ROWS_OF_TEXT: Final = 20_000
_MOST_CELLS: Final = 20_000_000
_MOST_CHARACTERS: Final = 2000


def sample_of(given: TrainingInput, columns: Sequence[str], tell: Tell) -> pa.Table:
    """The rows with these columns, in the order of the reference. Long texts are cut."""
    wanted = chosen_rows(given.records, most_rows(given, columns), given.seed)
    parts: list[pa.RecordBatch] = []
    start = 0
    for batch in given.reference(columns):
        low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
        if high > low:
            parts.append(_cut(batch.take(pa.array(wanted[low:high] - start))))
        start += batch.num_rows
    tell("read", rows=start, used=sum(part.num_rows for part in parts))
    schema = parts[0].schema if parts else pa.schema([(name, pa.null()) for name in columns])
    return pa.Table.from_batches(parts, schema)


def most_rows(given: TrainingInput, columns: Sequence[str]) -> int:
    """How many rows may be in memory."""
    texts = {c.name for c in given.columns if c.value_type == "UNSTRUCTURED_TEXT"}
    most = MOST_ROWS_OF_TEXT if texts & set(columns) else MOST_ROWS
    return max(1000, min(most, _MOST_CELLS // max(len(columns), 1)))


def chosen_rows(records: int, most: int, seed: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Ascending numbers of at most `most` of so many rows."""
    if records <= most:
        return np.arange(records, dtype=np.int64)
    jitter = np.random.RandomState(seed).random_sample(most)
    return np.floor((np.arange(most) + jitter) * (records / most)).astype(np.int64)


def _cut(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        pc.utf8_slice_codeunits(values, 0, _MOST_CHARACTERS) if pa.types.is_string(values.type) else values
        for values in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
