"""The data of one cell on its volume: the log, the tables, the ids and the counts, opened in that order.

`Store.open` is where a cell learns after a crash what it has. Must not know HTTP. Everything under the
folder belongs to it; the caller holds the volume's lock.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelwarden_server.log.protocol import Kind
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME, ID, IDENTITY, CompiledSchema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys, unpacked
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.id_journal import IdJournal
from modelwarden_server.store.ids import IdIndex, SortedIdIndex
from modelwarden_server.store.ledger import Ledger, Totals
from modelwarden_server.store.writer import (
    ACKNOWLEDGED,
    DEFAULT_PACE,
    REFUSED,
    SAMPLED_OUT,
    Pace,
    Tables,
    Writer,
)

log = logging.getLogger(__name__)
_MINUTE = 60_000_000
_BLOCK_ROWS = 1 << 19
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
    def artefacts(self) -> Path:
        """What Jobs made, by kind and hash."""
        return self.root / "artefacts"


@dataclass
class Store:
    """What a recovered cell works with. Make it with `open`."""

    folders: Folders
    schema: CompiledSchema
    log: SegmentLog
    tables: Tables
    writer: Writer
    ledger: Ledger
    ids: IdIndex
    digester: RowDigester
    clock: Clock
    warning: str | None = None

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
            AppendTable.open(folders.table("inferences"), schema.inference_table, frozenset({ID})),
            AppendTable.open(folders.table("ground_truth"), schema.truth_table, frozenset({ID})),
            IdJournal(folders.root / "index" / "ids"),
        )
        progress("reading the log")
        source = SegmentLog.open(
            folders.log, schema.fingerprint, lambda identity: tables.inferences.transaction(identity) or 0
        )
        ledger = Ledger(clock)
        digester = RowDigester(schema.inference_record, but=ID)
        writer = Writer(source, tables, schema, ledger, pace)
        store = cls(folders, schema, source, tables, writer, ledger, SortedIdIndex(), digester, clock)
        store._recover(progress)
        source.observe(ledger.durable, writer.wake)
        return store

    def close(self, timeout: float) -> bool:
        """Bring what waits into the tables and release everything; False if rows stay in the log."""
        done = self.writer.close(timeout)
        self.log.close()
        return done

    def identify(self, rows: pa.RecordBatch) -> tuple[Words, Words]:
        """Keys and digests of rows of a request or of the table."""
        return id_keys(rows.column(ID).to_pylist()), self.digester.digests(rows)

    def _recover(self, progress: Progress) -> None:
        table = self.tables.inferences
        self.ledger.restore(
            Totals(
                acknowledged=table.transaction(ACKNOWLEDGED) or 0,
                stored=table.rows,
                sampled_out=table.transaction(SAMPLED_OUT) or 0,
                refused=table.transaction(REFUSED) or 0,
                labels=self.tables.truth.rows,
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
        tail = 0
        for record in self.log.read(self.writer.position):
            self.ledger.durable([record])
            if record.kind is Kind.INFERENCES and record.rows:
                batch = pa.ipc.read_record_batch(pa.py_buffer(record.payload), self.schema.inference_log)
                self._add(unpacked(batch.column(IDENTITY)))
                tail += record.rows
        log.info("recovered %d rows from the tables and %d from the log", table.rows, tail)

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
        """The index of ids: from the journal as far as it goes, else from the rows of the table."""
        table = self.tables.inferences
        files = table.files
        found, covered = self.tables.journal.load(files)
        block: list[Words] = []
        for rows in found:
            block.append(rows)
            if sum(map(len, block)) >= _BLOCK_ROWS:
                self._add(np.concatenate(block))
                block = []
        if block:
            self._add(np.concatenate(block))
        for file in files:
            if file.version not in covered:
                progress(f"reading the ids of {len(self.ids)} of {table.rows} rows")
                parts = []
                for batch in table.read([file], self.schema.inference_record.names):
                    parts.append(np.concatenate(self.identify(batch), axis=1))
                    self._add(parts[-1])
                self.tables.journal.append(file, parts)

    def _add(self, rows: Words) -> None:
        self.ids.add(rows[:, :2], rows[:, 2:])
