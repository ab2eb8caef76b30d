"""Files on their way to a cell: a file as it is, a frame as a parquet file, a folder of images as a zip.

What is made on the way lies in a temporary folder and goes when the upload is done; no file is ever held in
memory.

What this module must not do: send anything, or look into a file that is sent as it is.
"""

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden.client.errors import ClientError
from modelwarden.client.rows import ID, LABEL_TIME, TIME, arrow_table, check_columns
from modelwarden.client.wire import Upload

Kind: TypeAlias = Literal["inference_data", "ground_truth_data"]
Source: TypeAlias = pd.DataFrame | pa.Table | str | Path
INFERENCES: Kind = "inference_data"
LABELS: Kind = "ground_truth_data"
IMAGES = "image_data"
ROW_GROUP_ROWS = 100_000
_NEEDED = {INFERENCES: (ID, TIME), LABELS: (ID, LABEL_TIME)}


@dataclass(frozen=True)
class FileSending:
    """How to send a file: whether a refused row raises, who hears how many bytes of how many were sent."""

    raise_on_refused: bool = True
    on_progress: Callable[[int, int], None] | None = None


@contextmanager
def upload_of(
    source: Source, kind: Kind, images: str | Path | None, fields: dict[str, str], sending: FileSending
) -> Iterator[Upload]:
    """The upload; what had to be written for it is removed at the end of the block.

    Raises:
        ClientError: not a file, an empty or a CSV file, a frame without ids or times.
    """
    with tempfile.TemporaryDirectory(prefix="modelwarden-") as folder:
        parts: dict[str, Path] = {kind: _file_of(source, kind, Path(folder))}
        if images is not None:
            parts[IMAGES] = _zip_of(Path(images), Path(folder))
        upload = Upload(parts, fields)
        if sending.on_progress is not None:
            upload = Upload(parts, fields, sending.on_progress)
        yield upload


def parts_of(source: Source, size: int) -> Iterator[pa.Table]:
    """The rows of a frame, a table or a parquet file, so many at a time."""
    if isinstance(source, str | Path):
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=size):
                yield pa.Table.from_batches([batch])
        return
    table = arrow_table(source)
    for start in range(0, table.num_rows, size):
        yield table.slice(start, size)


def _file_of(source: Source, kind: Kind, folder: Path) -> Path:
    if isinstance(source, str | Path):
        return _readable(Path(source))
    table = arrow_table(source)
    check_columns(table.column_names, _NEEDED[kind])
    for field in table.schema:
        if pa.types.is_timestamp(field.type) and field.type.tz is None:
            raise ClientError(f"column {field.name} holds times without a zone: say which, for example UTC")
    path = folder / f"{kind}.parquet"
    pq.write_table(table, path, row_group_size=ROW_GROUP_ROWS, compression="zstd")
    return path


def _readable(path: Path) -> Path:
    if not path.is_file():
        raise ClientError(f"{path} is not a file")
    if not path.stat().st_size:
        raise ClientError(f"{path} is empty")
    if path.suffix == ".csv":
        raise ClientError(
            f"{path}: a cell takes files of parquet and JSON. Read it with pandas and send the frame, or "
            "send its rows (`modelwarden send`)"
        )
    return path


def _zip_of(images: Path, folder: Path) -> Path:
    if not images.is_dir():
        return _readable(images)
    path = folder / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:  # images are compressed already
        for file in sorted(images.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(images).as_posix())
    return path
