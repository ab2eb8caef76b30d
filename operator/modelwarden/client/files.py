"""Rows out of a file: parquet, CSV or JSON, recognised by what it holds or how it is named; read piece by
piece.

What this module must not do: send, or change a value. Everything the caller must say about a file (a CSV's
text columns) is an argument.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from modelwarden.client.errors import ClientError

PIECE_ROWS = 50_000


def pieces(path: Path, text_columns: Collection[str] = ()) -> Iterator[pa.Table | list[Mapping[str, Any]]]:
    """The file's rows in order, some tens of thousands at a time.

    Args:
        path: parquet (known by its first bytes), `.csv`, `.jsonl`/`.ndjson` (an object a line) or `.json`
            (a list).
        text_columns: CSV columns to be read as text though they look like numbers (codes such as "01").

    Raises:
        ClientError: not a file, or not one of these kinds, or broken; says where.
    """
    if not path.is_file():
        raise ClientError(f"{path} is not a file")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise ClientError(f"{path} is empty")
    if start == b"PAR1":
        yield from _parquet(path)
    elif path.suffix == ".csv":
        yield from _csv(path, text_columns)
    elif path.suffix in {".jsonl", ".ndjson"}:
        yield from _json_lines(path)
    elif path.suffix == ".json":
        yield _json_list(path)
    else:
        raise ClientError(f"{path}: neither parquet nor named .csv, .jsonl, .ndjson or .json")


def _parquet(path: Path) -> Iterator[pa.Table]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=PIECE_ROWS):
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as reason:
        raise ClientError(f"{path} is not a readable parquet file: {reason}") from reason


def _csv(path: Path, text_columns: Collection[str]) -> Iterator[pa.Table]:
    convert = pacsv.ConvertOptions(
        column_types={name: pa.string() for name in text_columns}, strings_can_be_null=True
    )
    try:
        with pacsv.open_csv(path, convert_options=convert) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as reason:
        raise ClientError(f"{path} is not a readable CSV file: {reason}") from reason


def _json_lines(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    piece: list[Mapping[str, Any]] = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as reason:
                raise ClientError(f"{path}, line {number}: not JSON: {reason}") from reason
            piece.append(_object(row, f"{path}, line {number}"))
            if len(piece) == PIECE_ROWS:
                yield piece
                piece = []
    if piece:
        yield piece


def _json_list(path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as reason:
        raise ClientError(f"{path} is not JSON: {reason}") from reason
    if not isinstance(rows, list):
        raise ClientError(f"{path} holds {type(rows).__name__}, not a list of rows")
    return [_object(row, f"{path}, row {number}") for number, row in enumerate(rows)]


def _object(row: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise ClientError(f"{where}: {type(row).__name__}, not an object")
    return row
