"""Sends the census through a cell's v3 API as it would have arrived: the reference in parts, then month
after month.

What this module must not do: know Kubernetes, or read the cell's files. It sees what any client sees.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.client import Cell, Sending, SendReport

ROWS_PER_REQUEST = 1000
REQUESTS_IN_FLIGHT = 3
REFERENCE_PART_ROWS = 10_000


@dataclass(frozen=True)
class Month:
    """One month of rows, in order of time."""

    name: str
    """2016-01"""
    start: datetime
    rows: pa.Table


def months(replay: pa.Table) -> Iterator[Month]:
    """The replay cut into calendar months (UTC); rows must be in order of time."""
    stamps = replay.column("inference_timestamp")
    starts = pc.floor_temporal(stamps, unit="month")
    begin = 0
    for group in pc.value_counts(starts.combine_chunks()).to_pylist():
        start: datetime = group["values"]
        yield Month(start.strftime("%Y-%m"), start, replay.slice(begin, group["counts"]))
        begin += group["counts"]


def send_month(cell: Cell, month: Month, heard: Callable[[SendReport], None]) -> SendReport:
    """Sends one month in JSON bodies of a thousand rows, a few at once; `heard` gets each answer."""
    sending = Sending(
        rows_per_request=ROWS_PER_REQUEST,
        in_flight=REQUESTS_IN_FLIGHT,
        raise_on_refused=False,
        on_answer=heard,
    )
    return cell.send(month.rows, sending=sending)


def upload_reference(cell: Cell, reference: pa.Table, dataset: str) -> int:
    """Uploads the reference in several parts; returns the number of rows the cell counted."""
    return cell.upload_reference(reference, dataset=dataset, rows_per_part=REFERENCE_PART_ROWS).rows
