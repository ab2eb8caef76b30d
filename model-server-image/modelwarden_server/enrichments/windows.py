"""The rows of a window or a batch, joined with their newest labels, for a training: bounded pieces.

Three passes over committed files: ids of the window's rows (of more than `most` those with the lowest hash:
a sample that does not depend on the order of rows), labels of these ids, then the rows. What is held is
bounded by `most`, whatever the tables hold. Rows and labels that arrived after `until` are not seen: the same
question has the same answer later. Must not write, nor know what the rows are for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.enrichments.kind import RowSource
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, ID, INSTANT
from modelwarden_server.schema.digest import id_keys

_ROWS_AT_ONCE: Final = 32_768
Places = npt.NDArray[np.int64]


class ReadTable(Protocol):
    """A table of committed files."""

    @property
    def folder(self) -> Path: ...

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def files(self) -> Sequence[Any]:
        """Its files; each has a `name`."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which rows: of event time [start, end) or of a batch, arrived up to `until`; at most so many."""

    until: datetime
    most: int
    start: datetime | None = None
    end: datetime | None = None
    batch: str | None = None

    @property
    def expression(self) -> pc.Expression:
        """Over the table of inferences."""
        whole = pc.field(ARRIVAL_TIME) <= pa.scalar(self.until, INSTANT)
        if self.batch is not None:
            whole &= pc.field(BATCH) == self.batch
        if self.start is not None:
            whole &= pc.field(EVENT_TIME) >= pa.scalar(self.start, INSTANT)
        if self.end is not None:
            whole &= pc.field(EVENT_TIME) < pa.scalar(self.end, INSTANT)
        return whole


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """The rows of one cell, with their labels."""

    inferences: ReadTable
    truth: ReadTable

    @property
    def known(self) -> pa.Schema:
        """All columns that may be asked for: inferences' first."""
        fields = {one.name: one for one in self.inferences.schema}
        return pa.schema([*fields.values(), *(one for one in self.truth.schema if one.name not in fields)])

    def source(
        self, bounds: Bounds, columns: Sequence[str], metadata: Mapping[bytes, bytes] | None = None
    ) -> RowSource:
        """The rows with these columns (none: all) and the labels of each. The schema's metadata are those
        given, and `rows`: how many there were before a sample was taken. Raises ValueError, OSError.
        """
        known = self.known
        wanted = list(columns) or known.names
        if unknown := sorted(set(wanted) - set(known.names)):
            raise ValueError(f"there is no column {', '.join(unknown)[:200]} among inferences and labels")
        ids, rows = self._sampled(bounds)
        told = {b"rows": str(rows).encode(), **(metadata or {})}
        schema = pa.schema([known.field(name) for name in wanted], metadata=told)
        own = set(self.inferences.schema.names)
        labels = self._labels(ids, bounds, [name for name in wanted if name not in own])
        return RowSource(schema, self._joined(bounds, ids, labels, schema))

    def _sampled(self, bounds: Bounds) -> tuple[pa.Array, int]:
        """Ids of at most `most` rows, and how many there are."""
        sample = _Sample(bounds.most)
        for batch in _batches(self.inferences, [ID], bounds.expression):
            sample.add(batch.column(0))
        return sample.ids(), sample.rows

    def _labels(self, ids: pa.Array, bounds: Bounds, columns: Sequence[str]) -> pa.Table:
        """One row for each id, in their order: its newest label, by arrival and then by place."""
        held = _NewestLabels(len(ids), pa.schema([self.truth.schema.field(name) for name in columns]))
        if columns and len(ids):
            arrived = pc.field(ARRIVAL_TIME) <= pa.scalar(bounds.until, INSTANT)
            for batch in _batches(self.truth, [ID, ARRIVAL_TIME, *columns], arrived):
                held.add(pc.index_in(batch.column(0), value_set=ids), batch.column(1), batch.select(columns))
        return held.table()

    def _joined(
        self, bounds: Bounds, ids: pa.Array, labels: pa.Table, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        stored = [name for name in schema.names if name in self.inferences.schema.names]
        for batch in _batches(self.inferences, list(dict.fromkeys([ID, *stored])), bounds.expression):
            place = pc.index_in(batch.column(0), value_set=ids)
            chosen = pc.is_valid(place)
            rows, place = batch.filter(chosen), place.filter(chosen)
            found = labels.take(place)
            columns = [
                rows.column(name) if name in stored else found.column(name).combine_chunks()
                for name in schema.names
            ]
            if rows.num_rows:
                yield pa.record_batch(columns, schema=schema)


@dataclass
class _Sample:
    """Ids, and when there are more than `most` those with the lowest hash."""

    most: int
    rows: int = 0
    _held: list[pa.Array] = field(default_factory=list)
    _keys: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    _size: int = 0
    _full: bool = False

    def add(self, ids: pa.Array) -> None:
        """Some more rows."""
        self.rows += len(ids)
        self._held.append(ids)
        self._size += len(ids)
        if self._full:
            self._keys.append(id_keys(ids.to_pylist())[:, 0])
        if self._size > (2 * self.most if self._full else self.most):
            self._narrow()

    def ids(self) -> pa.Array:
        """Those that stay."""
        if self._full and self._size > self.most:
            self._narrow()
        return pa.concat_arrays(self._held) if self._held else pa.array([], pa.string())

    def _narrow(self) -> None:
        if not self._full:
            self._keys = [id_keys(held.to_pylist())[:, 0] for held in self._held]
            self._full = True
        keys, ids = np.concatenate(self._keys), pa.concat_arrays(self._held)
        low = np.sort(np.argsort(keys, kind="stable")[: self.most])
        self._held, self._keys, self._size = [ids.take(pa.array(low))], [keys[low]], len(low)


@dataclass
class _NewestLabels:
    """Labels by the place of their id; of one place the newest is kept."""

    many: int
    schema: pa.Schema
    _places: list[Places] = field(default_factory=list)
    _arrivals: list[Places] = field(default_factory=list)
    _rows: list[pa.RecordBatch] = field(default_factory=list)
    _size: int = 0

    def add(self, place: pa.Array, arrival: pa.Array, rows: pa.RecordBatch) -> None:
        """Labels in the order of the table; without a place they are nobody's."""
        chosen = pc.is_valid(place)
        kept = rows.filter(chosen)
        self._places.append(place.filter(chosen).cast(pa.int64()).to_numpy(zero_copy_only=False))
        self._arrivals.append(arrival.filter(chosen).cast(pa.int64()).to_numpy(zero_copy_only=False))
        self._rows.append(kept)
        self._size += kept.num_rows
        if self._size > 3 * self.many:
            self._fold()

    def table(self) -> pa.Table:
        """A row a place, empty ones without a label."""
        self._fold()
        at = np.full(self.many, -1, dtype=np.int64)
        if self._places:
            at[self._places[0]] = np.arange(len(self._places[0]))
        index = pa.array(at, mask=at < 0)
        held = pa.Table.from_batches(self._rows, self.schema)
        return held.take(index) if len(self.schema) else pa.table({})

    def _fold(self) -> None:
        if not self._rows:
            return
        places, arrivals = np.concatenate(self._places), np.concatenate(self._arrivals)
        order = np.lexsort((np.arange(len(places)), arrivals, places))
        last = np.append(places[order][1:] != places[order][:-1], True) if len(order) else order.astype(bool)
        kept = order[last]
        table = pa.Table.from_batches(self._rows, self.schema).take(pa.array(kept)).combine_chunks()
        self._places, self._arrivals = [places[kept]], [arrivals[kept]]
        self._rows, self._size = table.to_batches(), len(kept)


def _batches(table: ReadTable, columns: list[str], kept: pc.Expression) -> Iterator[pa.RecordBatch]:
    import pyarrow.dataset as ds  # takes pandas with it where that is installed: only a scan pays

    paths = [str(table.folder / file.name) for file in table.files]
    if not paths:
        return
    data = ds.dataset(paths, schema=table.schema, format="parquet")
    scanner = data.scanner(
        columns=columns,
        filter=kept,
        batch_size=_ROWS_AT_ONCE,
        batch_readahead=1,
        fragment_readahead=1,
        use_threads=False,
        # Otherwise whole row groups are fetched ahead, as many as there are.
        fragment_scan_options=ds.ParquetFragmentScanOptions(
            pre_buffer=False, use_buffered_stream=True, buffer_size=1 << 20
        ),
    )
    for batch in scanner.to_batches():
        if batch.num_rows:
            yield batch
