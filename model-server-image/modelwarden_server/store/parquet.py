"""Our own parquet files: written, measured and synced here, before any table mentions them.

Must not know of Delta's log. deltalake's own writer publishes a file before it is on the disk, which is
why the files are ours. zstd level 1 and no dictionaries on numbers: 3.6 times faster and 27 % smaller
than the defaults on 30 columns of mostly floats.
"""

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden_server.durable import sync_folder

ROWS_PER_GROUP = 100_000
_NAME = re.compile(r"^part-(?P<version>\d{20})-(?:(?P<origin>\d{20})-)?[0-9a-f]{32}\.parquet$")


@dataclass(frozen=True)
class DataFile:
    """One parquet file of a table: its name inside the table's folder, bytes, rows and Delta statistics.

    `newest` has the latest instant of each time column, in microseconds since 1970.
    """

    name: str
    size: int
    rows: int
    stats: str
    newest: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Statistics:
    """What Delta wants to know of a file: rows, nulls per column, bounds of the time columns."""

    rows: int = 0
    nulls: dict[str, int] = field(default_factory=dict)
    bounds: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def add(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            self.nulls[name] = self.nulls.get(name, 0) + column.null_count
            if pa.types.is_timestamp(column.type) and column.null_count < len(column):
                low, high = pc.min_max(column.cast(pa.int64())).values()
                before = self.bounds.get(name, (low.as_py(), high.as_py()))
                self.bounds[name] = (min(before[0], low.as_py()), max(before[1], high.as_py()))

    def json(self) -> str:
        low = {name: _instant(pair[0]) for name, pair in self.bounds.items()}
        high = {name: _instant(pair[1]) for name, pair in self.bounds.items()}
        known = [name for name in low if low[name] and high[name]]
        return json.dumps(
            {
                "numRecords": self.rows,
                "minValues": {name: low[name] for name in known},
                "maxValues": {name: high[name] for name in known},
                "nullCount": self.nulls,
            },
            separators=(",", ":"),
        )


_YEAR_1 = -62_135_596_800_000_000
_YEAR_10000 = 253_402_300_800_000_000


def _instant(microseconds: int) -> str | None:
    """ISO 8601 of an instant; None outside the years 1 to 9999, which not every reader can hold."""
    if not _YEAR_1 <= microseconds < _YEAR_10000:
        return None
    text: str = pc.strftime(pa.scalar(microseconds, pa.timestamp("us", "UTC")), "%Y-%m-%dT%H:%M:%SZ").as_py()
    return text


def dictionary_columns(schema: pa.Schema, plain: frozenset[str]) -> list[str]:
    """Columns worth a dictionary: texts, but for those in `plain` (ids never repeat)."""
    return [f.name for f in schema if pa.types.is_string(f.type) and f.name not in plain]


def file_name(version: int, origin: int | None = None) -> str:
    """A new name for a file meant for table version `version`; `origin` is the version that first added its
    rows, if that was another (a compacted file).

    The version in the name tells, after a crash, a file that was written but never committed from one that
    was: no committed version can mention a file named for a later one.
    """
    before = "" if origin is None else f"{origin:020d}-"
    return f"part-{version:020d}-{before}{uuid.uuid4().hex}.parquet"


def version_of(name: str) -> int | None:
    """The table version a file was written for, or None if the name is not one of ours."""
    match = _NAME.match(name)
    return None if match is None else int(match["version"])


def origin_of(name: str) -> int | None:
    """The version that first added the newest rows of a file, or None if the name is not one of ours."""
    match = _NAME.match(name)
    return None if match is None else int(match["origin"] or match["version"])


def write_parquet(
    folder: Path, name: str, batches: Iterable[pa.RecordBatch], schema: pa.Schema, plain: frozenset[str]
) -> DataFile:
    """Write `batches` to `folder/name`, fsync file and folder.

    On any error the unfinished file is removed and the error raised (OSError for a full disk).
    """
    path = folder / name
    statistics = Statistics()
    try:
        with path.open("xb", buffering=0) as raw:
            _write(raw, _measured(batches, statistics), schema, plain)
            os.fsync(raw.fileno())
        sync_folder(folder)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    newest = {column: bounds[1] for column, bounds in statistics.bounds.items()}
    return DataFile(name, path.stat().st_size, statistics.rows, statistics.json(), newest)


def _measured(batches: Iterable[pa.RecordBatch], statistics: Statistics) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        statistics.add(batch)
        yield batch


def _write(raw: Any, batches: Iterable[pa.RecordBatch], schema: pa.Schema, plain: frozenset[str]) -> None:
    with pa.BufferedOutputStream(pa.PythonFile(raw, mode="w"), 1 << 20) as buffered:
        with pq.ParquetWriter(
            buffered,
            schema,
            version="2.6",
            compression="zstd",
            compression_level=1,
            use_dictionary=dictionary_columns(schema, plain),
        ) as writer:
            for batch in batches:
                writer.write_batch(batch, row_group_size=ROWS_PER_GROUP)
        buffered.flush()
        buffered.detach()


def footer_rows(path: Path) -> int:
    """Rows according to the footer of `path`. Raises pyarrow.ArrowInvalid or OSError if it cannot be read."""
    with pq.ParquetFile(path) as file:
        return int(file.metadata.num_rows)
