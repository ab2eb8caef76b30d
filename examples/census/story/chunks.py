"""Three years of people cut into chunks of 5000 in the order of the file, each a week of its own, and what is
true of them by scikit-learn.

The order is the table's and the labels are the census's own. The weeks are made up: the first chunk is the
week from Monday 4 January 2016, its rows spread evenly over it. What this module must not do: ask a cell.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from examples.census import data, train

ROWS = 5000
WEEK = timedelta(days=7)
FIRST = datetime(2016, 1, 4, tzinfo=UTC)
LABELS_LATE = 5
"""Weeks after the end of a week until its labels become known, all at once."""
SURE = 3.0
"""Standard errors by which a chunk's true AUC must lie below the reference's to be called a collapse."""
IN_QUARTERS = frozenset({"16", "17"})
"""Codes of RELP of people in group quarters: dormitories, nursing homes, prisons."""

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Truth:
    """What is true of a chunk, by scikit-learn and numpy."""

    auc: float
    accuracy: float
    employed: float
    """Share of people with a job."""
    in_quarters: float
    """Share of people in group quarters."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """One chunk. `rows` is what is sent of it, `labels` what becomes known `LABELS_LATE` weeks later."""

    number: int
    start: datetime
    rows: pa.Table
    labels: pa.Table

    @property
    def end(self) -> datetime:
        """The first moment after its week."""
        return self.start + WEEK

    @property
    def known(self) -> datetime:
        """When its labels become known."""
        return self.end + LABELS_LATE * WEEK

    @cached_property
    def truth(self) -> Truth:
        """What is true of it."""
        return truth_of(self.rows, self.labels.column(data.LABEL).to_numpy())


def chunks(story: train.Story, rows: int = ROWS) -> Iterator[Chunk]:
    """The people to replay in chunks of so many rows, the last one with what is left."""
    for number, first in enumerate(range(0, story.replay.num_rows, rows)):
        start = FIRST + number * WEEK
        sent, known = story.replay.slice(first, rows), story.labels.slice(first, rows)
        yield Chunk(
            number,
            start,
            _with(sent, "inference_timestamp", _spread(start, sent.num_rows)),
            _with(known, "ground_truth_timestamp", _same(start + (1 + LABELS_LATE) * WEEK, known.num_rows)),
        )


def truth_of(people: pa.Table, employed: Labels) -> Truth:
    """What is true of these people and their predictions."""
    from sklearn.metrics import accuracy_score, roc_auc_score

    scores: Scores = people.column(train.PREDICTION).to_numpy()
    quarters = np.isin(np.asarray(people.column("RELP").to_pylist()), list(IN_QUARTERS))
    return Truth(
        auc=float(roc_auc_score(employed, scores)),
        accuracy=float(accuracy_score(employed, scores >= 0.5)),
        employed=float(employed.mean()),
        in_quarters=float(quarters.mean()),
    )


def shipped_auc(wheel: Path, rows: int = ROWS) -> list[float]:
    """The AUC of each chunk by the scores that the tables ship, which are another model's."""
    from sklearn.metrics import roc_auc_score

    with zipfile.ZipFile(wheel) as archive:
        scores, labels = (
            pq.read_table(io.BytesIO(archive.read(data.TABLES.format(name))), columns=["id", column])
            .sort_by("id")
            .column(column)
            .to_numpy()
            for name, column in (("analysis", "predicted_probability"), ("analysis_target", data.LABEL))
        )
    starts = range(0, len(scores), rows)
    return [float(roc_auc_score(labels[at : at + rows], scores[at : at + rows])) for at in starts]


def found_by_group(people: pa.Table, employed: Labels, attribute: str) -> dict[str, float]:
    """By group of the attribute, of the people with a job the share that the model finds: the recall."""
    from sklearn.metrics import recall_score

    groups = np.asarray(people.column(attribute).to_pylist())
    found = people.column(train.PREDICTION).to_numpy() >= 0.5
    return {
        str(group): float(recall_score(employed[groups == group], found[groups == group]))
        for group in np.unique(groups[employed == 1])
    }


def least_auc(reference: Truth, rows: int) -> float:
    """The AUC below which a chunk of so many rows has collapsed: the reference's less `SURE` standard errors.

    Standard error of an AUC from so many rows by Hanley and McNeil (Radiology 143, 1982), formula 2.
    """
    a = reference.auc
    positive, negative = reference.employed * rows, (1 - reference.employed) * rows
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = a * (1 - a) + (positive - 1) * (q1 - a * a) + (negative - 1) * (q2 - a * a)
    return a - SURE * math.sqrt(variance / (positive * negative))


def _with(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def _spread(start: datetime, rows: int) -> pa.Array:
    first, length = _microseconds(start), WEEK // timedelta(microseconds=1)
    return pa.array(first + np.arange(rows, dtype="int64") * length // rows, pa.timestamp("us", tz="UTC"))


def _same(moment: datetime, rows: int) -> pa.Array:
    return pa.array(np.full(rows, _microseconds(moment)), pa.timestamp("us", tz="UTC"))


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
