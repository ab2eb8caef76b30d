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
import pyarrow.compute as pc

from modelwarden_server.log.protocol import Kind
from modelwarden_server.log.segments import SegmentLog
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME, ID, CompiledSchema
from modelwarden_server.schema.digest import RowDigester, Words, id_keys
from modelwarden_server.schema.instants import bounds
from modelwarden_server.store.delta import AppendTable
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
        self._recover_ids(progress)
        tail = 0
        for record in self.log.read(self.writer.position):
            self.ledger.durable([record])
            if record.kind is Kind.INFERENCES and record.rows:
                batch = pa.ipc.read_record_batch(pa.py_buffer(record.payload), self.schema.inference_record)
                self.ids.add(*self.identify(batch))
                tail += record.rows
        log.info("recovered %d rows from the tables and %d from the log", table.rows, tail)

    def _recover_ids(self, progress: Progress) -> None:
        """Ids, newest instants and the arrivals of the last hour, from the rows of the table."""
        table = self.tables.inferences
        columns = [*self.schema.inference_record.names, ARRIVAL_TIME]
        recent = int((self.clock() // 60 - 60) * _MINUTE)
        newest_event, newest_arrival, done = None, None, 0
        for batch in table.read(table.files, columns):
            self.ids.add(*self.identify(batch))
            done += batch.num_rows
            progress(f"reading the ids of {done} of {table.rows} rows")
            event, arrival = bounds(batch.column(EVENT_TIME))[1], bounds(batch.column(ARRIVAL_TIME))[1]
            newest_event = event if newest_event is None else max(event, newest_event)
            newest_arrival = arrival if newest_arrival is None else max(arrival, newest_arrival)
            if arrival >= recent:
                self._count_arrivals(batch.column(ARRIVAL_TIME).view(pa.int64()), recent)
        self.ledger.restore(
            replace(self.ledger.totals, newest_event=newest_event, newest_arrival=newest_arrival)
        )

    def _count_arrivals(self, arrivals: pa.Array, recent: int) -> None:
        late = arrivals.filter(pc.greater_equal(arrivals, recent)).to_numpy()
        minutes, counts = np.unique(late // _MINUTE, return_counts=True)
        for minute, rows in zip(minutes.tolist(), counts.tolist(), strict=True):
            self.ledger.arrived(minute, rows)
