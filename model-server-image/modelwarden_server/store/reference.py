"""The reference datasets of a cell: rows go in until a dataset is closed, then nothing about it changes any
more.

One Delta table a dataset, so that nothing of a dataset is visible before its commit and a killed upload
leaves nothing behind. Thread-safe: the doors and the Jobs come from many threads. Must not know HTTP, nor
what is in a profile.
"""

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from modelwarden_server.store.datasets import (
    IMPLICIT,
    Dataset,
    DatasetFile,
    DatasetFiles,
    State,
    closed,
    new_dataset,
)
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.parquet import DataFile

MAX_DATASETS = 200
Clock = Callable[[], datetime]


class DatasetError(Exception):
    """What was asked of a dataset cannot be done. The message says why and what to do."""


class UnknownDatasetError(DatasetError):
    """There is no such dataset."""


class DatasetClosedError(DatasetError):
    """The dataset is closed: it takes no rows and no other count."""


class CountMismatchError(DatasetError):
    """The number of rows that the client states is not the number that the store holds."""

    def __init__(self, name: str, stated: int, stored: int) -> None:
        super().__init__(
            f"total_record_count is {stated}, but dataset {name} holds {stored} rows: upload what is missing,"
            " or close with the sum of counts.success"
        )
        self.stated, self.stored = stated, stored


@dataclass(frozen=True, slots=True)
class Upload:
    """One staged file of an upload: `identity` is the SHA-256 of the bytes as they came."""

    identity: str
    file: DataFile


