"""What the cell is asked for each chunk: its status, and what its doors say of that week.

What this module must not do: change or shorten an answer.
"""

from typing import Any

from examples.census import data
from examples.census.story.chunks import Chunk
from examples.census.watched_model import hotspot_threshold
from modelwarden.client import Cell, CellError

Raw = dict[str, Any]
NOT_FOUND = 404


def reference(cell: Cell) -> Raw:
    """What is said once the reference is profiled and everything is trained on it."""
    return {"status": cell.status()}


def newest(cell: Cell, chunk: Chunk) -> Raw:
    """What is said of a chunk while it is the newest, none of its labels known."""
    return {"status": cell.status(), "anomalies": _of(cell, "/anomalies", chunk, limit="3")}


def labelled(cell: Cell, chunk: Chunk) -> Raw:
    """What is said of a chunk once all of its labels have come."""
    groups = [_of(cell, "/fairness", chunk, attribute=attribute) for attribute in data.PROTECTED]
    return {"status": cell.status(), "hotspots": _hotspots(cell, chunk), "fairness": groups}


def _hotspots(cell: Cell, chunk: Chunk) -> Raw | None:
    """The regions under the threshold that the model's Enrichment declares; None if the week was not
    searched.
    """
    day, threshold = chunk.start.date().isoformat(), str(hotspot_threshold())
    try:
        found = cell.ask("/enrichments/hotspots/find", date=day, threshold=threshold)
    except CellError as refused:
        if refused.status == NOT_FOUND:
            return None
        raise
    return found if found["window_start"] == chunk.start.strftime("%Y-%m-%dT%H:%M:%SZ") else None


def _of(cell: Cell, path: str, chunk: Chunk, **params: str) -> Raw:
    """What a door says of the chunk's week."""
    return cell.ask(path, start=chunk.start.isoformat(), end=chunk.end.isoformat(), **params)
