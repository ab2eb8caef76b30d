"""The rows of one side of a question: inferences with their newest labels, or the reference, filtered.

Columns that follow from others (classes) can be asked for like stored ones. Bounded batches; labels are held
in memory only if a question needs them, and only so many. Must not write.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.query.classes import ClassRule
from modelwarden_server.query.filters import as_expression, filtered_columns
from modelwarden_server.query.request import Condition, QueryError
from modelwarden_server.query.scan import Deadline, Files, RowSource, check_rows
from modelwarden_server.schema.compiled import ARRIVAL_TIME, ID

MAX_LABELS = 5_000_000
_JOINED_AT_ONCE = 262_144


@dataclass(frozen=True)
class SideRows:
    """What can be asked of one side. `labels` are joined to inferences by their id."""

    files: Files
    labels: Files | None
    classes: Mapping[str, ClassRule]
    conditions: Sequence[Condition]
    deadline: Deadline
    name: str
    """Of the side, for messages."""
    _cache: dict[tuple[str, ...], pa.Table] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """All columns that may be named."""
        fields = list(self.files.schema)
        known = set(self.files.schema.names)
        labels = self.labels.schema if self.labels is not None else ()
        fields += [one for one in labels if one.name not in known]
        fields += [pa.field(name, pa.string()) for name in self.classes]
        return pa.schema(fields)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows with these columns. Raises QueryError, QueryTooLargeError."""
        as_expression(self.conditions, self.schema, self.name)  # refuses by the place in the filter
        named = self._declared([*columns, *filtered_columns(self.conditions)])
        stored = [c for c in named if c in self.files.schema.names]
        joined = [c for c in named if c not in self.files.schema.names]
        early = [c for c in self.conditions if c.property in self.files.schema.names]
        late = [c for c in self.conditions if c.property not in self.files.schema.names]
        pushed = as_expression(early, self.files.schema, self.name)
        source = RowSource(self.files.paths, self.files.schema, pushed, self.deadline)
        after = as_expression(late, self.schema, self.name)
        if not joined and after is None and set(columns) <= set(stored):
            yield from source.batches(list(columns))
            return
        wanted = list(dict.fromkeys([*stored, ID])) if joined else stored
        for batch in self._pieces(source.batches(wanted or [self.files.schema.names[0]]), bool(joined)):
            rows = self._with_labels(batch, joined) if joined else batch
            rows = self._with_classes(rows)
            if after is not None:
                rows = rows.filter(after)
            yield from rows.select(list(columns)).combine_chunks().to_batches()

    def column(self, name: str) -> Iterator[pa.Array]:
        """One column of the rows."""
        for batch in self.batches([name]):
            yield batch.column(0)

    def _declared(self, names: Sequence[str]) -> list[str]:
        """Stored columns and labels behind these names."""
        found: list[str] = []
        for name in names:
            found += self.classes[name].columns if name in self.classes else (name,)
        known = set(self.schema.names)
        for name in found:
            if name not in known:
                raise QueryError(f"{self.name}: there is no {name[:100]!r} in these rows")
        return list(dict.fromkeys(found))

    @staticmethod
    def _pieces(batches: Iterator[pa.RecordBatch], large: bool) -> Iterator[pa.Table]:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(batch)
            if not large or sum(b.num_rows for b in held) >= _JOINED_AT_ONCE:
                yield pa.Table.from_batches(held)
                held = []
        if held:
            yield pa.Table.from_batches(held)

    def _with_labels(self, rows: pa.Table, columns: Sequence[str]) -> pa.Table:
        self.deadline.check()
        return rows.join(self._newest(tuple(columns)), keys=ID, join_type="left outer")

    def _newest(self, columns: tuple[str, ...]) -> pa.Table:
        """The newest label of each id, by arrival and then by its place in the table."""
        if columns not in self._cache:
            assert self.labels is not None
            check_rows(self.labels.rows, MAX_LABELS)
            source = RowSource(self.labels.paths, self.labels.schema, None, self.deadline)
            names = list(dict.fromkeys([ID, ARRIVAL_TIME, *columns]))
            schema = pa.schema([self.labels.schema.field(name) for name in names])
            table = pa.Table.from_batches(list(source.batches(names)), schema)
            self._cache[columns] = newest_labels(table).select([ID, *columns])
        return self._cache[columns]

    def _with_classes(self, rows: pa.Table) -> pa.Table:
        for name, rule in self.classes.items():
            if set(rule.columns) <= set(rows.column_names):
                values = [rows.column(c).combine_chunks() for c in rule.columns]
                rows = rows.append_column(name, rule.derive(values))
        return rows


def newest_labels(table: pa.Table) -> pa.Table:
    """Of the labels of one id the one that arrived last; of those, the last in the table."""
    place = pa.array(np.arange(table.num_rows))
    ordered = pc.sort_indices(
        pa.table({"arrival": table.column(ARRIVAL_TIME), "place": place}),
        sort_keys=[("arrival", "ascending"), ("place", "ascending")],
    )
    table = table.take(ordered)
    last = (
        pa.table({ID: table.column(ID), "place": pa.array(np.arange(table.num_rows))})
        .group_by(ID, use_threads=False)
        .aggregate([("place", "max")])
    )
    return table.take(last.column("place_max"))
