"""A Delta table that only we append to: parquet, fsync, one commit, fsync, and nothing else.

The one way rows get into any table of a cell (inferences, ground truth, reference sets, partials). Must
not know what the rows mean. One process and one thread write (the store's lock and its writer thread);
any thread may read the list of files.

    table = AppendTable.open(folder, schema, plain=frozenset({"partner_inference_id"}))
    if (table.transaction("log-7f3a") or 0) < position:
        table.append(batches, {"log-7f3a": position})

`transactions` are Delta `txn` actions: an application id and a number, written in the same atomic entry
as the files. They carry log positions (exactly-once) and running counters (they survive every crash with
the rows they count). Checkpoints come every 20 versions: without them a commit took 120 ms after 400
versions, with them 15.
"""

import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, Transaction

from modelwarden_server.durable import make_folder, sync_file, sync_folder
from modelwarden_server.store.parquet import DataFile, file_name, version_of, write_parquet
from modelwarden_server.store.verify import Verdict, entry_path, verify_table, write_mark

CHECKPOINT_EVERY = 20
INSTANT = pa.timestamp("us", "UTC")
_CONFIGURATION = {"delta.checkpointInterval": "1000000"}  # ours are made, and synced, by us


class CommitError(Exception):
    """The commit did not happen; it may be tried again."""


class NotDurableError(Exception):
    """A commit was published but could not be synced: the process must stop and verify at its next start."""


@dataclass(frozen=True)
class TableFile:
    """A file of the table: the version that added it, its name, rows, bytes.

    `newest` has the latest instant of each time column that has any, in microseconds since 1970.
    """

    version: int
    name: str
    rows: int
    size: int
    newest: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Commit:
    """What an append did."""

    version: int
    files: tuple[TableFile, ...]
    rows: int
    seconds: float


class AppendTable:
    """One Delta table, opened for appending by its only writer. See the module's text for the rules."""

    def __init__(self, folder: Path, schema: pa.Schema, plain: frozenset[str], verdict: Verdict) -> None:
        self.folder = folder
        self.schema = schema
        self.verdict = verdict
        self._plain = plain
        self._handle = DeltaTable(str(folder))
        self._files: list[TableFile] = _files_of(self._handle)
        self._rows = sum(f.rows for f in self._files)

    @classmethod
    def open(cls, folder: Path, schema: pa.Schema, plain: frozenset[str] = frozenset()) -> "AppendTable":
        """Create the table in `folder`, or verify and open the one that is there.

        `plain` names text columns that are written without a dictionary (ids). Raises TableDamagedError when
        the files contradict each other, ValueError when the table has another schema.
        """
        verdict = verify_table(folder)
        if verdict.version < 0:
            _create(folder, schema)
        table = cls(folder, schema, plain, verdict)
        have = pa.schema(table._handle.schema().to_arrow())
        if have.names != schema.names or any(
            not _same_type(have.field(n).type, schema.field(n).type) for n in schema.names
        ):
            raise ValueError(f"table {folder.name} has other columns than the model: {have.names}")
        return table

    @property
    def version(self) -> int:
        """The newest version."""
        return int(self._handle.version())

    @property
    def rows(self) -> int:
        """Rows in the table, by the log's own counts."""
        return self._rows

    @property
    def files(self) -> Sequence[TableFile]:
        """All files, oldest first; a snapshot that later appends do not change."""
        return tuple(self._files)

    def transaction(self, app: str) -> int | None:
        """The number last committed under the application id `app`, or None."""
        value = self._handle.transaction_version(app)
        return None if value is None else int(value)

    def files_added(self, since: int) -> list[TableFile]:
        """Files added by versions above `since`, oldest first."""
        return self._files[bisect_right(self._files, since, key=lambda f: f.version) :]

    def stage(self, batches: Iterable[pa.RecordBatch]) -> DataFile:
        """Write one data file and sync it, without committing it: for streams too large to hold."""
        return write_parquet(self.folder, file_name(self.version + 1), batches, self.schema, self._plain)

    def append(self, batches: Iterable[pa.RecordBatch] | pa.Table, transactions: Mapping[str, int]) -> Commit:
        """Write the rows as one file and commit it with `transactions`. Durable when this returns."""
        started = time.perf_counter()
        if isinstance(batches, pa.Table):
            batches = batches.to_batches()
        return self.commit([self.stage(batches)], transactions, started=started)

    def commit(
        self, files: Sequence[DataFile], transactions: Mapping[str, int], *, started: float | None = None
    ) -> Commit:
        """Commit staged `files` (none: only the transactions) as one version. Durable when this returns.

        Raises CommitError (nothing has changed, the staged files are gone) or NotDurableError (stop).
        """
        started = time.perf_counter() if started is None else started
        try:
            self._write_entry(files, transactions)
        except (DeltaError, OSError) as error:
            if not self._happened(files, transactions):
                raise CommitError(f"table {self.folder.name}: {error}") from error
        version = self.version
        try:
            sync_file(entry_path(self.folder, version))
            sync_folder(self.folder / "_delta_log")
        except OSError as error:
            raise NotDurableError(f"table {self.folder.name}, version {version}: {error}") from error
        write_mark_quietly(self.folder, version)
        added = tuple(TableFile(version, f.name, f.rows, f.size, f.newest) for f in files)
        self._files.extend(added)
        self._rows += sum(f.rows for f in added)
        if version % CHECKPOINT_EVERY == 0:
            self._checkpoint(version)
        return Commit(version, added, sum(f.rows for f in added), time.perf_counter() - started)

    def read(
        self, files: Sequence[TableFile], columns: Sequence[str] | None = None
    ) -> Iterable[pa.RecordBatch]:
        """Stream the rows of `files`, a bounded number at a time. Raises OSError or pyarrow.ArrowInvalid."""
        for file in files:
            path = self.folder / file.name
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
                yield from parquet.iter_batches(batch_size=65_536, columns=columns)

    def discard(self, files: Sequence[DataFile]) -> None:
        """Remove staged files that will not be committed."""
        for file in files:
            (self.folder / file.name).unlink(missing_ok=True)

    def _write_entry(self, files: Sequence[DataFile], transactions: Mapping[str, int]) -> None:
        now = int(time.time() * 1000)
        self._handle.create_write_transaction(
            [_add_action(f, now) for f in files],
            "append",
            self.schema,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app, number) for app, number in transactions.items()]
            ),
            post_commithook_properties=PostCommitHookProperties(
                create_checkpoint=False, cleanup_expired_logs=False
            ),
        )
        self._handle.update_incremental()

    def _happened(self, files: Sequence[DataFile], transactions: Mapping[str, int]) -> bool:
        """After a failed commit: whether the table has it all the same. If not, the staged files go."""
        self._handle = DeltaTable(str(self.folder))
        committed = {f.name for f in _files_of(self._handle)}
        if files and committed.issuperset(f.name for f in files):
            return True
        if not files and all(self.transaction(app) == number for app, number in transactions.items()):
            return bool(transactions)
        self.discard(files)
        return False

    def _checkpoint(self, version: int) -> None:
        """A checkpoint makes opening fast; a failed one costs nothing but time, and is tried again later."""
        log = self.folder / "_delta_log"
        try:
            self._handle.create_checkpoint()
            sync_file(log / f"{version:020d}.checkpoint.parquet")
            sync_file(log / "_last_checkpoint")
            sync_folder(log)
            self._handle = DeltaTable(str(self.folder))  # a handle keeps what it read before the checkpoint
        except (DeltaError, OSError):
            (log / "_last_checkpoint").unlink(missing_ok=True)
            (log / f"{version:020d}.checkpoint.parquet").unlink(missing_ok=True)


