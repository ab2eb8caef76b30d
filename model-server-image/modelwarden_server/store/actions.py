"""What a table's entries say: its files, what a commit takes in and out, and the actions that say so.

Must not write anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction

from modelwarden_server.store.parquet import DataFile, origin_of

INSTANT = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class TableFile:
    """A file of the table: the version that first added its (newest) rows, its name, rows, bytes.

    A file that was compacted from others counts as added by the latest of them, not by the compaction.
    `newest` has the latest instant of each time column that has any, in microseconds since 1970.
    """

    version: int
    name: str
    rows: int
    size: int
    newest: Mapping[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Replacement:
    """Files that take the place of others in one commit. `rows_change`: it is not the same rows written anew,
    some of them are gone.
    """

    gone: Sequence[TableFile]
    new: Sequence[DataFile]
    rows_change: bool


@dataclass(frozen=True)
class Commit:
    """What a commit did."""

    version: int
    files: tuple[TableFile, ...]
    rows: int
    seconds: float


def files_of(handle: DeltaTable) -> list[TableFile]:
    """The files of the version that the handle has, oldest first."""
    actions: Any = pa.table(handle.get_add_actions(flatten=True))
    paths, sizes, rows = (actions.column(n).to_pylist() for n in ("path", "size_bytes", "num_records"))
    newest: list[dict[str, int]] = [{} for _ in paths]
    for name in actions.column_names:
        column = actions.column(name)
        if name.startswith("max.") and pa.types.is_timestamp(column.type):
            for known, value in zip(newest, column.cast(INSTANT).cast(pa.int64()).to_pylist(), strict=True):
                if value is not None:
                    known[name.removeprefix("max.")] = value
    files = [
        TableFile(origin_of(path) or 0, path, int(count or 0), int(size), latest)
        for path, size, count, latest in zip(paths, sizes, rows, newest, strict=True)
    ]
    return sorted(files, key=by_age)


def by_age(file: TableFile) -> tuple[int, str]:
    """Sorts files from old to new."""
    return file.version, file.name


def remove_action(file: TableFile, now_ms: int, change: Replacement) -> RemoveAction:
    """A file goes."""
    return RemoveAction(
        path=file.name,
        data_change=change.rows_change,
        deletion_timestamp=now_ms,
        size=file.size,
        partition_values={},
    )


def add_action(file: DataFile, now_ms: int, change: Replacement) -> AddAction:
    """A file comes."""
    return AddAction(
        path=file.name,
        size=file.size,
        partition_values={},
        modification_time=now_ms,
        data_change=change.rows_change,
        stats=file.stats,
    )


def same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Delta has one text and one time type: what differs only in the view is the same."""
    if pa.types.is_string(b) or pa.types.is_large_string(b):
        return bool(pa.types.is_string(a) or pa.types.is_large_string(a) or pa.types.is_string_view(a))
    if pa.types.is_list(b):
        listed = pa.types.is_list(a) or pa.types.is_large_list(a) or pa.types.is_list_view(a)
        return bool(listed) and same_type(a.value_type, b.value_type)
    if pa.types.is_struct(b):
        return bool(pa.types.is_struct(a)) and _same_fields(list(a), list(b))
    return bool(a.equals(b))


def _same_fields(a: Sequence[pa.Field], b: Sequence[pa.Field]) -> bool:
    return [f.name for f in a] == [f.name for f in b] and all(
        same_type(one.type, other.type) for one, other in zip(a, b, strict=True)
    )
