"""Late labels our way: appended durably to a table of their own. Variant `join`: what a reader pays for it."""

import atexit
import sys
import tempfile
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from benchmarks.peers import table_rows
from benchmarks.peers.turns import Round, serve
from modelwarden_server.store.delta import AppendTable

ROWS = 1_000_000
LABELS = 100_000
FILES = 10
_JOINED = f"""
    WITH newest AS (
        SELECT {table_rows.ID}, arg_max(truth, ground_truth_timestamp) AS truth FROM labels GROUP BY ALL
    )
    SELECT count(newest.truth), sum((rows.x0 > 0)::INT = newest.truth)
    FROM rows LEFT JOIN newest USING ({table_rows.ID})
"""


def prepare_write(scale: float) -> Round:
    """One commit of 100 000 labels a round."""
    table = AppendTable.open(_folder() / "truth", table_rows.LABELS, plain=frozenset({table_rows.ID}))
    given = table_rows.labels(round(LABELS * scale), round(ROWS * scale), seed=1)
    number = count(1)

    def once() -> int:
        return table.append(given, {"bench": next(number)}).rows

    return once


def prepare_join(scale: float) -> Round:
    """One query a round that joins 100 000 labels to a million rows."""
    folder, every = _folder(), round(ROWS * scale / FILES)
    table = AppendTable.open(folder / "rows", table_rows.SCHEMA, plain=frozenset({table_rows.ID}))
    for place in range(FILES):
        table.append(table_rows.rows(every, place * every), {"bench": place + 1})
    truth = AppendTable.open(folder / "truth", table_rows.LABELS, plain=frozenset({table_rows.ID}))
    given = table_rows.labels(round(LABELS * scale), every * FILES, seed=1)
    truth.append(given, {"bench": 1})

    def once() -> Mapping[str, float]:
        started = time.perf_counter()
        with duckdb.connect() as connection:
            connection.register("rows", _dataset(table))
            connection.register("labels", _dataset(truth))
            found = connection.execute(_JOINED).fetchone()
        if found is None or found[0] != given.num_rows:
            raise AssertionError(f"of {given.num_rows} labels the join has {found}")
        return {"units": every * FILES, "seconds": time.perf_counter() - started}

    return once


def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _dataset(table: AppendTable) -> ds.Dataset:
    return ds.dataset([str(table.folder / file.name) for file in table.files], schema=table.schema)


if __name__ == "__main__":
    serve(prepare_join if sys.argv[2:] == ["join"] else prepare_write, "modelwarden")
