"""The partials of a batch model by batch: a batch is a slice of its own, numbered in the order of first rows.

The same counts as of time, in a table of their own beside those, made by the folder's thread from the table
of inferences. A file of names that has lost numbers makes the counts be made anew. Must not know what a code
means.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, Times
from modelwarden_server.analysis.partials import Integers, SparseCounts
from modelwarden_server.query.batch_names import BatchNames
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.labelling import by_version
from modelwarden_server.schema.compiled import BATCH
from modelwarden_server.store.partials import PartialTable
from modelwarden_server.store.rows_table import RowsTable

log = logging.getLogger(__name__)


@dataclass
class BatchCounts:
    """Counts by batch under one profile. `folder` is that profile's."""

    folder: Path
    space: CodeSpace
    source: RowsTable
    times: Times
    _names: BatchNames = field(init=False)
    _counts: Generation = field(init=False)

    def __post_init__(self) -> None:
        self._names = BatchNames(self.folder / "batches")
        self._counts = self._opened()
        newest = self._counts.newest_slice()
        if (newest is not None and newest >= len(self._names)) or self._counts.folded > self.source.version:
            log.warning("the counts of batches do not fit what is known of them: they are made anew")
            shutil.rmtree(self.folder / "batches", ignore_errors=True)
            self._names, self._counts = BatchNames(self.folder / "batches"), self._opened()

    @property
    def folded(self) -> int:
        """The last version of the inferences that is in the counts."""
        return self._counts.folded

    @property
    def kept(self) -> int:
        """The same, of what is on the disk."""
        return self._counts.table.folded

    def names(self) -> list[str]:
        """The batches that have rows, in the order of their first rows."""
        return self._names.all()

    def totals(self, batch: str) -> Integers:
        """Counts by code of one batch; zeros for an unknown one."""
        number = self._names.number(batch)
        return self._counts.window(0, 0) if number is None else self._counts.window(number, number + 1)

    def catch_up(self) -> None:
        """Take in what the table has. Raises OSError, pyarrow.ArrowInvalid."""
        columns = [BATCH, self.times.event, self.times.arrival, *self.space.names]
        for version, files in by_version(self.source.files_added(self._counts.folded)):
            parts = (part for batch in self.source.read(files, columns) for part in self._folded(batch))
            self._counts.add(parts, version)

    def keep(self, most_files: int, memory: int) -> None:
        """Make durable what there is. Raises CommitError, OSError."""
        self._names.keep()
        self._counts.persist()
        self._counts.compact(most_files)
        self._counts.shed(memory)

    def _opened(self) -> Generation:
        table = PartialTable.open(self.folder, "batches")
        return Generation("batches", None, self.space, table)

    def _folded(self, batch: pa.RecordBatch) -> Iterable[SparseCounts]:
        named = batch.column(batch.schema.get_field_index(BATCH))
        if named.null_count:
            batch = batch.filter(named.is_valid())
            named = named.drop_null()
        found: Iterator[SparseCounts] = self.space.fold_at(batch, self._names.numbers_of(named), self.times)
        return found
