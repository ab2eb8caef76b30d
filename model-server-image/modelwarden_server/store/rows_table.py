"""What those who fold a table need of it. `AppendTable` is one; must not say how rows get in."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import pyarrow as pa

from modelwarden_server.store.delta import TableFile


class RowsTable(Protocol):
    """A table that rows are only added to."""

    @property
    def version(self) -> int:
        """The newest version."""
        ...

    def files_added(self, since: int) -> Sequence[TableFile]:
        """Files of rows that versions above `since` added."""
        ...

    def read(
        self, files: Sequence[TableFile], columns: Sequence[str] | None = ...
    ) -> Iterable[pa.RecordBatch]:
        """Their rows, in the order of the table."""
        ...
