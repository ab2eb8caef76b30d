"""A parquet file as pieces of a bounded size, whatever its row groups are: read forward once, flat columns.

A row group of a gigabyte is read page by page. Texts in dictionaries are measured before they are written
out: a small file can name one long text in millions of rows. Must not judge values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BufferedRandom

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PARQUET_MAGIC = b"PAR1"
PIECE_BYTES = 8 << 20
PIECE_ROWS = 65_536
_BUFFERS = 32 << 20
_LEAST_BUFFER, _MOST_BUFFER = 16 << 10, 1 << 20


class UnreadableFileError(ValueError):
    """The file as a whole cannot be taken: a 400. The message says why and what to send."""


class OversizedFileError(ValueError):
    """The file as a whole is larger than a limit: a 413. The message names the limit."""


@dataclass(frozen=True, slots=True)
class ParquetLimits:
    """Most columns, row groups and unpacked bytes of one file."""

    columns: int
    row_groups: int
    unpacked_bytes: int


class ParquetPieces:
    """One parquet file. `nested` names struct columns whose fields count as columns of the file."""

    def __init__(self, content: BufferedRandom, nested: Sequence[str], limits: ParquetLimits) -> None:
        self._content = content
        self._nested = tuple(nested)
        try:
            with pq.ParquetFile(content, pre_buffer=False) as file:
                self._metadata = file.metadata
                self._plain = file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(error) from None
        _check(self._metadata, limits)
        self.schema = pa.schema(list(_flat_fields(self._plain, self._nested)))
        twice = sorted({name for name in self.schema.names if self.schema.names.count(name) > 1})
        if twice:
            raise UnreadableFileError(f"columns are there twice: {', '.join(map(ascii, twice[:10]))}")

    @property
    def rows(self) -> int:
        """Rows according to the file's footer."""
        return int(self._metadata.num_rows)

    def pieces(self, wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows in order, of the columns in `wanted` that the file has. Raises UnreadableFileError."""
        names = [name for name in self.schema.names if name in set(wanted)]
        inner = {f.name for f in self._plain if f.name not in self._nested}
        columns = [n for n in names if n in inner]
        columns += [f"{parent}.{n}" for parent in self._nested_here() for n in self._fields(parent, names)]
        try:
            with pq.ParquetFile(
                self._content,
                pre_buffer=False,
                buffer_size=_buffer_size(len(columns)),
                read_dictionary=self._in_dictionaries(columns),
            ) as file:
                for batch in file.iter_batches(self._rows_at_once(), columns=columns):
                    yield from _pieces(_flattened(batch, self._nested).select(names))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(error) from None

    def _nested_here(self) -> list[str]:
        return [f.name for f in self._plain if f.name in self._nested and pa.types.is_struct(f.type)]

    def _fields(self, parent: str, names: list[str]) -> list[str]:
        return [field.name for field in self._plain.field(parent).type if field.name in names]

    def _rows_at_once(self) -> int:
        unpacked = sum(_unpacked(self._metadata))
        a_row = max(1, unpacked // max(1, self._metadata.num_rows))
        return int(min(PIECE_ROWS, max(64, PIECE_BYTES // a_row)))

    def _in_dictionaries(self, columns: Sequence[str]) -> list[str]:
        """Text columns that some row group holds in a dictionary."""
        texts = {f.name for f in self._plain if pa.types.is_string(f.type) or pa.types.is_binary(f.type)}
        texts |= {
            f"{parent}.{f.name}"
            for parent in self._nested_here()
            for f in self._plain.field(parent).type
            if pa.types.is_string(f.type)
        }
        found: set[str] = set()
        for group in range(min(self._metadata.num_row_groups, 8)):
            row_group = self._metadata.row_group(group)
            for number in range(row_group.num_columns):
                column = row_group.column(number)
                if column.path_in_schema in texts and any("DICTIONARY" in e for e in column.encodings):
                    found.add(column.path_in_schema)
        return sorted(found.intersection(columns))


def _check(metadata: pq.FileMetaData, limits: ParquetLimits) -> None:
    if metadata.num_columns > limits.columns:
        raise OversizedFileError(
            f"the file has {metadata.num_columns} columns, more than {limits.columns}"
            " (ingest.limits.maxColumns)"
        )
    if metadata.num_row_groups > limits.row_groups:
        raise OversizedFileError(
            f"the file has {metadata.num_row_groups} row groups, more than {limits.row_groups}"
            " (ingest.limits.maxRowGroups): write larger ones"
        )
    if sum(_unpacked(metadata)) > limits.unpacked_bytes:
        raise OversizedFileError(
            f"the file comes to more than {limits.unpacked_bytes} bytes when it is unpacked"
            " (ingest.limits.maxDecompressedSize): send several smaller"
        )
    if not metadata.num_rows:
        raise UnreadableFileError("the file has no rows")


def _unpacked(metadata: pq.FileMetaData) -> Iterator[int]:
    for group in range(metadata.num_row_groups):
        yield int(metadata.row_group(group).total_byte_size)


def _buffer_size(columns: int) -> int:
    """One buffer a column is held while a row group is read."""
    return max(_LEAST_BUFFER, min(_MOST_BUFFER, _BUFFERS // max(1, columns)))


def _flat_fields(schema: pa.Schema, nested: Sequence[str]) -> Iterator[pa.Field]:
    for field in schema:
        if field.name in nested and pa.types.is_struct(field.type):
            yield from field.type
        else:
            yield field


def _flattened(batch: pa.RecordBatch, nested: Sequence[str]) -> pa.RecordBatch:
    names: list[str] = []
    arrays: list[pa.Array] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in nested and pa.types.is_struct(column.type):
            names += [field.name for field in column.type]
            arrays += column.flatten()  # a missing struct has missing fields
        else:
            names.append(name)
            arrays.append(column)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch with its texts written out, in as many parts as it takes to keep each small."""
    parts = max(1, -(-_expanded(batch) // PIECE_BYTES))
    size = max(1, -(-batch.num_rows // parts))
    for start in range(0, batch.num_rows, size):
        part = batch.slice(start, size)
        yield pa.RecordBatch.from_arrays(
            [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in part.columns],
            names=part.schema.names,
        )


def _expanded(batch: pa.RecordBatch) -> int:
    """Bytes of the batch once nothing is in dictionaries."""
    total = 0
    for column in batch.columns:
        if not pa.types.is_dictionary(column.type):
            total += column.nbytes
        elif len(column.dictionary):
            lengths = pc.binary_length(column.dictionary.cast(pa.large_binary()))
            each = np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)
            used = column.indices.drop_null().to_numpy(zero_copy_only=False)
            total += int(each[used].sum()) + 5 * len(column)
    return total


def _unreadable(error: BaseException) -> Exception:
    if isinstance(error, OSError) and error.errno is not None:
        return error
    line = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return UnreadableFileError(f"the parquet file cannot be read: {line}")
