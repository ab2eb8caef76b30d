"""The data of one cell on its volume: the log, the tables, the ids and the counts, opened in that order.

`Store.open` is where a cell learns after a crash what it has. Must not know HTTP. Everything under the
folder belongs to it; the caller holds the volume's lock.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden_server.durable import make_folder
from modelwarden_server.log.protocol import Kind, LogFullError, Record
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME, ID, IDENTITY, CompiledSchema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys, unpacked
from modelwarden_server.store.bare import give_way
from modelwarden_server.store.delta import AppendTable, OtherColumnsError
from modelwarden_server.store.id_index import Reach, TieredIdIndex
from modelwarden_server.store.ledger import Ledger, Totals, is_of_labels
from modelwarden_server.store.maintenance import Maintenance
from modelwarden_server.store.secret import hash_secret
from modelwarden_server.store.staged import StagedFile
from modelwarden_server.store.tombstones import Tombstones
from modelwarden_server.store.writer import (
    ACKNOWLEDGED,
    DEFAULT_PACE,
    FORGOTTEN,
    REFUSED,
    RETIRED,
    SAMPLED_OUT,
    Pace,
    Tables,
    Writer,
)

log = logging.getLogger(__name__)
_MINUTE = 60_000_000
Progress = Callable[[str], None]
Clock = Callable[[], float]


def _silent(_what: str) -> None:
    """Progress that nobody asks for."""


@dataclass(frozen=True)
class Folders:
    """Where on the volume everything is."""

    root: Path

    @property
    def log(self) -> Path:
        """The log's segments."""
        return self.root / "log"

    def table(self, name: str) -> Path:
        """One Delta table."""
        return self.root / "tables" / name

    @property
    def staged(self) -> Path:
        """Files of rows that a record of the log names, or that are being made."""
        return self.root / "staged"

    @property
    def ids(self) -> Path:
        """The index of ids."""
        return self.root / "index" / "ids"

    @property
    def forget(self) -> Path:
        """Requests to forget, and tombstones."""
        return self.root / "forget"

    @property
    def artefacts(self) -> Path:
        """What Jobs made, by kind and hash."""
        return self.root / "artefacts"


def _opened(folder: Path, schema: pa.Schema) -> AppendTable:
    """The table, made new where the one of a model that had no attributes gives way to it."""
    try:
        return AppendTable.open(folder, schema, frozenset({ID}))
    except OtherColumnsError:
        if not give_way(folder, schema):
            raise
        return AppendTable.open(folder, schema, frozenset({ID}))


