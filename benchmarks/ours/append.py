"""Durable commits to a Delta table of ours: file, entry and folders are synced before each is done."""

import atexit
import sys
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from benchmarks.peers import table_rows
from benchmarks.peers.turns import Round, serve
from modelwarden_server.store.delta import AppendTable


def prepare_large(scale: float) -> Round:
    """Two commits of 100 000 rows a round."""
    return _prepare(max(100, round(100_000 * scale)), 2)


def prepare_small(scale: float) -> Round:
    """Commits of 1000 rows, ten a round."""
    return _prepare(1000, max(1, round(10 * scale)))


def _prepare(rows: int, commits: int) -> Round:
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    batches = table_rows.rows(rows).to_batches()
    table = AppendTable.open(Path(folder.name) / "ours", table_rows.SCHEMA, plain=frozenset({table_rows.ID}))
    number = count(1)

    def once() -> Mapping[str, float]:
        written = [table.append(batches, {"bench": next(number)}) for _ in range(commits)]
        size = sum(file.size for commit in written for file in commit.files)
        return {"units": commits * rows, "bytes": size / (commits * rows)}

    return once


if __name__ == "__main__":
    serve(prepare_small if sys.argv[2:] == ["small"] else prepare_large, "modelwarden")