def write_mark_quietly(folder: Path, version: int) -> None:
    """The mark only saves work at the next start: a full disk must not fail a commit that is durable."""
    try:
        write_mark(folder, version)
    except OSError:
        return


def _create(folder: Path, schema: pa.Schema) -> None:
    """An empty table at version 0, durable when this returns."""
    make_folder(folder / "_delta_log")
    DeltaTable.create(str(folder), schema=schema, configuration=_CONFIGURATION)
    sync_file(entry_path(folder, 0))
    sync_folder(folder / "_delta_log")
    sync_folder(folder)


def _files_of(handle: DeltaTable) -> list[TableFile]:
    actions: Any = pa.table(handle.get_add_actions(flatten=True))
    paths, sizes, rows = (actions.column(n).to_pylist() for n in ("path", "size_bytes", "num_records"))
    newest: list[dict[str, int]] = [{} for _ in paths]
    for name in actions.column_names:
        column = actions.column(name)
        if name.startswith("max.") and pa.types.is_timestamp(column.type):
            for known, value in zip(newest, column.cast(INSTANT).cast(pa.int64()).to_pylist(), strict=True):
                if value is not None:
                    known[name.removeprefix("max.")] = value
    files = [
        TableFile(version_of(path) or 0, path, int(count or 0), int(size), latest)
        for path, size, count, latest in zip(paths, sizes, rows, newest, strict=True)
    ]
    return sorted(files, key=lambda f: (f.version, f.name))


def _add_action(file: DataFile, now_ms: int) -> AddAction:
    return AddAction(
        path=file.name,
        size=file.size,
        partition_values={},
        modification_time=now_ms,
        data_change=True,
        stats=file.stats,
    )


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Delta has one text and one time type: what differs only in the view is the same."""
    if pa.types.is_string(b) or pa.types.is_large_string(b):
        return bool(pa.types.is_string(a) or pa.types.is_large_string(a) or pa.types.is_string_view(a))
    if pa.types.is_list(b):
        listed = pa.types.is_list(a) or pa.types.is_large_list(a) or pa.types.is_list_view(a)
        return bool(listed) and _same_type(a.value_type, b.value_type)
    if pa.types.is_struct(b):
        return bool(pa.types.is_struct(a)) and _same_fields(list(a), list(b))
    return bool(a.equals(b))


def _same_fields(a: Sequence[pa.Field], b: Sequence[pa.Field]) -> bool:
    return [f.name for f in a] == [f.name for f in b] and all(
        _same_type(one.type, other.type) for one, other in zip(a, b, strict=True)
    )
