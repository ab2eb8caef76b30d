"""The counts of a table of scores, by slice of time and, for a batch model, by batch: made from that table
alone, so each row is counted once whatever happens between the two.

Made and kept by one thread, asked by any. Must not know what a code means.
"""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, Times
from modelwarden_server.analysis.partials import Integers, SparseCounts
from modelwarden_server.query.batch_counts import BatchCounts
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.labelling import by_version
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.partials import PartialTable

log = logging.getLogger(__name__)
TIMES = Times(EVENT_TIME, ARRIVAL_TIME)
_MOST_FILES = 64
_MEMORY = 32 << 20


class CountedSpace(Protocol):
    """Which codes rows count for."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are counted, beside the times."""
        ...

    @property
    def size(self) -> int:
        """How many codes there are."""
        ...

    def fold(self, rows: pa.RecordBatch, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows by slice of event time."""
        ...

    def fold_at(self, rows: pa.RecordBatch, places: Integers, times: Times) -> Iterator[SparseCounts]:
        """The counts of rows, row i at `places[i]`."""
        ...


@dataclass
class TableCounts:
    """Counts of the rows of `table`, kept under `folder`."""

    folder: Path
    table: AppendTable
    space: CountedSpace
    by_batch: bool
    _slices: Generation = field(init=False)
    _batches: BatchCounts | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._slices = self._opened()
        if self._slices.folded > self.table.version:
            log.warning("counts reach further than the table of scores: they are made anew")
            shutil.rmtree(self.folder, ignore_errors=True)
            self._slices = self._opened()
        if self.by_batch:
            self._batches = BatchCounts(self._slices.table.folder, self._space, self.table, TIMES)

    @property
    def folded(self) -> int:
        """The last version of the table that is counted."""
        folded = self._slices.folded
        return folded if self._batches is None else min(folded, self._batches.folded)

    @property
    def kept(self) -> int:
        """The same, of what is on the disk."""
        kept = self._slices.table.folded
        return kept if self._batches is None else min(kept, self._batches.kept)

    @property
    def _space(self) -> Any:
        # Counting needs a space's size and its folding, nothing of the profile behind a CodeSpace.
        return cast("CodeSpace", self.space)

    def catch_up(self) -> None:
        """Count what the table has. Raises OSError, pyarrow.ArrowInvalid."""
        columns = [EVENT_TIME, ARRIVAL_TIME, *self.space.names]
        for version, files in by_version(self.table.files_added(self._slices.folded)):
            read = self.table.read(files, columns)
            self._slices.add((part for rows in read for part in self.space.fold(rows, TIMES)), version)
        if self._batches is not None:
            self._batches.catch_up()

    def keep(self) -> None:
        """Make durable what there is. Raises CommitError, OSError."""
        self._slices.persist()
        if self._slices.table.files > _MOST_FILES:
            self._slices.compact(_MOST_FILES)
        self._slices.shed(_MEMORY)
        if self._batches is not None:
            self._batches.keep(_MOST_FILES, _MEMORY)

    def window(self, start: int, end: int) -> Integers:
        """Counts by code of the slices in [start, end)."""
        return self._slices.window(start, end)

    def batch(self, name: str) -> Integers:
        """Counts by code of one batch; zeros for an unknown one."""
        return self._slices.window(0, 0) if self._batches is None else self._batches.totals(name)

    def newest_slice(self) -> int | None:
        """The latest slice that has a row."""
        return self._slices.newest_slice()

    def _opened(self) -> Generation:
        return Generation("scores", None, self._space, PartialTable.open(self.folder, "scores"))
