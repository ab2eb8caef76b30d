"""A table whose rows are made from inferences' rows: its counts kept, its files joined, removed with the rows
that they were made of.

One thread's. What is above decides when; nothing here knows what a row says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.schema.compiled import ARRIVAL_TIME, ID, INSTANT
from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.store.delta import AppendTable, Replacement, TableFile
from modelwarden_server.store.rewriting import merge_files, rows_without
from modelwarden_server.store.upkeep import KeepRules, to_merge

_NOTHING = -1
_NEVER = 1 << 62
Renamed = Callable[[TableFile, TableFile | None], None]
"""Told of a file, and of what came in its place; None: no row was left."""


class Counts(Protocol):
    """What is counted of the table's rows."""

    @property
    def folded(self) -> int:
        """The last version of the table that is counted."""
        ...

    @property
    def kept(self) -> int:
        """The same, of what is on the disk: files up to here may be joined."""
        ...

    def catch_up(self) -> None:
        """Count what the table has. Raises OSError, pyarrow.ArrowInvalid."""
        ...

    def keep(self) -> None:
        """Make durable what there is. Raises CommitError, OSError."""
        ...

    def newest_slice(self) -> int | None:
        """The latest slice that has a row."""
        ...

    def window(self, start: int, end: int) -> Integers:
        """Counts by code of the slices in [start, end)."""
        ...

    def batch(self, name: str) -> Integers:
        """Counts by code of one batch; zeros for an unknown one."""
        ...


@dataclass(frozen=True)
class Uncounted:
    """Counts of a table whose rows nobody counts."""

    table: AppendTable

    @property
    def folded(self) -> int:
        """See Counts."""
        return self.table.version

    @property
    def kept(self) -> int:
        """See Counts."""
        return self.table.version

    def catch_up(self) -> None:
        """See Counts."""

    def keep(self) -> None:
        """See Counts."""

    def newest_slice(self) -> int | None:
        """See Counts."""
        return None

    def window(self, start: int, end: int) -> Integers:
        """See Counts."""
        del start, end
        return np.zeros(0, dtype=np.int64)

    def batch(self, name: str) -> Integers:
        """See Counts."""
        del name
        return np.zeros(0, dtype=np.int64)


def _nothing_apart(_file: TableFile) -> bool:
    return False


def _untold(_old: TableFile, _new: TableFile | None) -> None:
    """For who needs not know."""


@dataclass
class DerivedTable:
    """`table`, made from `source`. Files that are `apart` are neither joined nor removed for their age."""

    source: AppendTable
    table: AppendTable
    counts: Counts
    rules: Callable[[], KeepRules]
    clock: Callable[[], float]
    grace: float
    """Seconds for which replaced files stay, for readers."""
    apart: Callable[[TableFile], bool] = _nothing_apart
    retired: Callable[[int], dict[str, int]] = lambda _rows: {}
    """Told of rows that go for their age; what it says stands in the entry that removes them."""
    _oldest: str | None = field(default=None, init=False)

    @property
    def newest(self) -> int:
        """The last version that added rows; -1: none has."""
        return max((file.version for file in self.table.files_added(_NOTHING)), default=_NOTHING)

    def tidy(self) -> None:
        """Remove what is older than the oldest inference, join files, remove replaced ones. Raises OSError,
        CommitError.
        """
        self._retire()
        while files := self._to_join():
            merge_files(self.table, files)
        self.table.vacuum(self.grace)

    def remove(self, keys: Words, renamed: Renamed = _untold) -> None:
        """Remove the rows of these ids; the files that had them at once. `renamed` is told of each file as
        soon as it is written anew. Durable when it returns. Raises OSError, CommitError.
        """
        wanted = {tuple(key) for key in keys.tolist()}
        first = np.unique(keys[:, 0])
        for file in self.table.files:
            found: set[str] = set()
            for batch in self.table.read([file], [ID]):
                found.update(among(batch.column(0).to_pylist(), wanted, first))
            if not found:
                continue
            keep = partial(without, pa.array(sorted(found), pa.string()))
            commit = self.table.replace(rows_without(self.table, file, keep), {})
            renamed(file, commit.files[0] if commit.files else None)
        self.table.vacuum(0.0)

    def _to_join(self) -> list[TableFile]:
        """Adjacent files to be joined: a run ends at a file that is apart."""
        run: list[TableFile] = []
        for file in (*self.table.files, None):
            if file is not None and not self.apart(file):
                run.append(file)
                continue
            found = to_merge(run, self.counts.kept, self.rules(), self.clock())
            if found:
                return list(found)
            run = []
        return []

    def _retire(self) -> None:
        files = self.source.files
        oldest = files[0].name if files else ""
        if oldest == self._oldest or not self.table.files:
            return
        first = _NEVER if not files else oldest_arrival(self.source.folder / oldest)
        gone = []
        for file in self.table.files:
            if file.newest.get(ARRIVAL_TIME, _NEVER) >= first:
                break
            if not self.apart(file):
                gone.append(file)
        if gone:
            self.counts.keep()
            told = self.retired(sum(file.rows for file in gone))
            self.table.replace(Replacement(gone, [], rows_change=True), told)
        self._oldest = oldest


def without(gone: pa.Array, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows but those of these ids."""
    return rows.filter(pc.invert(pc.is_in(rows.column(rows.schema.get_field_index(ID)), gone)))


def among(ids: list[str], wanted: set[tuple[int, ...]], first: npt.NDArray[np.uint64]) -> Iterator[str]:
    """The ids whose keys are wanted; `first` has the keys' first words."""
    keys = id_keys(ids)
    for place in np.flatnonzero(np.isin(keys[:, 0], first)).tolist():
        if tuple(keys[place].tolist()) in wanted:
            yield ids[place]


def oldest_arrival(path: Path) -> int:
    """The earliest arrival in a file, from its footer; 0 where that does not tell."""
    with pq.ParquetFile(path) as parquet:
        groups = [parquet.metadata.row_group(i) for i in range(parquet.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        found = [column.statistics for column in columns if column.path_in_schema == ARRIVAL_TIME]
        if len(found) < len(groups) or any(one is None or not one.has_min_max for one in found):
            return 0
        first = min((one.min for one in found), default=None)
    earliest: int = 0 if first is None else pa.scalar(first, INSTANT).value
    return earliest
