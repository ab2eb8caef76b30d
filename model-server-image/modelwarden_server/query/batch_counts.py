"""The partials of a batch model by batch: a batch is a slice of its own, numbered in the order of first rows.

The same counts as of time, in a table of their own beside those, made by the folder's thread from the table
of inferences. Which number is which batch stands in a small file that is durable before any count of it; a
file that has lost numbers makes the counts be made anew. Must not know what a code means.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, Times
from modelwarden_server.analysis.partials import Integers, SparseCounts
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.labelling import by_version
from modelwarden_server.schema.compiled import BATCH
from modelwarden_server.store.partials import PartialTable
from modelwarden_server.store.rows_table import RowsTable

log = logging.getLogger(__name__)
_NAMES = "names.json"


@dataclass
class BatchCounts:
    """Counts by batch under one profile. `folder` is that profile's."""

    folder: Path
    space: CodeSpace
    source: RowsTable
    times: Times
    _names: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)
    _counts: Generation = field(init=False)

    def __post_init__(self) -> None:
        self._names = self._read()
        self._counts = self._opened()
        newest = self._counts.newest_slice()
        if (newest is not None and newest >= len(self._names)) or self._counts.folded > self.source.version:
            log.warning("the counts of batches do not fit what is known of them: they are made anew")
            shutil.rmtree(self.folder / "batches", ignore_errors=True)
            self._names, self._counts = [], self._opened()
        self._numbers = {name: number for number, name in enumerate(self._names)}

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
        return list(self._names)

    def totals(self, batch: str) -> Integers:
        """Counts by code of one batch; zeros for an unknown one."""
        number = self._numbers.get(batch)
        return self._counts.window(0, 0) if number is None else self._counts.window(number, number + 1)

    def catch_up(self) -> None:
        """Take in what the table has. Raises OSError, pyarrow.ArrowInvalid."""
        columns = [BATCH, self.times.event, self.times.arrival, *self.space.names]
        for version, files in by_version(self.source.files_added(self._counts.folded)):
            parts = (part for batch in self.source.read(files, columns) for part in self._folded(batch))
            self._counts.add(parts, version)

    def keep(self, most_files: int, memory: int) -> None:
        """Make durable what there is. Raises CommitError, OSError."""
        make_folder(self.folder / "batches")
        if self._read() != self._names:
            replace_file(self.folder / "batches" / _NAMES, msgspec.json.encode(self._names))
        self._counts.persist()
        self._counts.compact(most_files)
        self._counts.shed(memory)

    def _opened(self) -> Generation:
        table = PartialTable.open(self.folder, "batches")
        return Generation("batches", None, self.space, table)

    def _read(self) -> list[str]:
        try:
            return msgspec.json.decode((self.folder / "batches" / _NAMES).read_bytes(), type=list[str])
        except (OSError, msgspec.DecodeError):
            return []

    def _folded(self, batch: pa.RecordBatch) -> Iterable[SparseCounts]:
        coded = batch.column(batch.schema.get_field_index(BATCH)).dictionary_encode()
        named = coded.drop_null() if coded.null_count else coded
        if len(named) < len(coded):
            batch = batch.filter(batch.column(batch.schema.get_field_index(BATCH)).is_valid())
        numbers = np.array([self._number(name) for name in named.dictionary.to_pylist()], dtype=np.int64)
        places = numbers[named.indices.to_numpy(zero_copy_only=False)] if len(named) else numbers[:0]
        found: Iterator[SparseCounts] = self.space.fold_at(batch, places, self.times)
        return found

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self._names))
        if number == len(self._names):
            self._names.append(name)
        return number
