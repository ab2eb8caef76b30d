"""Sends the census through a cell's v3 API as it would have arrived: the reference in parts, then month
after month, and at the end of each month the labels that have become known by then.

What this module must not do: know Kubernetes, or read the cell's files. It sees what any client sees.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.client import Cell, Sending, SendReport

ROWS_PER_REQUEST = 1000
REQUESTS_IN_FLIGHT = 3
LABELS_PER_REQUEST = 5000
REFERENCE_PART_ROWS = 10_000


@dataclass(frozen=True)
class Month:
    """One month of rows, in order of time."""

    name: str
    """2016-01"""
    start: datetime
    rows: pa.Table

    @property
    def end(self) -> datetime:
        """The first moment of the next month."""
        return (self.start + timedelta(days=31)).replace(day=1)


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


def known_by(labels: pa.Table, since: datetime | None, until: datetime) -> pa.Table:
    """The labels that become known after `since` (None: ever before) and not after `until`."""
    stamps = labels.column("ground_truth_timestamp")
    known = pc.less_equal(stamps, pa.scalar(until, stamps.type))
    if since is not None:
        known = pc.and_(known, pc.greater(stamps, pa.scalar(since, stamps.type)))
    return labels.filter(known)


def send_labels(cell: Cell, labels: pa.Table, heard: Callable[[SendReport], None]) -> SendReport:
    """Sends labels of people who were sent months ago; `heard` gets each answer."""
    sending = Sending(
        rows_per_request=LABELS_PER_REQUEST,
        in_flight=REQUESTS_IN_FLIGHT,
        raise_on_refused=False,
        on_answer=heard,
    )
    return cell.send_labels(labels, sending=sending)


def upload_reference(cell: Cell, reference: pa.Table, dataset: str) -> int:
    """Uploads the reference in several parts; returns the number of rows the cell counted."""
    return cell.upload_reference(reference, dataset=dataset, rows_per_part=REFERENCE_PART_ROWS).rows
