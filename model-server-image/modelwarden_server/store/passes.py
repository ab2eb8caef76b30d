"""What one pass of the writer takes from the log: rows, staged files, closed batches, and where it ends.

Must not write anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa

from modelwarden_server.log.protocol import Kind, Log, Record
from modelwarden_server.schema.compiled import ARRIVAL_TIME, GENERATION, INSTANT, CompiledSchema
from modelwarden_server.store.staged import StagedFile

MOST_ROWS = 100_000
MOST_BYTES = 64 << 20
MOST_FILES = 64


@dataclass
class Pass:
    """The records above `after`, up to `through`. `rows` counts inferences, those in files included."""

    after: int
    through: int
    inferences: list[pa.RecordBatch] = field(default_factory=list)
    files: list[StagedFile] = field(default_factory=list)
    labels: list[pa.RecordBatch] = field(default_factory=list)
    label_files: list[StagedFile] = field(default_factory=list)
    label_rows: int = 0
    batches: list[Mapping[str, Any]] = field(default_factory=list)
    rows: int = 0
    sampled_out: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it holds as much as a pass may."""
        files = len(self.files) + len(self.label_files)
        return self.rows + self.label_rows >= MOST_ROWS or self.bytes >= MOST_BYTES or files >= MOST_FILES


def take(source: Log, schema: CompiledSchema, position: int, labels_position: int) -> Pass:
    """What lies above `position`, bounded; labels only above `labels_position`. Raises LogDamagedError."""
    taken = Pass(position, position)
    for record in source.read(position):
        taken.through = record.sequence
        taken.bytes += len(record.payload)
        _take(taken, record, schema, labels=record.sequence > labels_position)
        if taken.full:
            break
    return taken


def _take(taken: Pass, record: Record, schema: CompiledSchema, *, labels: bool) -> None:
    if record.kind is Kind.INFERENCES:
        taken.rows += record.rows
        taken.sampled_out += record.sampled_out
        if record.rows:
            batch = _read(record, schema.inference_log)
            taken.inferences.append(completed(batch, record, schema.inference_table))
    elif record.kind is Kind.GROUND_TRUTH:
        if labels and record.rows:
            batch = _read(record, schema.truth_record)
            taken.labels.append(completed(batch, record, schema.truth_table))
            taken.label_rows += record.rows
    elif record.kind is Kind.FILE:
        staged = StagedFile.decode(record.payload)
        if staged.table == "inferences":
            taken.rows += staged.rows
            taken.sampled_out += staged.sampled_out
            if staged.rows:
                taken.files.append(staged)
        elif labels and staged.rows:
            taken.label_files.append(staged)
            taken.label_rows += staged.rows
    elif record.kind is Kind.BATCH:
        taken.batches.append(msgspec.json.decode(record.payload))


def completed(batch: pa.RecordBatch, record: Record, table: pa.Schema) -> pa.RecordBatch:
    """A record's rows with the columns that the record carries once for all of them."""
    once = {
        ARRIVAL_TIME: pa.repeat(pa.scalar(record.arrival, INSTANT), batch.num_rows),
        GENERATION: pa.repeat(pa.scalar(record.generation, pa.int64()), batch.num_rows),
    }
    columns = [once[name] if name in once else batch.column(name) for name in table.names]
    return pa.RecordBatch.from_arrays(columns, schema=table)


def joined(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """One chunk a column: parquet makes a row group of every chunk it is given."""
    return pa.Table.from_batches(batches).combine_chunks()


def _read(record: Record, schema: pa.Schema) -> pa.RecordBatch:
    return pa.ipc.read_record_batch(pa.py_buffer(record.payload), schema)
