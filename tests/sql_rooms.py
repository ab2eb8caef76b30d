"""Tables of any model in a folder, and queries over them, for tests of what a query comes to."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pyarrow as pa
from census_like import identity

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.door.reference_rows import reference_schema
from modelwarden_server.query.drift_answer import files_of
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.answer import Page, QuerySources, answered
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.store.delta import AppendTable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = Page()


@dataclass
class SqlRooms:
    """Three tables of one model and what may be asked of them."""

    identity: CellIdentity
    inferences: AppendTable
    labels: AppendTable
    reference: AppendTable
    model: QueriedModel
    engine: Engine

    @classmethod
    def of(
        cls, folder: Path, engine: Engine, attributes: Iterable[Mapping[str, Any]], **spec: Any
    ) -> "SqlRooms":
        cell = identity([dict(a) for a in attributes], **spec)
        schema = compile_schema(cell)
        return cls(
            cell,
            AppendTable.open(folder / "inferences", schema.inference_table),
            AppendTable.open(folder / "ground_truth", schema.truth_table),
            AppendTable.open(folder / "reference", reference_schema(schema)),
            QueriedModel.of(cell, 0.5),
            engine,
        )

    def store(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of inferences as one file; id, times and batch may be left out."""
        self._append(self.inferences, rows, {"inference_timestamp": NOON})

    def label(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Labels as one file."""
        self._append(self.labels, rows, {"ground_truth_timestamp": NOON})

    def refer(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Reference rows as one file."""
        self._append(self.reference, rows, {})

    def _append(self, table: AppendTable, rows: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> None:
        first = table.rows
        full = [
            {"partner_inference_id": f"i-{first + n}", "received_timestamp": NOON, "settings_generation": 1}
            | more
            | row
            for n, row in enumerate(rows)
        ]
        table.append(pa.Table.from_pylist(full, schema=table.schema), {})

    def sources(self) -> QuerySources:
        inferences, labels, reference = (
            files_of(t.folder, [f.name for f in t.files], t.rows, t.schema)
            for t in (self.inferences, self.labels, self.reference)
        )
        return QuerySources(self.model, inferences, labels, reference, lambda: None)

    def answer(self, page: Page = FIRST, seconds: float = 120, **query: Any) -> dict[str, Any]:
        """The whole answer to a query; `from_` is its `from`."""
        query = {name.rstrip("_"): value for name, value in query.items()}
        asked = parse_query(msgspec.json.encode(query))
        deadline = Deadline(time.monotonic() + seconds)
        found = answered(asked, page, self.sources(), deadline, self.engine)
        return json.loads(found, parse_constant=_not_json)

    def ask(self, *select: Any, **query: Any) -> list[dict[str, Any]]:
        """The rows of the answer."""
        return self.answer(select=list(select), **query)["query_result"]

    def one(self, function: str, **parameters: Any) -> Any:
        """The only value of a query of one function."""
        rows = self.ask(call(function, **parameters))
        assert len(rows) == 1
        return rows[0][function]


def call(function: str, alias: str | None = None, **parameters: Any) -> dict[str, Any]:
    """A function in a select; an underscore at the end of a parameter's name is left out."""
    plain = {name.rstrip("_"): value for name, value in parameters.items()}
    return {"function": function, "parameters": plain} | ({} if alias is None else {"alias": alias})


def frame(table: AppendTable) -> pd.DataFrame:
    """A table's rows, read by nothing that queries use."""
    return pd.concat([pd.read_parquet(table.folder / f.name) for f in table.files], ignore_index=True)


def _not_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
