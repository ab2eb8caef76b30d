"""The rows that a statement reads: batches of committed files, only the columns that it names.

A bounded number of rows at a time, in the order of the table. Must not know SQL.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.catalog import PLACE
from modelwarden_server.query.sql.kinds import queried_type
from modelwarden_server.schema.compiled import EVENT_TIME

_BYTES_AT_ONCE = 8 << 20
_MOST_ROWS_AT_ONCE = 65_536
_FEWEST_ROWS_AT_ONCE = 256


@dataclass
class TableRows:
    """The rows of some files, with columns renamed. `failed` keeps why reading ended early, if it did.

    DuckDB takes it as a source of Arrow's C interface and may draw from it more than once (it turns some
    windows into joins): each time the rows are read anew.
    """

    files: Sequence[Path]
    schema: pa.Schema
    columns: Mapping[str, str]
    span: tuple[int | None, int | None]
    deadline: Deadline
    failed: Exception | None = None

    def __arrow_c_schema__(self) -> object:
        return self._renamed_schema().__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        schema = self._renamed_schema()
        reader = pa.RecordBatchReader.from_batches(schema, self._guarded(schema))
        return reader.__arrow_c_stream__(requested_schema)

    def _renamed_schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, self._type(column)) for column, name in self.columns.items()])

    def _type(self, column: str) -> pa.DataType:
        return pa.int64() if column == PLACE else queried_type(self.schema.field(column).type)

    def _guarded(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        place = 0
        try:
            for batch in self._batches():
                self.deadline.check()
                yield self._renamed(batch, schema, place)
                place += batch.num_rows
        except Exception as error:
            # DuckDB makes a text of it, with the lines of our code: the error itself is told from here.
            self.failed = error
            raise

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow.dataset as ds  # takes pandas with it where that is installed: only a scan pays

        if not self.files:
            return
        stored = [column for column in self.columns if column != PLACE]
        data = ds.dataset([str(path) for path in self.files], schema=self.schema, format="parquet")
        scanner = data.scanner(
            columns=stored or [self.schema.names[0]],
            filter=self._filter(),
            batch_size=self._rows_at_once(stored),
            batch_readahead=2,
            fragment_readahead=1,
            use_threads=False,
        )
        yield from scanner.to_batches()

    def _filter(self) -> pc.Expression | None:
        low, high = self.span
        whole: pc.Expression | None = None
        for bound, at_least in ((low, True), (high, False)):
            if bound is None:
                continue
            value = pa.scalar(bound, self.schema.field(EVENT_TIME).type)
            one = pc.field(EVENT_TIME) >= value if at_least else pc.field(EVENT_TIME) <= value
            whole = one if whole is None else whole & one
        return whole

    def _rows_at_once(self, columns: Sequence[str]) -> int:
        """Fewer where rows are long: lists and texts count as a kilobyte."""
        widths = (self.schema.field(column).type for column in columns)
        width = sum(t.bit_width // 8 if pa.types.is_primitive(t) else 1024 for t in widths)
        return max(_FEWEST_ROWS_AT_ONCE, min(_MOST_ROWS_AT_ONCE, _BYTES_AT_ONCE // max(width, 1)))

    def _renamed(self, batch: pa.RecordBatch, schema: pa.Schema, place: int) -> pa.RecordBatch:
        arrays = []
        for column, name in self.columns.items():
            if column == PLACE:
                arrays.append(pa.array(np.arange(place, place + batch.num_rows, dtype=np.int64)))
            else:
                arrays.append(
                    _as(batch.column(batch.schema.get_field_index(column)), schema.field(name).type)
                )
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    return values if values.type.equals(wanted) else values.cast(wanted)