class ReferenceStore:
    """All reference datasets of one cell."""

    def __init__(self, tables: Path, records: Path, schema: pa.Schema, clock: Clock) -> None:
        """`tables` holds one Delta table a dataset, `records` one small file each. Raises ValueError or
        TableDamagedError if what is there cannot be read."""
        self.schema = schema
        self._tables, self._clock = tables, clock
        self._records = DatasetFiles(records)
        self._lock = threading.RLock()
        self._open: dict[str, AppendTable] = {}
        self._datasets: dict[str, Dataset] = {}
        for dataset in self._records.read():
            if dataset.is_open:
                self._open[dataset.name] = _opened(tables / dataset.name, schema)
            self._datasets[dataset.name] = dataset

    def all(self) -> tuple[Dataset, ...]:
        """Every dataset with its number of rows, by time of creation."""
        with self._lock:
            return tuple(
                sorted((self._counted(d) for d in self._datasets.values()), key=lambda d: d.created_at)
            )

    def get(self, name: str) -> Dataset:
        """The dataset of that name. Raises UnknownDatasetError."""
        with self._lock:
            if name not in self._datasets:
                raise UnknownDatasetError(
                    f"there is no reference dataset {name}: declare it or upload to it first"
                )
            return self._counted(self._datasets[name])

    def addressed(self, name: str | None, *, to_add: bool) -> str:
        """The dataset that a request means which names `name`, or none.

        None: the open dataset that is declared; if none is, the implicit one. Raises DatasetError if that
        is not one dataset, and to add rows, if it is closed.
        """
        with self._lock:
            if name is not None:
                return name
            declared = [d for d in self._datasets.values() if d.declared]
            open_ones = sorted(d.name for d in declared if d.is_open and not (to_add and d.source_hash))
            if len(open_ones) > 1:
                raise DatasetError(f"several datasets are open ({', '.join(open_ones)}): add ?dataset=<name>")
            if open_ones:
                return open_ones[0]
            if not declared:
                return IMPLICIT
            last = max(declared, key=lambda d: d.closed_at or d.created_at).name
            if to_add:
                raise DatasetClosedError(f"dataset {last} is closed: declare another one to replace it")
            return last

    def declare(self, name: str, source_hash: str | None = None) -> Dataset:
        """Make the dataset if it is not there, and note that an object of the cluster stands for it.

        `source_hash`: its rows are loaded by a Job from that source, nobody uploads any. Another source than
        before is to be loaded anew, as long as the dataset is open.
        """
        with self._lock:
            dataset = self._datasets.get(name)
            if dataset is None:
                dataset = self._create(name, declared=True)
            elif not dataset.declared:
                dataset = self._keep(replace(dataset, declared=True))
            if dataset.is_open and dataset.source_hash != source_hash:
                dataset = self._keep(replace(dataset, source_hash=source_hash, loaded=False, message=None))
            return self._counted(dataset)

    def check_source(self, name: str, source_hash: str) -> None:
        """Raises as `begin_load` if this is not the dataset's source, or it is closed."""
        with self._lock:
            self._of_source(name, source_hash)

    def begin_load(self, name: str, source_hash: str) -> None:
        """Remove the rows of an attempt before: the dataset holds what its source holds, nothing else.

        Raises DatasetError if this is not its source, DatasetClosedError.
        """
        with self._lock:
            dataset = self._of_source(name, source_hash)
            folder, old = self._tables / name, self._tables / f".{name}.before"
            self._keep(replace(dataset, loaded=False, message=None))
            del self._open[name]
            # In one step: a table half removed would be a damaged one at the next start.
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
            self._open[name] = AppendTable.open(folder, self.schema)
            shutil.rmtree(old, ignore_errors=True)

    def loaded(self, name: str, source_hash: str, records: int) -> Dataset:
        """All rows of the source are in. Raises as `begin_load`, and CountMismatchError."""
        with self._lock:
            dataset = self._counted(self._of_source(name, source_hash))
            if dataset.records != records:
                raise CountMismatchError(name, records, dataset.records)
            return self._counted(self._keep(replace(dataset, loaded=True, message=None)))

    def load_failed(self, name: str, source_hash: str, message: str) -> None:
        """Note why the source cannot be loaded. Raises as `begin_load`."""
        with self._lock:
            self._keep(replace(self._of_source(name, source_hash), loaded=False, message=message))

    def _of_source(self, name: str, source_hash: str) -> Dataset:
        dataset = self.get(name)
        if dataset.source_hash != source_hash:
            raise DatasetError(f"dataset {name} is loaded from another source now: this Job is of no use")
        if not dataset.is_open:
            raise DatasetClosedError(f"dataset {name} is closed and cannot change")
        return dataset

    def check_uploads(self, name: str) -> None:
        """Raises DatasetClosedError if nobody may upload to the dataset, because a Job loads it."""
        with self._lock:
            dataset = self._datasets.get(name)
            if dataset is not None and dataset.source_hash is not None:
                raise DatasetClosedError(
                    f"dataset {name} is loaded from spec.source of its ReferenceDataset: nothing can be"
                    " uploaded to it"
                )

    def stage(self, name: str, batches: Iterable[pa.RecordBatch]) -> DataFile:
        """Write one file of rows, durable but part of nothing yet. Makes the dataset if it is not there.

        Raises DatasetClosedError, and OSError for a full disk.
        """
        with self._lock:
            if name not in self._datasets:
                self._create(name, declared=False)
            table = self._table_to_add(name)
        return table.stage(batches)

    def commit(self, name: str, uploads: Sequence[Upload]) -> None:
        """Make staged files part of the dataset, all or none. The very bytes that were
        committed before are not added again. Durable when this returns. Raises
        DatasetClosedError, CommitError, NotDurableError.
        """
        with self._lock:
            table = self._table_to_add(name)
            if any(not (table.folder / upload.file.name).is_file() for upload in uploads):
                raise DatasetError(
                    f"dataset {name} is being loaded anew: what was uploaded meanwhile is gone"
                )
            fresh = {u.identity: u for u in uploads if table.transaction(_app(u.identity)) is None}
            table.discard([u.file for u in uploads if fresh.get(u.identity) is not u])
            if fresh:
                table.commit(
                    [u.file for u in fresh.values()], {_app(i): u.file.rows for i, u in fresh.items()}
                )

    def discard(self, name: str, files: Sequence[DataFile]) -> None:
        """Remove staged files that will not be committed."""
        with self._lock:
            if name in self._open:
                self._open[name].discard(files)

    def close(self, name: str, count: int | None) -> Dataset:
        """Close the dataset with the number of rows that the client states (None: with as many as there are).

        A second time with a count that fits changes nothing. Raises UnknownDatasetError, CountMismatchError,
        DatasetClosedError for another count, and DatasetError for a dataset without rows.
        """
        with self._lock:
            dataset = self.get(name)
            if not dataset.is_open:
                if count is not None and count != dataset.records:
                    raise DatasetClosedError(
                        f"dataset {name} is closed already with {dataset.records} rows,"
                        f" total_record_count is {count}"
                    )
                return dataset
            error: DatasetError | None = None
            if not dataset.is_complete:
                raise DatasetError(f"dataset {name} is not loaded from its source yet: wait for its Job")
            if count is not None and count != dataset.records:
                error = CountMismatchError(name, count, dataset.records)
            elif not dataset.records:
                error = DatasetError(f"dataset {name} has no rows: upload some before closing it")
            if error is not None:
                if dataset.message != str(error):
                    self._keep(replace(dataset, message=str(error)))
                raise error
            return self._close(dataset, count)

    def path(self, name: str, file: str) -> Path:
        """A file of a closed dataset. Raises UnknownDatasetError if it is none of them."""
        if file not in {f.name for f in self.get(name).files}:
            raise UnknownDatasetError(f"dataset {name} has no file of that name, or is not closed")
        return self._tables / name / file

    def profiled(self, content_hash: str, profile_hash: str) -> Dataset:
        """Note that the datasets of that content have that profile; returns the one closed last."""
        return self._settle(content_hash, "profiled", profile_hash, None)

    def failed(self, content_hash: str, message: str) -> Dataset:
        """Note why the datasets of that content have no profile; one that has keeps it."""
        return self._settle(content_hash, "failed", None, message)

    def by_content(self, content_hash: str) -> tuple[Dataset, ...]:
        """Closed datasets of that content, the one closed last at the end."""
        with self._lock:
            found = [d for d in self._datasets.values() if d.content_hash == content_hash]
            return tuple(sorted((self._counted(d) for d in found), key=_closed_at))

    def active(self, wanted: str | None) -> Dataset | None:
        """The dataset to compare with: the one that is wanted, if it has a profile, else
        the profiled one that was closed last; None if there is none. A wanted one without a
        profile is waited for, not replaced.
        """
        profiled = [d for d in self.all() if d.state == "profiled"]
        if wanted is not None:
            return next((d for d in profiled if d.name == wanted), None)
        return max(profiled, key=_closed_at, default=None)

    def _settle(self, content_hash: str, state: State, profile: str | None, message: str | None) -> Dataset:
        with self._lock:
            found = self.by_content(content_hash)
            if not found:
                raise UnknownDatasetError("no closed reference dataset has this content hash")
            for dataset in found:
                if state == "profiled" or dataset.state != "profiled":
                    self._keep(replace(dataset, state=state, profile_hash=profile, message=message))
            return self.get(found[-1].name)

    def _create(self, name: str, *, declared: bool) -> Dataset:
        if len(self._datasets) >= MAX_DATASETS:
            raise DatasetError(f"there are {MAX_DATASETS} reference datasets already: use one of them")
        try:
            dataset = new_dataset(name, self._clock(), declared=declared)
        except ValueError as error:
            raise DatasetError(str(error)) from None
        # The table first: a record without a table would be an error at the next start.
        self._open[name] = AppendTable.open(self._tables / name, self.schema)
        return self._keep(dataset)

    def _keep(self, dataset: Dataset) -> Dataset:
        self._records.write(dataset)
        self._datasets[dataset.name] = dataset
        return dataset

    def _table_to_add(self, name: str) -> AppendTable:
        if name not in self._datasets:
            raise UnknownDatasetError(f"there is no reference dataset {name}")
        if name not in self._open:
            raise DatasetClosedError(
                f"dataset {name} is closed and cannot change: make another dataset, which replaces it"
            )
        return self._open[name]

    def _close(self, dataset: Dataset, count: int | None) -> Dataset:
        table = self._open[dataset.name]
        files = tuple(
            DatasetFile(f.name, f.size, f.rows, _sha256(table.folder / f.name)) for f in table.files if f.rows
        )
        fixed = closed(dataset, count, _content_hash(self.schema, files), files)
        self._keep(replace(fixed, closed_at=self._clock()))
        del self._open[dataset.name]
        return self.get(dataset.name)

    def _counted(self, dataset: Dataset) -> Dataset:
        if dataset.name in self._open:
            return replace(dataset, records=self._open[dataset.name].rows)
        return replace(dataset, records=sum(f.rows for f in dataset.files))


def _opened(folder: Path, schema: pa.Schema) -> AppendTable:
    """The table of an open dataset, without files that a killed upload left."""
    table = AppendTable.open(folder, schema)
    committed = {file.name for file in table.files}
    for left in folder.glob("part-*.parquet"):
        if left.name not in committed:
            left.unlink()
    return table


def _closed_at(dataset: Dataset) -> datetime:
    return dataset.closed_at or dataset.created_at


def _app(identity: str) -> str:
    return f"upload/{identity}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _content_hash(schema: pa.Schema, files: Sequence[DatasetFile]) -> str:
    """SHA-256 over the schema and the hashes of the files in order."""
    digest = hashlib.sha256("\n".join(f"{f.name}\t{f.type}" for f in schema).encode())
    for file in files:
        digest.update(f"\n{file.sha256}".encode())
    return digest.hexdigest()
