"""Files of rows that are complete and synced before the log names them: what an uploaded file becomes.

A staged file lies in `<data>/staged/<name>`, has every column of its table, and is part of nothing until a
FILE record of the log names it; the writer then links it into the table. Must not judge rows.
"""

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden_server.durable import make_folder, sync_folder
from modelwarden_server.store.parquet import DataFile, Statistics, dictionary_columns

TableName = Literal["inferences", "ground_truth"]
_BUFFER = 1 << 20


class StagedFile(msgspec.Struct, frozen=True, rename="camel"):
    """One staged file, as a FILE record carries it (JSON). `newest`: see DataFile; `arrival` is microseconds
    since 1970; `sampled_out` counts rows of the upload that were left out by sampling; `batch_id` is set when
    all rows are of one batch.
    """

    table: TableName
    name: str
    rows: int
    size: int
    stats: str
    newest: Mapping[str, int]
    arrival: int
    generation: int
    sampled_out: int = 0
    batch_id: str | None = None

    @property
    def data_file(self) -> DataFile:
        """The same file as a table takes it in."""
        return DataFile(self.name, self.size, self.rows, self.stats, self.newest)

    def encode(self) -> bytes:
        """The payload of its FILE record."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, payload: bytes | memoryview) -> "StagedFile":
        """The file that a record names. Raises msgspec.DecodeError."""
        return msgspec.json.decode(payload, type=cls)


def staged_name() -> str:
    """A name that no other file has."""
    return f"file-{uuid.uuid4().hex}.parquet"


class StagedWriter:
    """A staged file in the making: piece by piece, each a row group, so that no more than a piece is held."""

    def __init__(self, folder: Path, schema: pa.Schema, plain: frozenset[str]) -> None:
        make_folder(folder)
        self.name = staged_name()
        self._folder, self._schema = folder, schema
        self._statistics = Statistics()
        self._raw: IO[bytes] = (folder / self.name).open("xb", buffering=0)
        self._buffered = pa.BufferedOutputStream(pa.PythonFile(self._raw, mode="w"), _BUFFER)
        self._writer = pq.ParquetWriter(
            self._buffered,
            schema,
            version="2.6",
            compression="zstd",
            compression_level=1,
            use_dictionary=dictionary_columns(schema, plain),
        )

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return self._statistics.rows

    def write(self, batch: pa.RecordBatch) -> None:
        """Write rows with all columns of the table. Raises OSError (a full disk)."""
        if batch.num_rows:
            self._statistics.add(batch)
            self._writer.write_batch(batch)

    def finish(self) -> DataFile:
        """Complete, sync and close the file. On an error it is gone and the error raised."""
        path = self._folder / self.name
        try:
            self._writer.close()
            self._buffered.flush()
            self._buffered.detach()
            os.fsync(self._raw.fileno())
            self._raw.close()
            sync_folder(self._folder)
        except BaseException:
            self.discard()
            raise
        newest = {column: bounds[1] for column, bounds in self._statistics.bounds.items()}
        return DataFile(self.name, path.stat().st_size, self.rows, self._statistics.json(), newest)

    def discard(self) -> None:
        """Remove the file, complete or not."""
        self._raw.close()
        (self._folder / self.name).unlink(missing_ok=True)