@dataclass
class Store:
    """What a recovered cell works with. Make it with `open`."""

    folders: Folders
    schema: CompiledSchema
    log: SegmentLog
    tables: Tables
    writer: Writer
    ledger: Ledger
    ids: TieredIdIndex
    digester: RowDigester
    clock: Clock
    maintenance: Maintenance
    tombstones: Tombstones
    secret: bytes
    """What sensitive values are hashed with."""
    on_forget: list[Callable[[Words], None]] = field(default_factory=list)
    """Told of the keys of ids whose rows have been deleted; durable when it returns, and maybe told twice."""
    warning: str | None = None
    _last_arrival: int = field(default=0, init=False)

    @classmethod
    def open(
        cls,
        root: Path,
        schema: CompiledSchema,
        pace: Pace = DEFAULT_PACE,
        progress: Progress = _silent,
        clock: Clock = time.time,
    ) -> "Store":
        """Recover what is in `root`, or make it new. The writer is not started yet.

        Raises TableDamagedError, LogDamagedError, OSError or ValueError (another schema): then the cell
        cannot serve, and the message says precisely why.
        """
        folders = Folders(root)
        progress("verifying the tables")
        tables = Tables(
            _opened(folders.table("inferences"), schema.inference_table),
            _opened(folders.table("ground_truth"), schema.truth_table),
            folders.staged,
        )
        progress("reading the log")
        source = SegmentLog.open(
            folders.log, schema.fingerprint, lambda identity: tables.inferences.transaction(identity) or 0
        )
        ledger = Ledger(clock)
        digester = RowDigester(schema.inference_record, but=ID)
        writer = Writer(source, tables, schema, ledger, pace)
        tombstones = Tombstones(folders.forget / "tombstones")
        ids = TieredIdIndex(folders.ids, tombstones)
        upkeep = Maintenance(tables, ledger, writer.listeners, lambda: ids.kept_version, clock)
        secret = hash_secret(folders.root)
        store = cls(
            folders, schema, source, tables, writer, ledger, ids, digester, clock, upkeep, tombstones, secret
        )
        store._recover(progress)
        source.observe(store._durable, writer.wake)
        writer.reached = lambda position, version: ids.committed(Reach(source.identity, position, version))
        return store

    def start(self) -> None:
        """Begin to write what waits in the log."""
        self.ids.start()
        self.writer.start()
        self.maintenance.start()

    def close(self, timeout: float) -> bool:
        """Bring what waits into the tables and release everything; False if rows stay in the log."""
        self.maintenance.stop()
        done = self.writer.close(timeout)
        self.log.close()
        self.ids.stop()
        return done

    def arrival(self) -> int:
        """The arrival time of what is taken in now, in microseconds since 1970: later than any before, even
        after the clock was set back, because of two labels the one that arrived later counts.
        """
        self._last_arrival = max(int(self.clock() * 1e6), self._last_arrival + 1)
        return self._last_arrival

    def take_file(self, staged: StagedFile) -> "Future[int]":
        """Take in the rows of a file that lies complete and synced in the folder of staged files.

        The future is done when it is durable that they will be in the table. If it fails because the volume
        is full, the file is gone; if the log has failed, nobody knows, and the next start finds out.
        For a file of inferences, name its overlay before (`ids.name`): the ids become known with the file.
        """
        record = Record(
            Kind.FILE,
            staged.rows,
            staged.encode(),
            staged.arrival,
            staged.generation,
            staged.sampled_out,
        )
        done: Future[int] = Future()
        done.set_running_or_notify_cancel()

        def settled(written: "Future[int]") -> None:
            error = written.exception()
            if error is None:
                done.set_result(written.result())
                return
            if isinstance(error, LogFullError):
                self.ids.settle(staged.name, durable=False)
                (self.folders.staged / staged.name).unlink(missing_ok=True)
            done.set_exception(error)

        self.log.append([record]).add_done_callback(settled)
        return done

    def identify(self, rows: pa.RecordBatch) -> tuple[Words, Words]:
        """Keys and digests of rows of a request or of the table."""
        return id_keys(rows.column(ID).to_pylist()), self.digester.digests(rows)

    def _durable(self, records: list[Record]) -> None:
        """Records are durable: their ids are known before anybody else hears of them. By the log's thread."""
        for record in records:
            if record.kind is Kind.INFERENCES and record.rows:
                rows = self._identities(record)
                self.ids.add(rows[:, :2], rows[:, 2:])
            elif record.kind is Kind.FILE:
                self.ids.settle(StagedFile.decode(record.payload).name, durable=True)
        self.ledger.durable(records)

    def _identities(self, record: Record) -> Words:
        batch = pa.ipc.read_record_batch(pa.py_buffer(record.payload), self.schema.inference_log)
        return unpacked(batch.column(IDENTITY))

    def _recover(self, progress: Progress) -> None:
        table, truth = self.tables.inferences, self.tables.truth
        gone = [t.transaction(app) or 0 for t in (table, truth) for app in (RETIRED, FORGOTTEN)]
        self.ledger.restore(
            Totals(
                acknowledged=table.transaction(ACKNOWLEDGED) or 0,
                stored=table.rows + gone[0] + gone[1],
                sampled_out=table.transaction(SAMPLED_OUT) or 0,
                refused=table.transaction(REFUSED) or 0,
                labels=truth.rows + gone[2] + gone[3],
                labels_stored=truth.rows + gone[2] + gone[3],
                retired=gone[0],
                forgotten=gone[1],
            )
        )
        if not self.ledger.totals.balanced:
            t = self.ledger.totals
            self.warning = (
                f"the table of inferences has {t.stored} rows, but {t.acknowledged - t.sampled_out} were"
                f" acknowledged and written: look for removed or foreign files in {table.folder}"
            )
            log.error("%s", self.warning)
        self._recover_times()
        self._recover_ids(progress)
        tail = self._recover_log(progress)
        self._last_arrival = self.ledger.totals.newest_arrival or 0
        log.info("recovered %d rows from the tables and %d from the log", table.rows, tail)

    def _recover_log(self, progress: Progress) -> int:
        """Count what the log has and the tables have not, and add its ids; returns the rows."""
        tail, waiting = 0, set()
        for record in self.log.read(self.writer.position):
            progress(f"reading the log: {tail} rows")
            if is_of_labels(record) and record.sequence <= self.writer.labels_position:
                continue
            self.ledger.durable([record])
            if record.kind is Kind.INFERENCES and record.rows:
                self.ids.add_missing(self._identities(record))
                tail += record.rows
            elif record.kind is Kind.FILE:
                staged = StagedFile.decode(record.payload)
                waiting.add(staged.name)
                if staged.table == "inferences":
                    self._add_ids_of(self._rows_of(staged))
                    tail += staged.rows
        self._remove_unnamed(waiting)
        return tail

    def _rows_of(self, staged: StagedFile) -> Iterator[pa.RecordBatch]:
        path = self.folders.staged / staged.name
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield from parquet.iter_batches(batch_size=65_536, columns=self.schema.inference_record.names)

    def _remove_unnamed(self, waiting: set[str]) -> None:
        """Staged files that no record names were being made when the process ended, or are in the tables."""
        make_folder(self.folders.staged)
        for path in self.folders.staged.iterdir():
            if path.name not in waiting:
                path.unlink()

    def _recover_times(self) -> None:
        """Newest instants, and the arrivals of the last hour: a file's rows arrived within one pace."""
        recent = int(self.clock() // 60 - 60)
        newest: dict[str, int] = {}
        for file in self.tables.inferences.files:
            for column, instant in file.newest.items():
                newest[column] = max(instant, newest.get(column, instant))
            minute = file.newest.get(ARRIVAL_TIME, 0) // _MINUTE
            if minute > recent:
                self.ledger.arrived(minute, file.rows)
        self.ledger.restore(
            replace(
                self.ledger.totals,
                newest_event=newest.get(EVENT_TIME),
                newest_arrival=newest.get(ARRIVAL_TIME),
            )
        )

    def _recover_ids(self, progress: Progress) -> None:
        """The index of ids: what was kept of it, and the rows of the table above that."""
        table = self.tables.inferences
        reach = Reach(self.log.identity, self.writer.position, table.version)
        known = self.ids.load(reach)
        for file in table.files_added(known):
            progress(f"reading the ids of {len(self.ids)} of {table.rows} rows")
            self._add_ids_of(table.read([file], self.schema.inference_record.names))
        self.ids.committed(reach)

    def _add_ids_of(self, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            self.ids.add_missing(np.concatenate(self.identify(batch), axis=1))
