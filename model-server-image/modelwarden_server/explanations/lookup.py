"""One inference by its id: its inputs, and its stored explanation. Only files that may hold it are read.

Must not write, nor know HTTP.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from modelwarden_server.explained import ID as WIRE_ID
from modelwarden_server.query.drift_answer import files_of
from modelwarden_server.query.inference import rows_with_id
from modelwarden_server.query.scan import Deadline
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable

_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Lookup:
    """Over the tables of one cell."""

    inferences: AppendTable
    explanations: AppendTable
    inputs: tuple[str, ...]

    def row(self, identifier: str) -> pa.RecordBatch | None:
        """The inference as rows to be explained (columns `id` and the inputs), None if there is none. Raises
        OSError (a file is gone), QueryTooLargeError.
        """
        found = self._first(self.inferences, identifier, [ID, *self.inputs])
        return None if found is None else found.rename_columns([WIRE_ID, *self.inputs])

    def stored(self, identifier: str) -> dict[str, Any] | None:
        """The stored explanation, None if there is none. Raises as `row`."""
        found = self._first(self.explanations, identifier, self.explanations.schema.names)
        return None if found is None else found.to_pylist()[0]

    def _first(self, table: AppendTable, identifier: str, columns: Sequence[str]) -> pa.RecordBatch | None:
        deadline = Deadline(time.monotonic() + _SECONDS)
        for file in reversed(table.files):
            files = files_of(table.folder, [file.name], file.rows, table.schema)
            for batch in rows_with_id(files.paths, files, identifier, deadline, list(columns)):
                if batch.num_rows:
                    return batch.slice(0, 1)
        return None
