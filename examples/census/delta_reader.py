"""Counts the rows of a Delta table by reading it, with nothing of ours and no Delta library: the demo's
witness.

The table format is an open one: a folder of JSON commits that add and remove parquet files, sometimes
summed up in a checkpoint. Written from the public protocol, so that it would notice if the writer's own
library agreed with itself.

What this module must not do: import modelwarden, modelwarden_server or deltalake.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


@dataclass(frozen=True)
class TableCount:
    """What is in a table at its newest version."""

    version: int
    rows: int
    distinct_ids: int


def count(table: Path, id_column: str = "partner_inference_id") -> TableCount:
    """Reads the log for the files of the newest version, and the files for their rows and ids.

    Raises:
        FileNotFoundError: the folder is no Delta table, or a file that the log names is missing.
    """
    version, files = _newest(table)
    columns = [pq.read_table(table / file, columns=[id_column]).column(id_column) for file in sorted(files)]
    ids = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    return TableCount(version, rows=len(ids), distinct_ids=pc.count_distinct(ids).as_py())


def _newest(table: Path) -> tuple[int, set[str]]:
    log = table / "_delta_log"
    commits = sorted(path for path in log.glob("*.json") if path.stem.isdecimal())
    start, files = _checkpoint(log)
    if start < 0 and not commits:
        raise FileNotFoundError(f"{table} has no _delta_log: it is not a Delta table")
    version = start
    for commit in commits:
        if int(commit.stem) > start:
            version = int(commit.stem)
            for line in commit.read_text().splitlines():
                _apply(json.loads(line), files)
    return version, files


def _checkpoint(log: Path) -> tuple[int, set[str]]:
    pointer = log / "_last_checkpoint"
    if not pointer.exists():
        return -1, set()
    version = int(json.loads(pointer.read_text())["version"])
    files: set[str] = set()
    for action in _checkpoint_actions(log, version):
        _apply(action, files)
    return version, files


def _checkpoint_actions(log: Path, version: int) -> Iterator[dict[str, dict[str, str] | None]]:
    for part in sorted(log.glob(f"{version:020d}.checkpoint*.parquet")):
        columns = [name for name in ("add", "remove") if name in pq.read_schema(part).names]
        yield from pq.read_table(part, columns=columns).to_pylist()


def _apply(action: dict[str, dict[str, str] | None], files: set[str]) -> None:
    if removed := action.get("remove"):
        files.discard(unquote(removed["path"]))
    if added := action.get("add"):
        files.add(unquote(added["path"]))
