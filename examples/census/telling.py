"""The story itself, in one cell: the reference goes up and is closed, the years are replayed with labels that
come months later, then it is asked what it saw.

The tests tell the same story with fewer people.

What this module must not do: make a cluster, or install anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from rich.console import Console

from examples.census import data, delta_reader, replay, train, watched_model
from examples.census.display import ReplayDisplay
from examples.census.findings import Findings, Reasons, labelled_month, strangest_month
from examples.census.kubectl import Waiting, wait_for
from examples.census.tables import tables_folder
from examples.census.watched_model import DATASET, MODEL, WatchedModel
from modelwarden.client import Cell, CellError, SendReport

SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class Passage:
    """How many were counted at each point of the way."""

    sent: int
    acknowledged: int
    rejected: int
    stored: int
    """Read from the Delta table by the witness."""
    distinct_ids: int

    @property
    def all_there(self) -> bool:
        """Whether all that was sent was acknowledged and is in the table, and once."""
        return self.sent == self.acknowledged == self.stored == self.distinct_ids


@dataclass(frozen=True)
class Counts:
    """Rows at each point of their way."""

    reference: int
    rows: Passage
    labels: Passage
    labels_to_come: int
    """Labels that become known only after the story's end."""

    @property
    def all_there(self) -> bool:
        """Whether every row and every label is where it must be."""
        return self.rows.all_there and self.labels.all_there


@dataclass(frozen=True)
class Told:
    """What the replay brought to light."""

    counts: Counts
    scores: pd.DataFrame
    """PSI: a row a month, a column a feature."""
    labelled: pd.DataFrame
    """A row a month: `rows`, the share of them that has a label (`labelled`), the AUC of those (`auc`)."""
    findings: Findings
    tables: Path


@dataclass(frozen=True)
class _Replayed:
    rows: SendReport
    labels: SendReport
    months: list[replay.Month]


def tell(model: WatchedModel, cell: Cell, story: train.Story, folder: Path) -> Told:
    """Uploads the reference, replays the years, asks what came of it. `folder`: for a copy of the tables."""
    reporter = model.reporter
    with reporter.step(f"Upload {story.reference.num_rows:,} people of 2015 as the reference"):
        reference_rows = replay.upload_reference(cell, story.reference, DATASET)
    model.close_reference(reference_rows)
    model.wait_for_server()
    sent = _replay(cell, story)
    with reporter.step("The writer moves the last rows and labels from the log to the tables") as step:
        wait_for(
            "all rows and labels are stored",
            lambda: _settled(cell, sent),
            Waiting(SETTLE_SECONDS, every=0.25, heard=lambda now: step.advance(0, None, now)),
        )
    tables = tables_folder(model.cluster, model.namespace, MODEL, folder)
    with reporter.step("Count rows and labels by reading the Delta tables, without our own code"):
        rows = _passage(sent.rows, delta_reader.count(tables / "inferences"))
        labels = _passage(sent.labels, delta_reader.count(tables / "ground_truth"))
    counts = Counts(reference_rows, rows, labels, story.labels.num_rows - labels.sent)
    with reporter.step("Ask for the drift of every month, and how right the model was"):
        scores = ask_drift(cell, expected_months=len(sent.months))
        labelled = ask_labels(cell)
    model.wait_for_enrichments()
    with reporter.step("Ask who is unlike the others, how right the model is, for whom, and where not"):
        findings = ask_findings(cell, sent.months)
    with reporter.step("Ask why, of everybody and of one person"):
        findings = replace(findings, reasons=ask_reasons(cell, sent.months, findings))
    return Told(counts, scores, labelled, findings, tables)


def _passage(sent: SendReport, counted: delta_reader.TableCount) -> Passage:
    return Passage(sent.sent, sent.acknowledged, len(sent.refused), counted.rows, counted.distinct_ids)


def _replay(cell: Cell, story: train.Story) -> _Replayed:
    console = Console(stderr=True)
    rows, labels, before = SendReport(), SendReport(), None
    monthly = list(replay.months(story.replay))
    console.print(f"==> Replay {story.replay.num_rows:,} people, month by month, as they would have arrived")
    due = replay.known_by(story.labels, None, monthly[-1].end).num_rows
    with ReplayDisplay(console, story.replay.num_rows + due).shown() as display:
        for month in monthly:
            display.month(month.name, month.rows.num_rows)
            rows += replay.send_month(cell, month, lambda answered: display.sent(answered.sent))
            known = replay.known_by(story.labels, before, month.end)
            labels += replay.send_labels(cell, known, lambda answered: display.labelled(answered.sent))
            before = month.end
    return _Replayed(rows, labels, monthly)


