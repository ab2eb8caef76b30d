"""What the queue holds of an inference: the model's inputs, of the rows that are chosen. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modelwarden_server.schema.compiled import ID
from modelwarden_server.schema.digest import id_keys


@dataclass(frozen=True)
class QueuedInputs:
    """See RowScoring: nothing is computed."""

    columns: Sequence[str]
    artefact_hash: str = ""
    bytes_a_row: int = 0

    def score(self, rows: pa.RecordBatch) -> list[pa.Array]:
        """See RowScoring."""
        return [rows.column(rows.schema.get_field_index(name)) for name in self.columns]


def chosen_by(share: Callable[[], float]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Keeps that share of rows: by a hash of the id alone, another one than what is stored is sampled by."""

    def chosen(rows: pa.RecordBatch) -> pa.RecordBatch:
        wanted = share()
        if wanted >= 1.0 or not rows.num_rows:
            return rows
        keys = id_keys(rows.column(rows.schema.get_field_index(ID)).to_pylist())
        kept = keys[:, 1].astype(np.float64) < wanted * 2.0**64
        return rows.filter(pa.array(kept))

    return chosen
