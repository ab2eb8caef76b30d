"""From an uploaded file to parsed rows, a bounded piece at a time: parquet or JSON, flat or nested.

What a file is, its first bytes say. Must not judge rows itself, nor know ids or logs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import pyarrow as pa

from modelwarden.resources.cell import LimitSettings
from modelwarden_server.door.json_pieces import LONGEST_ROW, json_pieces
from modelwarden_server.door.multipart import ReceivedFile
from modelwarden_server.door.parquet_pieces import (
    PARQUET_MAGIC,
    ParquetLimits,
    ParquetPieces,
    UnreadableFileError,
)
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID, TRUTH_TIME, CompiledSchema
from modelwarden_server.schema.fields import DATA, TRUTH
from modelwarden_server.schema.jsonlist import elements
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedLabels, ParsedRows
from modelwarden_server.schema.parser import LabelParser, Parser
from modelwarden_server.schema.vectors import (
    check_batch,
    check_columns,
    check_label_batch,
    check_label_columns,
)

_NOT_BOUNDED = 1 << 62
_HEAD = (ID, EVENT_TIME, TRUTH_TIME, BATCH)
Piece = TypeVar("Piece", ParsedRows, ParsedLabels)


@dataclass(frozen=True)
class FileRules:
    """What a file of one model may hold."""

    schema: CompiledSchema
    values: Limits
    sizes: LimitSettings


@dataclass(frozen=True)
class FilePieces(Generic[Piece]):
    """A file's rows in pieces. `ignored`: its columns that are no attributes of the model.

    Drawing raises BodyError, UnreadableFileError, OversizedFileError and OSError.
    """

    ignored: tuple[str, ...]
    pieces: Iterator[Piece]


def inferences_of(file: ReceivedFile, rules: FileRules) -> FilePieces[ParsedRows]:
    """The inferences of a file. Raises what drawing raises."""
    schema = rules.schema
    if _is_parquet(file):
        names = (*_HEAD, *(c.name for c in (*schema.data, *schema.truth)))
        source = _parquet(file, rules)
        ignored = check_columns(schema, source.schema)
        batches = source.pieces(names)
        return FilePieces(ignored, (check_batch(schema, batch, rules.values) for batch in batches))
    parser = Parser(schema)
    return FilePieces((), _json(file, rules, parser.parse, _elements_of(parser.parse_elements)))


def labels_of(file: ReceivedFile, rules: FileRules) -> FilePieces[ParsedLabels]:
    """The labels of a file. Raises what drawing raises."""
    schema = rules.schema
    if _is_parquet(file):
        source = _parquet(file, rules)
        ignored = check_label_columns(schema, source.schema)
        batches = source.pieces((ID, TRUTH_TIME, *(c.name for c in schema.truth)))
        return FilePieces(ignored, (check_label_batch(schema, batch, rules.values) for batch in batches))
    parser = LabelParser(schema)
    return FilePieces((), _json(file, rules, parser.parse, _elements_of(parser.parse_elements)))


def _is_parquet(file: ReceivedFile) -> bool:
    """Refuses what is neither parquet nor JSON."""
    head = file.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not file.size:
        raise UnreadableFileError(
            f"the part {file.part} is empty: the file was not sent, or was read before it was sent"
        )
    if file.head.startswith(PARQUET_MAGIC):
        return True
    if head and head[:1] not in (b"[", b"{"):
        raise UnreadableFileError(
            f"the part {file.part} is neither parquet (PAR1 at its start) nor a JSON list or lines: if it"
            " is the rest of a broken upload, send the file again from its start"
        )
    return False


def _parquet(file: ReceivedFile, rules: FileRules) -> ParquetPieces:
    sizes = rules.sizes
    limits = ParquetLimits(sizes.max_columns, sizes.max_row_groups, sizes.max_decompressed_bytes)
    return ParquetPieces(file.content, (DATA, TRUTH), limits)


Parse = Callable[[bytes, Limits], Piece]


def _elements_of(parse: Callable[[Iterator[object], Limits], Piece]) -> Parse[Piece]:
    return lambda body, limits: parse(elements(body), limits)


def _json(file: ReceivedFile, rules: FileRules, nested: Parse[Piece], flat: Parse[Piece]) -> Iterator[Piece]:
    """The first row tells whether the rows are nested, as in requests, or flat."""
    limits = replace(rules.values, rows=_NOT_BOUNDED)
    parse: Parse[Piece] | None = None
    rows = 0
    for body in json_pieces(file.content, min(rules.sizes.max_body_bytes, LONGEST_ROW)):
        try:
            if parse is None:
                first = next(elements(body), None)
                parse = nested if isinstance(first, dict) and (DATA in first or TRUTH in first) else flat
            piece = parse(body, limits)
        except BodyError as error:
            raise BodyError(f"the JSON file cannot be read behind row {rows}: {error}") from None
        rows += piece.total
        yield piece
    if not rows:
        raise UnreadableFileError("the file has no rows")


def constants(rows: pa.RecordBatch, table: pa.Schema, once: dict[str, pa.Scalar]) -> pa.RecordBatch:
    """The rows with all columns of their table; `once` holds those that are the same for all."""
    columns = [
        pa.repeat(once[name], rows.num_rows) if name in once else rows.column(name) for name in table.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table)
