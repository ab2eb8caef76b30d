"""What the cell is asked for each chunk: its status, and what its doors say of that week.

What this module must not do: change or shorten an answer.
"""

from typing import Any

from examples.census.story.chunks import Chunk
from modelwarden.client import Cell

Raw = dict[str, Any]


def reference(cell: Cell) -> Raw:
    """What is said once the reference is profiled and everything is trained on it."""
    return {"status": cell.status()}


def newest(cell: Cell, _chunk: Chunk) -> Raw:
    """What is said of a chunk while it is the newest, none of its labels known."""
    return {"status": cell.status()}


def labelled(cell: Cell, _chunk: Chunk) -> Raw:
    """What is said of a chunk once all of its labels have come."""
    return {"status": cell.status()}
