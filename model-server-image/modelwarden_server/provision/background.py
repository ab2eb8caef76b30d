"""The reference's sample that explanations and the check of `predict` start from: made once a reference.

At most 1000 rows, spread over the whole reference, at places that the content's hash decides: the same
reference gives the same bytes. An Arrow IPC file with the model's inputs by position, then its predicted
attributes. Read in pieces of bounded size, in a thread of its own. Must not judge values.
"""

import logging
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden.resources.attributes import Stage
from modelwarden.resources.cell import CellIdentity, canonical_json, content_hash
from modelwarden.resources.server import ServerFile
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.jobs.reference_sample import chosen_rows
from modelwarden_server.provision.shelf import FileShelf
from modelwarden_server.schema.compiled import ARROW_TYPES

log = logging.getLogger(__name__)
MOST_ROWS: Final = 1000
NAME: Final = "background.arrow"
_ROWS_AT_ONCE: Final = 4096
_AGAIN_SECONDS: Final = 60.0
_FORMAT: Final = 1


@dataclass(frozen=True)
class Sampled:
    """A sample that is there. `key`: of the reference's content and the columns."""

    key: str
    content_hash: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True)
class Reference:
    """The closed dataset that is sampled."""

    content_hash: str
    records: int
    files: tuple[Path, ...]


class Background:
    """The sample of one cell's reference. Thread-safe."""

    def __init__(self, record: Path, files: FileShelf, identity: CellIdentity, clock: Callable[[], float]):
        self._record, self._files, self._clock = record, files, clock
        self._columns = sample_schema(identity)
        self._lock = threading.Lock()
        self._sampled = self._read()
        self._maker: threading.Thread | None = None
        self._problem: tuple[str, str, float] | None = None
        """Of which sample, what, when."""

    def of(self, reference: Reference) -> ServerFile | None:
        """The sample of this reference; None while it is being made. `problem` says what keeps it."""
        with self._lock:
            key = self._key(reference)
            known = self._sampled
            if known is not None and known.key == key:
                return ServerFile(sha256=known.sha256, bytes=known.bytes, name=NAME)
            failed = self._problem
            rests = failed is not None and failed[0] == key and self._clock() < failed[2] + _AGAIN_SECONDS
            if self._maker is None and not rests:
                self._maker = threading.Thread(
                    target=self._make, args=(key, reference), name="background", daemon=True
                )
                self._maker.start()
            return None

    @property
    def problem(self) -> str | None:
        """Why there is none, in a sentence's object."""
        with self._lock:
            return None if self._problem is None else self._problem[1]

    def named(self) -> set[str]:
        """Hashes of the files that are to stay."""
        with self._lock:
            return set() if self._sampled is None else {self._sampled.sha256}

    def close(self) -> None:
        """Wait until nothing is being made: it takes seconds."""
        with self._lock:
            maker = self._maker
        if maker is not None:
            maker.join()

    def _make(self, key: str, reference: Reference) -> None:
        try:
            make_folder(self._record.parent)
            with tempfile.TemporaryFile(dir=self._record.parent) as content:
                rows = write_sample(reference, self._columns, cast("BinaryIO", content))
                with self._files.kept(cast("BinaryIO", content)) as (sha256, size):
                    sampled = Sampled(key, reference.content_hash, sha256, size, rows)
                    replace_file(self._record, msgspec.json.encode(sampled))
                    with self._lock:
                        self._sampled, self._problem = sampled, None
        except (OSError, pa.ArrowException) as error:
            log.warning("the reference cannot be sampled: %s", error)
            why = f"a reference that can be read ({type(error).__name__})"
            with self._lock:
                self._problem = key, why, self._clock()
        finally:
            with self._lock:
                self._maker = None

    def _key(self, reference: Reference) -> str:
        columns = [[f.name, str(f.type)] for f in self._columns]
        told = {"format": _FORMAT, "content": reference.content_hash, "columns": columns, "rows": MOST_ROWS}
        return content_hash(canonical_json(told))

    def _read(self) -> Sampled | None:
        try:
            known = msgspec.json.decode(self._record.read_bytes(), type=Sampled)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return known if self._files.path(known.sha256) is not None else None


def sample_schema(identity: CellIdentity) -> pa.Schema:
    """Inputs by position, then predicted attributes by position; implicit ones are no columns."""
    fields = []
    for stage in (Stage.PIPELINE_INPUT, Stage.PREDICTED_VALUE):
        found = [a for a in identity.attributes if a.stage is stage and not a.implicit]
        found.sort(key=lambda a: a.position)
        fields += [pa.field(a.name, ARROW_TYPES[a.value_type]) for a in found]
    return pa.schema(fields)


def write_sample(reference: Reference, schema: pa.Schema, content: BinaryIO) -> int:
    """Write the sample as an Arrow IPC file; how many rows it has. A column that the reference does not have
    is empty. Raises OSError, pa.ArrowException.
    """
    # Where stretches end within a row, two of them may choose it.
    wanted = np.unique(chosen_rows(reference.records, MOST_ROWS, int(reference.content_hash[:8], 16)))
    parts = list(_parts(reference.files, schema, wanted))
    table = pa.Table.from_batches(parts, schema).combine_chunks()
    with pa.ipc.new_file(pa.PythonFile(content, mode="w"), schema) as writer:
        writer.write_table(table)
    return int(table.num_rows)


def _parts(
    files: Sequence[Path], schema: pa.Schema, wanted: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> list[pa.RecordBatch]:
    parts, start = [], 0
    for path in files:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
            known = [name for name in schema.names if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE, columns=known):
                low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
                if high > low:
                    rows = batch.take(pa.array(wanted[low:high] - start))
                    parts.append(_shaped(rows, schema))
                start += batch.num_rows
    return parts


def _shaped(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    names = rows.schema.names
    return pa.RecordBatch.from_arrays(
        [
            rows.column(names.index(f.name)).cast(f.type)
            if f.name in names
            else pa.nulls(rows.num_rows, f.type)
            for f in schema
        ],
        schema=schema,
    )
