"""Partials on the disk: one Delta table per profile, rows of (slice, code, count), with the version of the
table of inferences that they were folded from in the same commit.

Rows with the same slice and code add up, so a commit only ever appends. Must not know what a code means.
Written by one thread (the folder's).
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError

from modelwarden_server.store.delta import AppendTable, Replacement, TableFile
from modelwarden_server.store.verify import TableDamagedError

Integers = npt.NDArray[np.int64]
Rows = tuple[Integers, Integers, Integers]
"""Slices, codes and counts, of one length."""

SCHEMA = pa.schema([("slice", pa.int32()), ("code", pa.int32()), ("count", pa.int64())])
NEVER = -1
FORMAT = 2
"""Raised when codes mean something else than before: partials are then made anew."""
_ROWS_PER_BATCH = 500_000
_FACTOR = 2
_LABELLED = ("inferences", "labels")


@dataclass(frozen=True, slots=True)
class Reached:
    """How far partials go: the version of the inferences; the versions of inferences and labels whose labels
    are in them; whether counts of another profile are.
    """

    folded: int
    labelled: tuple[int, int] | None = None
    carried: bool = False


@dataclass
class PartialTable:
    """The partials of one profile. `app` names the txn that holds the folded version."""

    folder: Path
    app: str
    table: AppendTable

    @classmethod
    def open(cls, root: Path, profile: str) -> "PartialTable":
        """The partials of the profile of that hash (or name), made empty if there are none.

        What cannot be read is made anew: partials are a function of the inferences.
        """
        folder, app = root / profile[:32], f"partials/{FORMAT}/{profile}"
        newest = _complete(folder, app)
        for old in _tables(folder):
            if old != newest:
                shutil.rmtree(old, ignore_errors=True)
        return cls(folder, app, AppendTable.open(newest or folder / "0", SCHEMA))

    @property
    def folded(self) -> int:
        """The last version of the table of inferences that is in here, or NEVER."""
        version = self.table.transaction(self.app)
        return NEVER if version is None else version

    @property
    def files(self) -> int:
        """How many files the partials are spread over."""
        return len(self.table.files)

    @property
    def labelled(self) -> tuple[int, int]:
        """The last versions of inferences and labels whose labels are in here, or NEVER."""
        found = (self.table.transaction(f"{self.app}/{part}") for part in _LABELLED)
        inferences, labels = (NEVER if version is None else version for version in found)
        return inferences, labels

    @property
    def carried(self) -> bool:
        """Whether counts of another profile, whose rows were gone, are in here."""
        return self.table.transaction(f"{self.app}/carried") is not None

    def append(self, parts: Iterable[Rows], reached: Reached) -> None:
        """Add counts, each part by ascending slice, and say up to where they reach."""
        numbers = {self.app: reached.folded}
        if reached.labelled is not None:
            places = zip(_LABELLED, reached.labelled, strict=True)
            numbers |= {f"{self.app}/{part}": at for part, at in places}
        if reached.carried:
            numbers[f"{self.app}/carried"] = 1
        batches = list(_batches(part for part in parts if len(part[0])))
        if batches:
            self.table.append(batches, numbers)
        else:
            self.table.commit([], numbers)

    def read(self) -> Iterator[Rows]:
        """All counts, a bounded number at a time."""
        for batch in self.table.read(self.table.files):
            yield _arrays(batch)

    def between(self, start: int, end: int, files: Sequence[TableFile] | None = None) -> Iterator[Rows]:
        """The counts of slices in [start, end), of some files or all: row groups that cannot hold any are not
        read.
        """
        for file in self.table.files if files is None else files:
            path = self.table.folder / file.name
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
                for group in range(parquet.num_row_groups):
                    bounds = parquet.metadata.row_group(group).column(0).statistics
                    if bounds is not None and (bounds.max < start or bounds.min >= end):
                        continue
                    slices, codes, counts = _arrays(parquet.read_row_group(group))
                    low, high = np.searchsorted(slices, [start, end])
                    yield slices[low:high], codes[low:high], counts[low:high]

    def to_merge(self, most: int) -> list[TableFile]:
        """Files to be joined into one: none while there are at most `most`; else the newest ones that have
        grown too long for what came before them, by factors, so that a long history is not written anew each
        time.
        """
        files = sorted(self.table.files, key=lambda file: (-file.rows, file.version))
        if len(files) <= most:
            return []
        start, total = len(files), 0
        while start and (total == 0 or files[start - 1].rows < _FACTOR * total or start > most // 2):
            start -= 1
            total += files[start].rows
        return files[start:]

    def merge(self, files: Sequence[TableFile], rows: Iterator[Rows]) -> None:
        """Put one file with these rows (the same counts, added up) in the place of `files`. A crash leaves
        the old or the new.
        """
        new = self.table.stage(_batches(rows))
        self.table.replace(Replacement(files, [new], rows_change=False), {})
        self.table.vacuum(0.0)


def drop_partials(root: Path, keep: frozenset[str]) -> None:
    """Remove the partials of all profiles but those."""
    kept = {profile[:32] for profile in keep}
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def _tables(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return sorted(found, key=lambda path: -int(path.name))


def _complete(folder: Path, app: str) -> Path | None:
    """The newest table in the folder whose first commit was made; None if there is none that can be read."""
    for path in _tables(folder):
        try:
            if AppendTable.open(path, SCHEMA).transaction(app) is not None:
                return path
        except (TableDamagedError, DeltaError, ValueError, OSError):
            continue
    return None


def _batches(parts: Iterable[Rows]) -> Iterator[pa.RecordBatch]:
    for slices, codes, counts in parts:
        for at in range(0, len(slices), _ROWS_PER_BATCH):
            piece = slice(at, at + _ROWS_PER_BATCH)
            yield pa.record_batch(
                [
                    pa.array(slices[piece].astype(np.int32)),
                    pa.array(codes[piece].astype(np.int32)),
                    pa.array(counts[piece]),
                ],
                schema=SCHEMA,
            )


def _arrays(batch: pa.RecordBatch | pa.Table) -> Rows:
    slices, codes, counts = (batch.column(i).to_numpy().astype(np.int64) for i in range(3))
    return slices, codes, counts
