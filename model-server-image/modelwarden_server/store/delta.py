"""A Delta table that only we write: parquet, fsync, one commit, fsync, and nothing else.

The one way rows get into any table of a cell (inferences, ground truth, reference sets, partials). Must
not know what the rows mean. One process writes (the store's lock); its writer appends and its maintenance
replaces files, one commit at a time; any thread may read the list of files.

    table = AppendTable.open(folder, schema, plain=frozenset({"partner_inference_id"}))
    if (table.transaction("log-7f3a") or 0) < position:
        table.append(batches, {"log-7f3a": position})

`transactions` are Delta `txn` actions: an application id and a number, written in the same atomic entry
as the files. They carry log positions (exactly-once) and running counters (they survive every crash with
the rows they count). Checkpoints come every 20 versions: without them a commit took 120 ms after 400
versions, with them 15.
"""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction, Transaction

from modelwarden_server.durable import make_folder, sync_file, sync_folder
from modelwarden_server.store.actions import (
    Commit,
    Replacement,
    TableFile,
    add_action,
    by_age,
    files_of,
    remove_action,
    same_type,
)
from modelwarden_server.store.parquet import DataFile, file_name, origin_of, version_of, write_parquet
from modelwarden_server.store.verify import Verdict, entry_path, verify_table, write_mark

__all__ = ["AppendTable", "Commit", "CommitError", "NotDurableError", "Replacement", "TableFile"]

CHECKPOINT_EVERY = 20
_CONFIGURATION = {
    "delta.checkpointInterval": "1000000",  # ours are made, and synced, by us
    # For a week, the default, each checkpoint would list all files ever merged: after 5000 commits ten times
    # as much as there is. We remove them ourselves, sooner (`vacuum`).
    "delta.deletedFileRetentionDuration": "interval 1 hours",
}


class CommitError(Exception):
    """The commit did not happen; it may be tried again."""


class OtherColumnsError(ValueError):
    """The table that is there has other columns than it should."""


class NotDurableError(Exception):
    """A commit was published but could not be synced: the process must stop and verify at its next start."""


