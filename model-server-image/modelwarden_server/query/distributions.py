"""The documented query for distributions: `POST …/inferences/query/distributions`.

{"x": {"property", "alias", "num_bins"}, "y": {…}, "values": [{"function", "property", "alias"}],
"filter": […]} gives a row for each bin of x (and y) that has rows. Numbers are cut into bins of equal width
between the
lowest and the highest that pass the filter; a bin is named by its lower end, categories by their value, in
ascending order. What
the documents leave open: functions are count, avg, sum, min and max; without `values` rows are counted; a
row whose x or y is missing is in no bin. Must not know HTTP.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.cells import as_floats
from modelwarden_server.query.drift_answer import Sources, rows_of
from modelwarden_server.query.request import MAX_FILTERS, Condition, QueryError, Side
from modelwarden_server.query.rows import SideRows
from modelwarden_server.query.scan import Deadline, RowKeys

DEFAULT_BINS, FEWEST_BINS, MOST_BINS = 20, 2, 200
_MOST_VALUES = 20
_FUNCTIONS = ("count", "avg", "sum", "min", "max")
Floats = npt.NDArray[np.float64]


class _Axis(msgspec.Struct):
    property: str
    alias: str | None = None
    num_bins: int = DEFAULT_BINS


class _Value(msgspec.Struct):
    function: str
    property: str | None = None
    alias: str | None = None


class _Filter(msgspec.Struct):
    property: str
    comparator: str
    value: Any = None


class _Request(msgspec.Struct):
    x: _Axis
    y: _Axis | None = None
    values: list[_Value] = []
    filter: list[_Filter] = []


@dataclass
class _Cut:
    """How one axis is cut: numbers by width, everything else by its value."""

    axis: _Axis
    low: float = np.inf
    high: float = -np.inf
    numeric: bool = True
    named: RowKeys = field(default_factory=lambda: RowKeys(None))

    @property
    def name(self) -> str:
        return self.axis.alias or self.axis.property

    def of(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """The bin of each row, -1 for none."""
        values = batch.column(batch.schema.get_field_index(self.axis.property))
        if not self.numeric:
            places = self.named.of(batch)
            null = np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=np.bool_)
            return np.where(null, -1, places)
        numbers, null = as_floats(values)
        known = np.isfinite(numbers) & ~null
        width = (self.high - self.low) / self.axis.num_bins
        scaled = np.where(known, (numbers - self.low) / width if width > 0 else 0.0, 0.0)
        bins = np.minimum(scaled.astype(np.int64), self.axis.num_bins - 1)
        return np.where(known, bins, -1)

    def label(self, place: int) -> Any:
        """What a bin is called."""
        if not self.numeric:
            return self.named.keys[place][1]
        return self.low + place * (self.high - self.low) / self.axis.num_bins

    def order(self, place: int) -> int | str:
        """What bins are sorted by: places of categories are only the order in which rows were met."""
        return place if self.numeric else str(self.label(place))


@dataclass
class _Sums:
    count: int = 0
    known: int = 0
    total: float = 0.0
    lowest: float = np.inf
    highest: float = -np.inf

    def add(self, rows: int, numbers: Floats) -> None:
        self.count += rows
        self.known += len(numbers)
        if len(numbers):
            self.total += float(numbers.sum())
            self.lowest = min(self.lowest, float(numbers.min()))
            self.highest = max(self.highest, float(numbers.max()))

    def told(self, function: str) -> float | int | None:
        if function == "count":
            return self.count
        if not self.known:
            return None
        return {
            "avg": self.total / self.known,
            "sum": self.total,
            "min": self.lowest,
            "max": self.highest,
        }[function]


def distributions(body: bytes, sources: Sources, deadline: Deadline) -> dict[str, Any]:
    """The answer. Raises QueryError, QueryTooLargeError."""
    request = _parsed(body)
    side = Side("inference", tuple(Condition(f.property, f.comparator, f.value) for f in request.filter))
    rows = rows_of(side, sources, deadline, "filter")
    values = request.values or [_Value("count")]
    cuts = [_cut(axis, rows) for axis in (request.x, request.y) if axis is not None]
    found: dict[tuple[int, ...], list[_Sums]] = {}
    summed = list(dict.fromkeys(v.property for v in values if v.property is not None))
    for batch in rows.batches(list(dict.fromkeys([*(c.axis.property for c in cuts), *summed]))):
        _add(found, batch, cuts, values)
    answer = []
    for places in sorted(found, key=lambda places: [c.order(p) for c, p in zip(cuts, places, strict=True)]):
        row = {cut.name: cut.label(place) for cut, place in zip(cuts, places, strict=True)}
        for value, sums in zip(values, found[places], strict=True):
            row[value.alias or "_".join(filter(None, (value.function, value.property)))] = sums.told(
                value.function
            )
        answer.append(row)
    return {"query_result": answer, "computed_from": "rows"}


def _parsed(body: bytes) -> _Request:
    try:
        request = msgspec.json.decode(body, type=_Request)
    except msgspec.DecodeError as error:
        raise QueryError(f"the query cannot be read: {error}") from None
    for name, axis in (("x", request.x), ("y", request.y)):
        if axis is not None and not FEWEST_BINS <= axis.num_bins <= MOST_BINS:
            raise QueryError(f"{name}.num_bins: must be {FEWEST_BINS} to {MOST_BINS}, not {axis.num_bins}")
    if len(request.values) > _MOST_VALUES or len(request.filter) > MAX_FILTERS:
        raise QueryError(f"values, filter: at most {_MOST_VALUES} and {MAX_FILTERS} entries")
    for place, value in enumerate(request.values):
        if value.function not in _FUNCTIONS:
            raise QueryError(f"values[{place}].function: must be one of {', '.join(_FUNCTIONS)}")
        if value.property is None and value.function != "count":
            raise QueryError(f"values[{place}].property: name the attribute to take the {value.function} of")
    return request


def _cut(axis: _Axis, rows: SideRows) -> _Cut:
    if axis.property not in rows.schema.names:
        raise QueryError(f"property: there is no {axis.property[:100]!r} in these rows")
    kind = rows.schema.field(axis.property).type
    cut = _Cut(
        axis, numeric=pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_list(kind)
    )
    if not cut.numeric:
        cut.named = RowKeys(None, (axis.property,))
        return cut
    for values in rows.column(axis.property):
        numbers, null = as_floats(values)
        known = numbers[np.isfinite(numbers) & ~null]
        if len(known):
            cut.low, cut.high = min(cut.low, float(known.min())), max(cut.high, float(known.max()))
    return cut


def _add(
    found: dict[tuple[int, ...], list[_Sums]], batch: pa.RecordBatch, cuts: list[_Cut], values: list[_Value]
) -> None:
    places = np.stack([cut.of(batch) for cut in cuts])
    numbers = [_numbers(batch, value) for value in values]
    known = np.flatnonzero((places >= 0).all(axis=0))
    if not len(known):
        return
    bins, rank = np.unique(places[:, known], axis=1, return_inverse=True)
    order = np.argsort(rank.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(rank.reshape(-1)))
    for bucket, start, end in zip(bins.T.tolist(), [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        here = known[order[start:end]]
        sums = found.setdefault(tuple(bucket), [_Sums() for _ in values])
        for one, read in zip(sums, numbers, strict=True):
            one.add(len(here), read(here))


def _numbers(batch: pa.RecordBatch, value: _Value) -> Callable[[npt.NDArray[np.int64]], Floats]:
    if value.property is None or value.function == "count":
        return lambda _rows: np.empty(0)
    column = batch.column(batch.schema.get_field_index(value.property))
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise QueryError(f"values: {value.property[:100]} is no number")
    numbers, null = as_floats(column)
    usable = np.isfinite(numbers) & ~null
    return lambda rows: numbers[rows[usable[rows]]]
