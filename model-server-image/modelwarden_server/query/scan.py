"""Rows read for a question that partials cannot answer: bounded batches, bounded time, no row kept.

Must not write. Reads files that are committed; row groups that the filter rules out are not read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.cells import category_text
from modelwarden_server.query.request import QueryError, Rollup
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME

_ROWS_AT_ONCE = 65_536
MAX_PERIODS = 20_000


class QueryTooLargeError(Exception):
    """The question needs more time or room than one may take: a 400 that says to narrow it."""


@dataclass(frozen=True)
class Deadline:
    """When a scan must have ended, by `clock`."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @property
    def left(self) -> float:
        """Seconds until then, negative when it has passed."""
        return self.at - self.clock()

    def check(self) -> None:
        """Raise QueryTooLargeError if it has passed."""
        if self.clock() > self.at:
            raise QueryTooLargeError("the query takes too long: narrow the filter, or name fewer properties")


@dataclass(frozen=True)
class Files:
    """Committed parquet files of one schema, and how many rows they have."""

    paths: tuple[Path, ...]
    rows: int
    schema: pa.Schema


class Rows(Protocol):
    """Rows that can be read again and again."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows with these columns, a bounded number at a time."""
        ...


@dataclass(frozen=True)
class RowSource:
    """The rows of some parquet files of one schema that pass a filter."""

    files: Sequence[Path]
    schema: pa.Schema
    filter: pc.Expression | None
    deadline: Deadline

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows, a bounded number at a time. Raises QueryTooLargeError."""
        if not self.files:
            return
        import pyarrow.dataset as ds  # takes pandas with it where that is installed: only a scan pays

        data = ds.dataset([str(path) for path in self.files], schema=self.schema, format="parquet")
        scanner = data.scanner(
            columns=list(columns),
            filter=self.filter,
            batch_size=_ROWS_AT_ONCE,
            batch_readahead=2,
            fragment_readahead=1,
            use_threads=False,
        )
        for batch in scanner.to_batches():
            self.deadline.check()
            if batch.num_rows:
                yield batch

    def column(self, name: str) -> Iterator[pa.Array]:
        """One column of the rows."""
        for batch in self.batches([name]):
            yield batch.column(0)


Periods = npt.NDArray[np.int64]
Key = tuple[str | None, ...]
"""The period ("" without a rollup), then the values of the groups as text."""


@dataclass
class RowKeys:
    """Numbers the periods and groups of rows as they are met, and remembers what each stands for."""

    rollup: Rollup | None
    groups: Sequence[str] = ()
    keys: list[Key] = field(default_factory=list)
    _known: dict[Key, int] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that tell a row's period and group."""
        time = [] if self.rollup is None else [BATCH] if self.rollup == "batch_id" else [EVENT_TIME]
        return [*time, *self.groups]

    def of(self, batch: pa.RecordBatch) -> Periods:
        """The number of each row's period and group."""
        whole = np.zeros(batch.num_rows, dtype=np.int64)
        values: list[list[str | None]] = []
        for texts in [self._periods(batch), *(_as_text(_named(batch, name)) for name in self.groups)]:
            coded = texts.dictionary_encode()
            values.append([*coded.dictionary.to_pylist(), None])
            index = pc.fill_null(coded.indices.cast(pa.int64()), len(values[-1]) - 1)
            whole = whole * len(values[-1]) + index.to_numpy(zero_copy_only=False)
        present, rank = np.unique(whole, return_inverse=True)
        numbers = np.array([self._number(int(code), values) for code in present], dtype=np.int64)
        return np.asarray(numbers[rank.reshape(-1)], dtype=np.int64)

    def _number(self, code: int, values: list[list[str | None]]) -> int:
        key: list[str | None] = []
        for texts in reversed(values):
            code, place = divmod(code, len(texts))
            key.append(texts[place])
        found = self._known.setdefault(tuple(reversed(key)), len(self.keys))
        if found == len(self.keys):
            self.keys.append(tuple(reversed(key)))
            if len(self.keys) > MAX_PERIODS:
                raise QueryTooLargeError(
                    f"rollup, group_by: more than {MAX_PERIODS} periods and groups: narrow the filter"
                )
        return found

    def _periods(self, batch: pa.RecordBatch) -> pa.Array:
        if self.rollup is None:
            return pa.array([""] * batch.num_rows, pa.string())
        if self.rollup == "batch_id":
            return pc.fill_null(_named(batch, BATCH), "")
        starts = pc.floor_temporal(_named(batch, EVENT_TIME), unit=self.rollup).cast(pa.timestamp("s", "UTC"))
        return pc.strftime(starts, "%Y-%m-%dT%H:%M:%SZ")


def _named(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.get_field_index(name))


def _as_text(values: pa.Array) -> pa.Array:
    if pa.types.is_nested(values.type):
        raise QueryError("group_by: lists cannot be grouped by")
    coded = values.dictionary_encode()
    if len(coded.dictionary) > MAX_PERIODS:
        raise QueryTooLargeError(f"group_by: there are more than {MAX_PERIODS} values: narrow the filter")
    return pa.array([category_text(v) for v in coded.dictionary.to_pylist()], pa.string()).take(coded.indices)


def count_by_key(
    source: Rows,
    properties: dict[str, Callable[[pa.Array], npt.NDArray[np.int64]]],
    sizes: dict[str, int],
    keys: RowKeys,
) -> dict[Key, dict[str, npt.NDArray[np.int64]]]:
    """Counts by period and group, property and bucket. `properties` gives each value's bucket, -1 for
    none.
    """
    counts = {name: np.zeros((1, size), dtype=np.int64) for name, size in sizes.items()}
    for batch in source.batches(list(dict.fromkeys([*properties, *keys.columns]))):
        places = keys.of(batch)
        for name, bucket_of in properties.items():
            size = sizes[name]
            if len(counts[name]) < len(keys.keys):
                grown = np.zeros((2 * len(keys.keys), size), dtype=np.int64)
                grown[: len(counts[name])] = counts[name]
                counts[name] = grown
            buckets = bucket_of(_named(batch, name))
            used = buckets >= 0
            np.add.at(counts[name].reshape(-1), places[used] * size + buckets[used], 1)
    if not keys.keys and keys.rollup is None and not keys.groups:
        keys.keys.append(("",))
    return {key: {prop: counts[prop][number] for prop in properties} for number, key in enumerate(keys.keys)}


def check_rows(rows: int, most: int) -> None:
    """Raise QueryError if a scan would read more than `most` rows."""
    if rows > most:
        raise QueryError(
            f"the query needs a scan of {rows} rows, more than {most}: compare whole slices of five minutes"
            " with the reference, by a number of bins that fine counts hold"
        )