class AppendTable:
    """One Delta table, opened for appending by its only writer. See the module's text for the rules."""

    def __init__(self, folder: Path, schema: pa.Schema, plain: frozenset[str], verdict: Verdict) -> None:
        self.folder = folder
        self.schema = schema
        self.verdict = verdict
        self._plain = plain
        self.turn = threading.RLock()
        """Held while files for the next version are named and committed. What takes long is staged before."""
        self._handle = DeltaTable(str(folder))
        self._files: tuple[TableFile, ...] = tuple(files_of(self._handle))
        self._rows = sum(f.rows for f in self._files)
        self._replaced: list[tuple[float, str]] = []
        self._not_durable: str | None = None

    @classmethod
    def open(cls, folder: Path, schema: pa.Schema, plain: frozenset[str] = frozenset()) -> "AppendTable":
        """Create the table in `folder`, or verify and open the one that is there.

        `plain` names text columns that are written without a dictionary (ids). Raises TableDamagedError when
        the files contradict each other, OtherColumnsError when the table has another schema.
        """
        verdict = verify_table(folder)
        if verdict.version < 0:
            _create(folder, schema)
        table = cls(folder, schema, plain, verdict)
        have = pa.schema(table._handle.schema().to_arrow())
        if have.names != schema.names or any(
            not same_type(have.field(n).type, schema.field(n).type) for n in schema.names
        ):
            raise OtherColumnsError(f"table {folder.name} has other columns than the model: {have.names}")
        table._remove_unnamed()
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
        """All files, oldest first; a snapshot that later commits do not change."""
        return self._files

    def transaction(self, app: str) -> int | None:
        """The number last committed under the application id `app`, or None."""
        value = self._handle.transaction_version(app)
        return None if value is None else int(value)

    def files_added(self, since: int) -> list[TableFile]:
        """Files added by versions above `since`, oldest first."""
        files = self._files
        return list(files[bisect_right(files, since, key=lambda f: f.version) :])

    def stage(self, batches: Iterable[pa.RecordBatch], origin: int | None = None) -> DataFile:
        """Write one data file and sync it, without committing it: for streams too large to hold. New rows are
        staged within `turn`, so that the file is named for the version it is committed as.

        `origin` is the version that first added the rows, when they are written anew.
        """
        name = file_name(self.version + 1, origin)
        return write_parquet(self.folder, name, batches, self.schema, self._plain)

    def link(self, path: Path, file: DataFile) -> DataFile:
        """Bring a complete and synced file from elsewhere on the volume into the folder, to be committed
        within the same `turn`.

        The file stays where it is as well. Raises OSError.
        """
        name = file_name(self.version + 1)
        os.link(path, self.folder / name)
        sync_folder(self.folder)
        return replace(file, name=name)

    def append(self, batches: Iterable[pa.RecordBatch] | pa.Table, transactions: Mapping[str, int]) -> Commit:
        """Write the rows as one file and commit it with `transactions`. Durable when this returns."""
        started = time.perf_counter()
        if isinstance(batches, pa.Table):
            batches = batches.to_batches()
        with self.turn:
            return self.commit([self.stage(batches)], transactions, started=started)

    def commit(
        self, files: Sequence[DataFile], transactions: Mapping[str, int], *, started: float | None = None
    ) -> Commit:
        """Commit staged `files` (none: only the transactions) as one version. Durable when this returns.

        Raises CommitError (nothing has changed, the staged files are gone) or NotDurableError (stop).
        """
        started = time.perf_counter() if started is None else started
        change = Replacement((), files, rows_change=True)
        with self.turn:
            return self._commit(change, transactions, started)

    def replace(self, change: Replacement, transactions: Mapping[str, int]) -> Commit:
        """Put staged files in the place of others, as one version. Durable when this returns.

        A file without rows is left out. The old ones stay on the disk until `vacuum`. Raises as `commit`, and
        CommitError if one of the old files is no longer in the table.
        """
        started = time.perf_counter()
        self.discard([file for file in change.new if not file.rows])
        change = replace(change, new=[file for file in change.new if file.rows])
        with self.turn:
            if not set(change.gone) <= set(self._files):
                self.discard(change.new)
                raise CommitError(f"table {self.folder.name}: files to replace are not there any more")
            return self._commit(change, transactions, started)

    def vacuum(self, grace: float) -> int:
        """Remove files that were replaced more than `grace` seconds ago; returns how many. Raises OSError."""
        now = time.monotonic()
        with self.turn:
            due = [name for at, name in self._replaced if now - at >= grace]
            self._replaced = [(at, name) for at, name in self._replaced if now - at < grace]
        for name in due:
            (self.folder / name).unlink(missing_ok=True)
        return len(due)

    @property
    def replaced(self) -> int:
        """Files that wait for `vacuum`."""
        return len(self._replaced)

    def trim_log(self, older_than: float) -> int:
        """Remove entries of the log that two checkpoints make needless, and checkpoints before those, once
        they are `older_than` seconds old; returns how many files. Raises OSError.
        """
        log = self.folder / "_delta_log"
        checkpoints = sorted(p for p in log.glob("*.checkpoint.parquet"))
        if len(checkpoints) < 2:
            return 0
        oldest = checkpoints[-2].name.split(".")[0]
        now = time.time()
        needless = [
            path
            for path in (*log.glob("*.json"), *checkpoints)
            if path.name[0].isdigit()
            and path.name.split(".")[0] < oldest
            and abs(now - path.stat().st_mtime) >= older_than
        ]
        for path in sorted(needless):
            path.unlink()
        return len(needless)

    def _commit(self, change: Replacement, transactions: Mapping[str, int], started: float) -> Commit:
        if self._not_durable is not None:  # an entry that may vanish must not have a later one after it
            raise NotDurableError(self._not_durable)
        try:
            self._write_entry(change, transactions)
        except (DeltaError, OSError) as error:
            if not self._happened(change, transactions):
                raise CommitError(f"table {self.folder.name}: {error}") from error
        version = self.version
        try:
            sync_file(entry_path(self.folder, version))
            sync_folder(self.folder / "_delta_log")
        except OSError as error:
            self._not_durable = f"table {self.folder.name}, version {version}: {error}"
            raise NotDurableError(self._not_durable) from error
        write_mark_quietly(self.folder, version)
        added = tuple(
            TableFile(origin_of(f.name) or version, f.name, f.rows, f.size, f.newest) for f in change.new
        )
        if change.gone:
            gone = set(change.gone)
            kept = [file for file in self._files if file not in gone]
            self._files = tuple(sorted([*kept, *added], key=by_age))
            self._replaced += [(time.monotonic(), file.name) for file in change.gone]
        else:
            self._files = (*self._files, *sorted(added, key=by_age))
        self._rows += sum(f.rows for f in added) - sum(f.rows for f in change.gone)
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

    def _write_entry(self, change: Replacement, transactions: Mapping[str, int]) -> None:
        now = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [add_action(f, now, change) for f in change.new]
        actions += [remove_action(f, now, change) for f in change.gone]
        self._handle.create_write_transaction(
            actions,
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

    def _happened(self, change: Replacement, transactions: Mapping[str, int]) -> bool:
        """After a failed commit: whether the table has it all the same. If not, the staged files go."""
        self._handle = DeltaTable(str(self.folder))
        committed = {f.name for f in files_of(self._handle)}
        if change.new and committed.issuperset(f.name for f in change.new):
            return True
        if change.gone and not change.new and committed.isdisjoint(f.name for f in change.gone):
            return True
        if not (change.new or change.gone):
            return bool(transactions) and all(
                self.transaction(app) == number for app, number in transactions.items()
            )
        self.discard(change.new)
        return False

    def _remove_unnamed(self) -> None:
        """Remove data files that the table does not name: replaced ones, and new ones without a commit. Only
        when it is opened, because nobody reads then.
        """
        named = {file.name for file in self._files}
        for path in self.folder.iterdir():
            if version_of(path.name) is not None and path.name not in named:
                path.unlink()

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