def _settled(cell: Cell, sent: _Replayed) -> tuple[bool, str]:
    rows = cell.status()["rows"]
    labels = rows["labels"]
    done = rows["waiting"] == 0 and rows["stored"] == sent.rows.acknowledged
    settled = labels["waiting"] == 0 and labels["stored"] == sent.labels.acknowledged
    said = f"{rows['stored']:,} of {sent.rows.acknowledged:,} rows stored, {labels['stored']:,} of "
    return done and settled, said + f"{sent.labels.acknowledged:,} labels"


def ask_labels(cell: Cell) -> pd.DataFrame:
    """By month: rows, the share of them that has a label by now, and the area under the curve of those."""
    known = {"property": data.LABEL, "comparator": "NotNull", "value": ""}
    select = [
        {"function": "count", "alias": "rows"},
        {"function": "rate", "alias": "labelled", "parameters": known},
        {"function": "auc", "alias": "auc"},
    ]
    found = cell.query({"select": select, "rollup": "month"})
    found["month"] = pd.to_datetime(found.pop("rollup"), utc=True)
    return found.set_index("month").sort_index().astype({"auc": "float64"})


def ask_findings(cell: Cell, months: Sequence[replay.Month]) -> Findings:
    """How the model does: anomalies and performance by month, groups in the newest month that has labels, and
    the worst slices of the newest window that was searched; waits until every row has its anomaly score.
    """

    def all_scored() -> tuple[bool, str]:
        waiting = (cell.status().get("anomaly") or {}).get("waiting", -1)
        return waiting == 0, f"{waiting} rows have no anomaly score yet"

    wait_for("anomaly scores", all_scored, Waiting(SETTLE_SECONDS))
    performance = cell.ask("/performance", rollup="month")["query_result"]
    newest = labelled_month(performance)["start"][:7]
    month = next(month for month in months if month.name == newest)
    groups = [cell.ask("/fairness", attribute=attribute, **_between(month)) for attribute in data.PROTECTED]
    return Findings(
        anomalies={month.name: cell.ask("/anomalies", limit="0", **_between(month)) for month in months},
        performance=performance,
        fairness=groups,
        hotspots=ask_hotspots(cell),
    )


def ask_reasons(cell: Cell, months: Sequence[replay.Month], found: Findings) -> Reasons:
    """What matters to the model in the first month and in the one with the strangest people, and why it said
    what it said of the strangest of those; waits until every row is explained.
    """

    def all_explained() -> tuple[bool, str]:
        waiting = cell.status()["server"]["explanations"]["waiting"]
        return waiting == 0, f"{waiting} rows have no explanation yet"

    wait_for("explanations", all_explained, Waiting(watched_model.SERVER_SECONDS, every=1.0))
    strangest = strangest_month(found.anomalies)
    named = {month.name: month for month in months}
    chosen = (months[0].name, strangest)
    worst = cell.ask("/anomalies", limit="1", **_between(named[strangest]))["worst"][0]
    person = quote(worst["partner_inference_id"], safe="")
    return Reasons(
        importance={name: cell.ask("/explanations/importance", **_between(named[name])) for name in chosen},
        person=cell.inference(worst["partner_inference_id"]).row,
        why=cell.ask(f"/inferences/{person}/explanation"),
        explained=cell.status()["server"]["explanations"]["explained"],
    )


def ask_hotspots(cell: Cell) -> dict[str, Any]:
    """The worst slices of the newest window; waits until no window is left to be searched: Ready may also
    mean that the reference was, and a window still is to be.
    """
    found: dict[str, Any] = {}

    def searched() -> tuple[bool, str]:
        nonlocal found
        (entry,) = (one for one in cell.status()["enrichments"] if one["kind"] == "hotspots")
        if entry["due"]:
            return False, f"{entry['state']}: {entry['message']}"
        try:
            found = cell.ask("/enrichments/hotspots/find", threshold=str(watched_model.hotspot_threshold()))
        except CellError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False, str(error)
        return True, ""

    wait_for("hotspots of the newest window", searched, Waiting(watched_model.TRAIN_SECONDS, every=1.0))
    return found


def _between(month: replay.Month) -> dict[str, str]:
    return {"start": month.start.isoformat(), "end": month.end.isoformat()}


def ask_drift(cell: Cell, expected_months: int) -> pd.DataFrame:
    """PSI of everything the model is shown, is watched for and says, by month; waits until every month is
    there.
    """
    features = [*data.INPUTS, *data.PROTECTED, train.PREDICTION]
    found = pd.DataFrame()

    def all_counted() -> tuple[bool, str]:
        nonlocal found
        found = cell.drift(features, rollup="month")
        return len(found) == expected_months, f"{len(found)} of {expected_months} months"

    wait_for("drift of every month", all_counted, Waiting(SETTLE_SECONDS))
    return found
