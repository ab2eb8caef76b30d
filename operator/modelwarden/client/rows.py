"""From what people have (frames, tables, dictionaries) to the rows that go over the wire.

A flat row has `partner_inference_id`, `inference_timestamp`, perhaps `batch_id` and
`ground_truth_timestamp`, and the model's attributes beside them; a nested one has the attributes under
`inference_data` already. A row of labels has `partner_inference_id`, `ground_truth_timestamp` and the labels.
Ids must be the caller's: they are what makes sending twice count once. Times must say their zone.

What this module must not do: send anything, or guess an id or a time.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from numbers import Integral
from typing import Any, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.client.errors import ClientError

ID = "partner_inference_id"
TIME = "inference_timestamp"
LABEL_TIME = "ground_truth_timestamp"
BATCH = "batch_id"
BESIDE = (ID, TIME, LABEL_TIME, BATCH)
DATA, TRUTH = "inference_data", "ground_truth_data"
INDEX_COLUMN = "__index_level_0__"

Rows: TypeAlias = pd.DataFrame | pa.Table | pa.RecordBatch | Iterable[Mapping[str, Any]]
_Nest: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
Chunk: TypeAlias = list[dict[str, Any]]


def chunks(rows: Rows, size: int, ground_truth: Collection[str] = ()) -> Iterator[Chunk]:
    """Nested rows ready for JSON, at most `size` at a time, in order; tables are converted piece by piece.

    Args:
        rows: a frame, an Arrow table or batch (flat columns), or dictionaries (flat or nested).
        size: rows in a chunk, at least 1.
        ground_truth: names of the attributes that are labels; they go under `ground_truth_data`.

    Raises:
        ClientError: a row without id or time, a time without a zone, a value that JSON cannot carry.
    """
    labels = frozenset(ground_truth)
    return _cut(rows, size, (ID, TIME), lambda row: row if DATA in row else _nested(row, labels))


def label_chunks(rows: Rows, size: int, ground_truth: Collection[str] = ()) -> Iterator[Chunk]:
    """Labels ready for JSON, at most `size` at a time, in order. A row whose labels are all missing comes
    without `ground_truth_data`: there is nothing to send of it yet.

    Args:
        rows: a frame, an Arrow table or batch, or dictionaries (flat or with `ground_truth_data`).
        size: rows in a chunk, at least 1.
        ground_truth: names of the labels; other columns stay here. None named: all columns but ids and times
            are labels.

    Raises:
        ClientError: a row without id or time, a time without a zone, a value that JSON cannot carry.
    """
    labels = frozenset(ground_truth)
    return _cut(rows, size, (ID, LABEL_TIME), lambda row: _label(row, labels), (*BESIDE, *labels))


def encode(chunk: list[dict[str, Any]]) -> bytes:
    """One request's body.

    Raises:
        ClientError: a value has no JSON form.
    """
    try:
        return json.dumps(chunk, separators=(",", ":"), allow_nan=False, default=_scalar).encode()
    except (TypeError, ValueError) as reason:
        raise ClientError(
            f"a value in rows {chunk[0][ID]!r} to {chunk[-1][ID]!r} cannot be sent: {reason}"
        ) from reason


def check_columns(names: Collection[str], needed: Collection[str]) -> None:
    """Raises ClientError that says which of the needed columns is not there, and why it must be."""
    for name in needed:
        if name not in names:
            raise ClientError(f"there is no column {name}: {_WHY[name]}")


def arrow_table(rows: pd.DataFrame | pa.Table | pa.RecordBatch) -> pa.Table:
    """The rows as an Arrow table, without a frame's index."""
    if isinstance(rows, pd.DataFrame):
        rows = pa.Table.from_pandas(rows, preserve_index=False)
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    return rows.drop_columns([INDEX_COLUMN]) if INDEX_COLUMN in rows.column_names else rows


def _cut(
    rows: Rows, size: int, needed: tuple[str, ...], nest: _Nest, only: Collection[str] = ()
) -> Iterator[Chunk]:
    """`only`: of a table, these columns, unless there are no others than the usual ones among them."""
    if size < 1:
        raise ClientError(f"rows_per_request must be at least 1, not {size}")
    if isinstance(rows, pd.DataFrame | pa.RecordBatch | pa.Table):
        table = arrow_table(rows)
        if set(only) - set(BESIDE):
            table = table.select([name for name in table.column_names if name in only])
        return _of_table(table, size, needed, nest)
    return _of_mappings(rows, size, needed, nest)


def _of_table(table: pa.Table, size: int, needed: tuple[str, ...], nest: _Nest) -> Iterator[Chunk]:
    check_columns(table.column_names, needed)
    for name in needed:
        if missing := table.column(name).null_count:
            raise ClientError(f"{missing} rows have no {name}: {_WHY[name]}")
    for start in range(0, table.num_rows, size):
        piece = table.slice(start, size)
        plain = pa.table({name: _plain(name, piece.column(name)) for name in piece.column_names})
        yield [nest(row) for row in plain.to_pylist()]


def _of_mappings(
    rows: Iterable[Mapping[str, Any]], size: int, needed: tuple[str, ...], nest: _Nest
) -> Iterator[Chunk]:
    chunk: Chunk = []
    for number, row in enumerate(rows):
        for name in needed:
            if row.get(name) is None:
                raise ClientError(f"row {number} has no {name}: {_WHY[name]}")
        plain = {name: _json_value(name, value) for name, value in row.items()}
        chunk.append(nest(plain))
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_WHY = {
    ID: "give every inference an id of your own, so that sending it twice does not count it twice",
    TIME: "give every inference the time it was made, with its zone",
    LABEL_TIME: "give every label the time at which it became known, with its zone",
}


def _plain(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column in a type whose Python values JSON can carry: times as text in UTC, NaN and infinities as
    missing.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(name, column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            raise ClientError(f"column {name} holds times without a zone: say which, for example UTC")
        utc = column.cast(pa.timestamp("us", tz="UTC"), safe=False)
        return pc.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ")
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, kind))
    if name == ID and pa.types.is_integer(kind):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise ClientError(
            f"column {name} is of type {kind}, which JSON cannot carry: turn it into text or float64"
        )
    return column


def _nested(row: dict[str, Any], labels: frozenset[str]) -> dict[str, Any]:
    nested: dict[str, Any] = {name: row.pop(name) for name in BESIDE if row.get(name) is not None}
    for name in (LABEL_TIME, BATCH):
        row.pop(name, None)
    if labels:
        truth = {name: row.pop(name) for name in labels & row.keys()}
        if any(value is not None for value in truth.values()):
            nested[TRUTH] = truth
    nested[DATA] = row
    return nested


def _label(row: dict[str, Any], labels: frozenset[str]) -> dict[str, Any]:
    if isinstance(row.get(TRUTH), dict):
        truth = row[TRUTH]
    else:
        truth = {name: row[name] for name in labels or row.keys() - set(BESIDE) if name in row}
    nested = {name: row[name] for name in (ID, LABEL_TIME)}
    if any(value is not None for value in truth.values()):
        nested[TRUTH] = truth
    return nested


def _json_value(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json_value(key, inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ClientError(f"{name} holds a time without a zone: say which, for example UTC")
        return value.isoformat()
    if name == ID and isinstance(value, Integral):
        return str(value)
    return value


def _scalar(value: Any) -> Any:
    """What json cannot do by itself: dates, and the numbers of numpy (they know how to become Python's)."""
    if isinstance(value, date):
        return value.isoformat()
    if callable(getattr(value, "item", None)):
        return _json_value("", value.item())
    raise TypeError(f"no JSON for {type(value).__name__}")
