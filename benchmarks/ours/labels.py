"""Late labels our way: appended durably to a table of their own. Variant `join`: a question over both tables,
by the engine that answers queries.
"""

import atexit
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import wide_model
from benchmarks.peers import table_rows
from benchmarks.peers.turns import Round, serve
from modelwarden_server.query.drift_answer import files_of
from modelwarden_server.query.scan import Deadline, Files
from modelwarden_server.query.sql.answer import Page, QuerySources, answered
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.store.delta import AppendTable

ROWS = 1_000_000
LABELS = 100_000
FILES = 10
SCHEMA = compile_schema(wide_model.identity())
_QUESTION = {
    "select": [
        {"function": "count", "alias": "labelled", "parameters": {"property": "truth"}},
        {"function": "rmse", "alias": "rmse", "parameters": {}},
    ]
}


def prepare_write(scale: float) -> Round:
    """One commit of 100 000 labels a round."""
    table = _table("truth", SCHEMA.truth_table)
    given = _labels(round(LABELS * scale), round(ROWS * scale))
    number = count(1)

    def once() -> int:
        return table.append(given, {"bench": next(number)}).rows

    return once


def prepare_join(scale: float) -> Round:
    """One question a round, of the error of a million rows of which 100 000 have labels."""
    rows, truth = _table("rows", SCHEMA.inference_table), _table("truth", SCHEMA.truth_table)
    every = round(ROWS * scale / FILES)
    for place in range(FILES):
        rows.append(_rows(every, place * every), {"bench": place + 1})
    given = _labels(round(LABELS * scale), every * FILES)
    truth.append(given, {"bench": 1})
    model = QueriedModel.of(wide_model.identity(), 0.5)
    sources = QuerySources(model, _files(rows), _files(truth), None, lambda: None)
    engine, question = Engine(), json.dumps(_QUESTION).encode()
    atexit.register(engine.close)

    def once() -> Mapping[str, float]:
        deadline = Deadline(time.monotonic() + 60)
        answer = json.loads(answered(parse_query(question), Page(), sources, deadline, engine))
        if answer["query_result"][0]["labelled"] != given.num_rows:
            raise AssertionError(f"of {given.num_rows} labels the answer has {answer}")
        return {"units": every * FILES}

    return once


def _table(name: str, schema: pa.Schema) -> AppendTable:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    return AppendTable.open(Path(folder.name) / name, schema, plain=frozenset({table_rows.ID}))


def _files(table: AppendTable) -> Files:
    return files_of(table.folder, [file.name for file in table.files], table.rows, table.schema)


def _rows(number: int, first: int) -> pa.Table:
    rng = np.random.default_rng(first)
    given = table_rows.rows(number, first)
    made = dict(zip(given.schema.names, given.columns, strict=True))
    words = pa.array(
        np.array(["alpha", "beta", "gamma"], dtype=object)[rng.integers(0, 3, number)], pa.string()
    )
    return _filled(number, SCHEMA.inference_table, made, rng, words)


def _labels(number: int, of: int) -> pa.Table:
    given = table_rows.labels(number, of, seed=1)
    made = dict(zip(given.schema.names, given.columns, strict=True))
    return _filled(number, SCHEMA.truth_table, made, np.random.default_rng(1), pa.nulls(number, pa.string()))


def _filled(
    number: int,
    schema: pa.Schema,
    made: Mapping[str, pa.ChunkedArray],
    rng: np.random.Generator,
    words: pa.Array,
) -> pa.Table:
    """Columns that are not given: random numbers, words, one moment for all."""
    columns = []
    for field in schema:
        if field.name in made:
            columns.append(made[field.name])
        elif pa.types.is_string(field.type):
            columns.append(words)
        elif pa.types.is_timestamp(field.type):
            columns.append(pa.array(np.full(number, 1_700_000_000_000_000), field.type))
        elif pa.types.is_integer(field.type):
            columns.append(pa.array(rng.integers(0, 100, number)).cast(field.type))
        else:
            columns.append(pa.array(rng.normal(size=number), field.type))
    return pa.table(columns, schema=schema)


if __name__ == "__main__":
    serve(prepare_join if sys.argv[2:] == ["join"] else prepare_write, "modelwarden")
