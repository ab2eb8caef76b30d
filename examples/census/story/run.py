"""The story in one cell: the reference, then week by week the rows of a chunk and the labels of the chunk
five weeks before; after each, what the cell says is kept as it was said.

What this module must not do: judge. What is kept is read in `reading.py`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from examples.census import replay, train
from examples.census.kubectl import Waiting, wait_for
from examples.census.story import asking
from examples.census.story.chunks import LABELS_LATE, ROWS, Chunk
from examples.census.watched_model import DATASET
from modelwarden.client import Cell, Sending
from modelwarden.resources.report import StatusReport

Raw = dict[str, Any]
SENDING = Sending(rows_per_request=ROWS)
"""A chunk at once: the newest inference moves on by whole weeks, and whole weeks are searched and judged."""
PROFILE_SECONDS, SETTLE_SECONDS, TRAIN_SECONDS = 300.0, 300.0, 600.0


@dataclass
class Record:
    """What the cell said, as JSON. `newest[k]`: when chunk k was the newest; `labelled[k]`: when its labels
    had come.
    """

    reference: Raw = field(default_factory=dict)
    newest: list[Raw] = field(default_factory=list)
    labelled: list[Raw] = field(default_factory=list)
    seconds: float = 0.0

    def write(self, path: Path) -> None:
        """As a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote."""
        return cls(**json.loads(path.read_text()))


@dataclass
class Replay:
    """One cell, its chunks in order, and who hears how far it is."""

    cell: Cell
    chunks: Sequence[Chunk]
    heard: Callable[[str], None] = lambda _: None
    acknowledged: int = 0
    labels: int = 0

    def run(self, story: train.Story) -> Record:
        """All of it. Raises NotInTimeError if the cell does not come to an end with something."""
        record = Record(reference=self._reference(story))
        for week in range(len(self.chunks) + LABELS_LATE + 1):
            chunk = self.chunks[week] if week < len(self.chunks) else None
            late = week - LABELS_LATE - 1
            if late >= 0:
                self._send_labels(self.chunks[late])
            if chunk is not None:
                # A window is searched for hotspots once rows reach beyond its end and the delay of labels.
                self._send(chunk.rows.slice(0, 1))
            if late >= 0:
                self.heard(f"week {week}: the labels of week {late} have come")
                self._wait("everything is trained", self._trained, TRAIN_SECONDS)
                if chunk is None:
                    known = partial(self._labels_judged, self.chunks[late])
                    self._wait("the labels are judged", known, SETTLE_SECONDS)
                record.labelled.append(asking.labelled(self.cell, self.chunks[late]))
            if chunk is not None:
                self.heard(f"week {week}: {chunk.rows.num_rows} people")
                self._send(chunk.rows.slice(1))
                self._wait("the week is judged", partial(self._judged, chunk), SETTLE_SECONDS)
                if late >= 0:
                    known = partial(self._labels_judged, self.chunks[late])
                    self._wait("the labels are judged", known, SETTLE_SECONDS)
                record.newest.append(asking.newest(self.cell, chunk))
        return record

    def _reference(self, story: train.Story) -> Raw:
        self.heard("the reference")
        rows = replay.upload_reference(self.cell, story.reference, DATASET)
        self.cell.close_reference(rows, dataset=DATASET)
        self._wait("the reference is profiled", self._profiled, PROFILE_SECONDS)
        self._wait("everything is trained", self._trained, TRAIN_SECONDS)
        return asking.reference(self.cell)

    def _send(self, rows: pa.Table) -> None:
        self.acknowledged += self.cell.send(rows, sending=SENDING).acknowledged
        self._wait("the rows are stored", self._stored, SETTLE_SECONDS)

    def _send_labels(self, chunk: Chunk) -> None:
        self.labels += self.cell.send_labels(chunk.labels).acknowledged
        self._wait("the labels are stored", self._labelled, SETTLE_SECONDS)

    def _wait(self, what: str, look: Callable[[], tuple[bool, str]], seconds: float) -> None:
        wait_for(what, look, Waiting(seconds, every=0.1))

    def _status(self) -> StatusReport:
        return StatusReport.model_validate(self.cell.status())

    def _profiled(self) -> tuple[bool, str]:
        states = [entry.state for entry in self._status().reference]
        return states == ["profiled"], f"the reference is {states}"

    def _trained(self) -> tuple[bool, str]:
        told = [f"{entry.kind} {entry.state}" for entry in self._status().enrichments if entry.due]
        return not told, ", ".join(told)

    def _stored(self) -> tuple[bool, str]:
        rows = self._status().rows
        return rows.stored == self.acknowledged, f"{rows.stored} of {self.acknowledged} stored"

    def _labelled(self) -> tuple[bool, str]:
        labels = self._status().rows.labels
        return (labels.stored, labels.waiting) == (self.labels, 0), f"{labels.stored} of {self.labels} stored"

    def _judged(self, chunk: Chunk) -> tuple[bool, str]:
        """Whether all that looks at the newest window has seen all of its rows."""
        report, rows = self._status(), chunk.rows.num_rows
        seen: dict[str, object] = {"drift": report.drift and (report.drift.window_end, report.drift.rows)}
        if report.anomaly is not None:
            seen["anomalies"] = (report.anomaly.window_end, report.anomaly.scored)
        estimated = report.performance and report.performance.estimated
        if estimated is not None:
            n = estimated.metrics[0].n if estimated.metrics else rows
            seen["the estimate"] = (estimated.window_end, n)
        behind = [f"{name} {at}" for name, at in seen.items() if at != (chunk.end, rows)]
        return not behind and estimated is not None, f"behind: {', '.join(behind)}"

    def _labels_judged(self, chunk: Chunk) -> tuple[bool, str]:
        """Whether the verdict by labels is of this week and counts all of its labels."""
        told = self._status().performance
        so = told is not None and (told.window_end, told.labelled) == (chunk.end, chunk.labels.num_rows)
        return so, f"judged by labels: {told and told.window_end}, {told and told.labelled} labels"
