"""Appends to a Delta table by `write_deltalake` with its defaults. Nothing is synced."""

import atexit
import tempfile
from collections.abc import Mapping

import table_rows
from deltalake import DeltaTable, write_deltalake
from turns import Round, serve

COMMITS = 2


def prepare(scale: float) -> Round:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    path = f"{folder.name}/peer"
    rows = table_rows.rows(max(100, round(100_000 * scale)))

    def once() -> Mapping[str, float]:
        for _ in range(COMMITS):
            write_deltalake(path, rows, mode="append")
        sizes = DeltaTable(path).get_add_actions(flatten=True).column("size_bytes").to_pylist()
        return {"units": COMMITS * rows.num_rows, "bytes": sum(sizes) / len(sizes) / rows.num_rows}

    return once


if __name__ == "__main__":
    serve(prepare, "deltalake")
