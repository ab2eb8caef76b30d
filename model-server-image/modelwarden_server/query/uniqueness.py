"""How many rows repeat a value that is declared to be unique, by period and group: exact, from the rows.

A window's distinct values do not add up from those of its slices, so they are not in the partials: they are
counted when somebody asks, in DuckDB, which goes to its temporary files where memory ends. Must not decide
which attributes are meant to be unique.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.query.rows import SideRows
from modelwarden_server.query.scan import Deadline, Key, RowKeys
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.kinds import queried_type

# Grouped by value first: that part can go to the disk, the states of a count of distinct values cannot.
_REPEATS = """
SELECT k, CAST(sum(n - 1) AS BIGINT) FROM (
    SELECT k, v, count(*) AS n FROM valued WHERE v IS NOT NULL GROUP BY k, v
) WHERE n > 1 GROUP BY k
"""


@dataclass
class _Valued:
    """Rows as DuckDB takes them: the number of the period and group, and the value."""

    rows: SideRows
    keys: RowKeys
    name: str
    failed: Exception | None = None
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        value = queried_type(self.rows.schema.field(self.name).type)
        self.schema = pa.schema([pa.field("k", pa.int64()), pa.field("v", value)])

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self.schema, self._read())
        return reader.__arrow_c_stream__(requested_schema)

    def _read(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self.rows.batches(list(dict.fromkeys([self.name, *self.keys.columns]))):
                values = batch.column(batch.schema.get_field_index(self.name)).cast(self.schema.types[1])
                if pa.types.is_floating(values.type):
                    values = pc.if_else(pc.is_nan(values), None, values)
                yield pa.record_batch([pa.array(self.keys.of(batch)), values], schema=self.schema)
        except Exception as error:
            # DuckDB makes a text of it, with the lines of our code: the error itself is told from here.
            self.failed = error
            raise


def can_repeat(stored: pa.DataType) -> bool:
    """Whether values of a column are compared: lists are not."""
    return not pa.types.is_nested(stored)


def repeats_by_key(
    rows: SideRows, names: Sequence[str], keys: RowKeys, engine: Engine, deadline: Deadline
) -> Mapping[str, Mapping[Key, int]]:
    """By attribute, and by period and group: rows whose value another row there has, without the first of
    each. What has none is left out. Missing values and NaN are no values.

    Raises QueryError, QueryTooLargeError.
    """
    found: dict[str, Mapping[Key, int]] = {}
    for name in names:
        valued = _Valued(rows, keys, name)
        told = engine.run(_REPEATS, [], {"valued": valued}, deadline, msgspec.json.encode)
        pairs = (msgspec.json.decode(row, type=tuple[int, int]) for row in told.rows)
        found[name] = {keys.keys[number]: repeated for number, repeated in pairs}
    return found
