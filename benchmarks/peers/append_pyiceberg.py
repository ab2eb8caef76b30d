"""Commits of 1000 rows to an Iceberg table by pyiceberg, its catalogue in SQLite."""

import atexit
import tempfile

import table_rows
from pyiceberg.catalog.sql import SqlCatalog
from turns import Round, serve


def prepare(scale: float) -> Round:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    where = {"uri": f"sqlite:///{folder.name}/catalog.db", "warehouse": f"file://{folder.name}"}
    catalog = SqlCatalog("bench", **where)
    catalog.create_namespace("bench")
    table = catalog.create_table("bench.inferences", schema=table_rows.SCHEMA)
    rows, commits = table_rows.rows(1000), max(1, round(10 * scale))

    def once() -> int:
        for _ in range(commits):
            table.append(rows)
        return commits * rows.num_rows

    return once


if __name__ == "__main__":
    serve(prepare, "pyiceberg")
