"""The story itself, in one cell: the reference goes up and is closed, the years are replayed, then it is
asked what it saw.

The tests tell the same story with fewer people.

What this module must not do: make a cluster, or install anything.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from examples.census import data, delta_reader, replay, train
from examples.census.display import ReplayDisplay
from examples.census.kubectl import Waiting, wait_for
from examples.census.tables import tables_folder
from examples.census.watched_model import DATASET, MODEL, WatchedModel
from modelwarden.client import Cell, SendReport

SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class Counts:
    """Rows at each point of their way."""

    reference: int
    sent: int
    acknowledged: int
    stored: int
    """Read from the Delta table by the witness."""
    distinct_ids: int
    rejected: int

    @property
    def all_there(self) -> bool:
        """Whether every row that was sent was acknowledged and is in the table, and once."""
        return self.sent == self.acknowledged == self.stored == self.distinct_ids


@dataclass(frozen=True)
class Told:
    """What the replay brought to light."""

    counts: Counts
    scores: pd.DataFrame
    """PSI: a row a month, a column a feature."""
    rows_by_month: dict[pd.Timestamp, int]
    tables: Path


def tell(model: WatchedModel, cell: Cell, story: train.Story, folder: Path) -> Told:
    """Uploads the reference, replays the years, asks what came of it. `folder`: for a copy of the tables."""
    reporter = model.reporter
    with reporter.step(f"Upload {story.reference.num_rows:,} people of 2015 as the reference"):
        reference_rows = replay.upload_reference(cell, story.reference, DATASET)
    model.close_reference(reference_rows)
    sent, monthly = _replay(cell, story)
    with reporter.step("The writer moves the last rows from the log to the table") as step:
        wait_for(
            "all rows are stored",
            lambda: _settled(cell, sent.acknowledged),
            Waiting(SETTLE_SECONDS, every=0.25, heard=lambda now: step.advance(0, None, now)),
        )
    tables = tables_folder(model.cluster, model.namespace, MODEL, folder)
    with reporter.step("Count the rows by reading the Delta table, without our own code"):
        counted = delta_reader.count(tables / "inferences")
    counts = Counts(
        reference=reference_rows,
        sent=sent.sent,
        acknowledged=sent.acknowledged,
        stored=counted.rows,
        distinct_ids=counted.distinct_ids,
        rejected=len(sent.refused),
    )
    with reporter.step("Ask for the drift of every month"):
        scores = ask_drift(cell, expected_months=len(monthly))
    rows_by_month = {pd.Timestamp(month.start): month.rows.num_rows for month in monthly}
    return Told(counts, scores, rows_by_month, tables)


def _replay(cell: Cell, story: train.Story) -> tuple[SendReport, list[replay.Month]]:
    console = Console(stderr=True)
    total = SendReport()
    monthly = list(replay.months(story.replay))
    console.print(f"==> Replay {story.replay.num_rows:,} people, month by month, as they would have arrived")
    with ReplayDisplay(console, story.replay.num_rows).shown() as display:
        for month in monthly:
            display.month(month.name, month.rows.num_rows)
            total += replay.send_month(cell, month, lambda answered: display.sent(answered.sent))
    return total, monthly


def _settled(cell: Cell, acknowledged: int) -> tuple[bool, str]:
    rows = cell.status()["rows"]
    done = rows["waiting"] == 0 and rows["stored"] == acknowledged
    return done, f"{rows['stored']:,} of {acknowledged:,} stored, {rows['waiting']:,} waiting"


def ask_drift(cell: Cell, expected_months: int) -> pd.DataFrame:
    """PSI of everything the model is shown, is watched for and says, by month; waits until every month is
    there.
    """
    features = [*data.INPUTS, *data.PROTECTED, train.PREDICTION]
    found = pd.DataFrame()

    def all_counted() -> tuple[bool, str]:
        nonlocal found
        found = cell.drift(features, rollup="month")
        waiting = bool(found.attrs["rows_still_waiting"])
        said = f"{len(found)} of {expected_months} months" + (
            ", some rows not counted yet" if waiting else ""
        )
        return len(found) == expected_months and not waiting, said

    wait_for("drift of every month", all_counted, Waiting(SETTLE_SECONDS))
    return found
