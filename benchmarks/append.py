"""Appends to a Delta table, each one durable: our commit against `write_deltalake` with its defaults.

The peer syncs nothing; ours syncs the file, the entry and the folders. The ratio counts CPU, so what the
disk makes us wait is not in it.
"""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from benchmarks.harness import Case, here
from modelwarden_server.store.delta import AppendTable

COLUMNS = 30


def cases(folder: Path) -> Sequence[Case]:
    """Small commits and large ones."""
    return [_case(folder, 1_000, 10, target=2), _case(folder, 100_000, 2, target=3)]


def _case(folder: Path, rows: int, commits: int, target: float) -> Case:
    rng = np.random.default_rng(7)
    batch = pa.record_batch({f"f{i}": rng.normal(size=rows) for i in range(COLUMNS)})
    number = count(1)
    ours = AppendTable.open(_empty(folder / f"ours-{rows}"), batch.schema)
    theirs = str(folder / f"peer-{rows}")

    def append_ours() -> int:
        return _repeat(commits, rows, lambda: ours.append([batch], {"bench": next(number)}))

    def append_theirs() -> int:
        return _repeat(commits, rows, lambda: write_deltalake(theirs, pa.table(batch), mode="append"))

    return Case(
        f"append {rows:,} rows a commit",
        "write_deltalake",
        "rows",
        here(append_ours),
        here(append_theirs),
        target,
    )


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _repeat(times: int, rows: int, work: Callable[[], object]) -> int:
    for _ in range(times):
        work()
    return times * rows
