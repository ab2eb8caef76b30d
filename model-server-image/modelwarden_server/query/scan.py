"""Rows read for a question that partials cannot answer: bounded batches, bounded time, no row kept.

Must not write. Reads files that are committed; row groups that the filter rules out are not read.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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


@dataclass
class PeriodKeys:
    """Numbers the periods of a rollup as they are met, and remembers what each stands for."""

    rollup: Rollup | None
    names: list[str]

    @property
    def columns(self) -> list[str]:
        """The columns that tell a row's period."""
        if self.rollup is None:
            return []
        return [BATCH] if self.rollup == "batch_id" else [EVENT_TIME]

    def of(self, batch: pa.RecordBatch) -> Periods:
        """The number of each row's period."""
        if self.rollup is None:
            self.names = self.names or [""]
            return np.zeros(batch.num_rows, dtype=np.int64)
        texts = self._texts(batch).dictionary_encode()
        known = {name: number for number, name in enumerate(self.names)}
        numbers = np.array(
            [known.setdefault(t or "", len(known)) for t in texts.dictionary.to_pylist()] or [0]
        )
        self.names = list(known)
        if len(self.names) > MAX_PERIODS:
            raise QueryTooLargeError(f"rollup: there are more than {MAX_PERIODS} periods: narrow the filter")
        return np.asarray(numbers[texts.indices.to_numpy(zero_copy_only=False)], dtype=np.int64)

    def _texts(self, batch: pa.RecordBatch) -> pa.Array:
        if self.rollup == "batch_id":
            return pc.fill_null(batch.column(batch.schema.get_field_index(BATCH)), "")
        times = batch.column(batch.schema.get_field_index(EVENT_TIME))
        starts = pc.floor_temporal(times, unit=self.rollup).cast(pa.timestamp("s", "UTC"))
        return pc.strftime(starts, "%Y-%m-%dT%H:%M:%SZ")


def count_by_period(
    source: RowSource,
    properties: dict[str, Callable[[pa.Array], npt.NDArray[np.int64]]],
    sizes: dict[str, int],
    rollup: Rollup | None,
) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
    """Counts by period, property and bucket. `properties` gives each value's bucket, -1 for none."""
    keys = PeriodKeys(rollup, [])
    counts = {name: np.zeros((1, size), dtype=np.int64) for name, size in sizes.items()}
    for batch in source.batches([*properties, *keys.columns]):
        periods = keys.of(batch)
        for name, bucket_of in properties.items():
            size = sizes[name]
            if len(counts[name]) < len(keys.names):
                grown = np.zeros((2 * len(keys.names), size), dtype=np.int64)
                grown[: len(counts[name])] = counts[name]
                counts[name] = grown
            buckets = bucket_of(batch.column(batch.schema.get_field_index(name)))
            used = buckets >= 0
            np.add.at(counts[name].reshape(-1), periods[used] * size + buckets[used], 1)
    if not keys.names and rollup is None:
        keys.names = [""]
    return {
        name: {prop: counts[prop][number] for prop in properties} for number, name in enumerate(keys.names)
    }


def check_rows(rows: int, most: int) -> None:
    """Raise QueryError if a scan would read more than `most` rows."""
    if rows > most:
        raise QueryError(
            f"the query needs a scan of {rows} rows, more than {most}: compare whole slices of five minutes"
            " with the reference, by a number of bins that fine counts hold"
        )
