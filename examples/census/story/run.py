"""The story in one cell: the reference, then week by week the rows of a chunk and the labels of the chunk
five weeks before; after each, what the cell says is kept as it was said.

What this module must not do: judge. What is kept is read in `reading.py`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from examples.census import replay, train
from examples.census.kubectl import Waiting, wait_for
from examples.census.story import asking
from examples.census.story.chunks import LABELS_LATE, Chunk
from examples.census.watched_model import DATASET
from modelwarden.client import Cell, Sending
from modelwarden.resources.report import StatusReport

Raw = dict[str, Any]
PROFILE_SECONDS, SETTLE_SECONDS, TRAIN_SECONDS = 120.0, 60.0, 180.0


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
        for week in range(len(self.chunks) + LABELS_LATE):
            if week < len(self.chunks):
                chunk = self.chunks[week]
                self.heard(f"week {week}: {chunk.rows.num_rows} people")
                self._send(chunk)
                record.newest.append(asking.newest(self.cell, chunk))
            if week >= LABELS_LATE:
                chunk = self.chunks[week - LABELS_LATE]
                self.heard(f"week {week}: labels of week {chunk.number}")
                self._send_labels(chunk)
                record.labelled.append(asking.labelled(self.cell, chunk))
        return record

    def _reference(self, story: train.Story) -> Raw:
        self.heard("the reference")
        rows = replay.upload_reference(self.cell, story.reference, DATASET)
        self.cell.close_reference(rows, dataset=DATASET)
        wait_for("the reference is profiled", self._profiled, Waiting(PROFILE_SECONDS))
        wait_for("everything is trained", self._trained, Waiting(TRAIN_SECONDS))
        return asking.reference(self.cell)

    def _send(self, chunk: Chunk) -> None:
        self.acknowledged += self.cell.send(chunk.rows, sending=Sending(in_flight=3)).acknowledged
        wait_for("the chunk is judged", lambda: self._judged(chunk), Waiting(SETTLE_SECONDS, every=0.2))
        wait_for("everything is trained", self._trained, Waiting(TRAIN_SECONDS))

    def _send_labels(self, chunk: Chunk) -> None:
        self.labels += self.cell.send_labels(chunk.labels).acknowledged
        wait_for("the labels are counted", self._counted, Waiting(SETTLE_SECONDS, every=0.2))
        wait_for("everything is trained", self._trained, Waiting(TRAIN_SECONDS))

    def _status(self) -> StatusReport:
        return StatusReport.model_validate(self.cell.status())

    def _profiled(self) -> tuple[bool, str]:
        states = [entry.state for entry in self._status().reference]
        return states == ["profiled"], f"the reference is {states}"

    def _trained(self) -> tuple[bool, str]:
        told = [f"{entry.kind} {entry.state}" for entry in self._status().enrichments if entry.due]
        return not told, ", ".join(told)

    def _judged(self, chunk: Chunk) -> tuple[bool, str]:
        report = self._status()
        drift = report.drift
        so = (
            report.rows.stored == self.acknowledged
            and drift is not None
            and (drift.window_end, drift.rows) == (chunk.end, chunk.rows.num_rows)
        )
        return so, f"{report.rows.stored} of {self.acknowledged} stored, judged: {drift and drift.window_end}"

    def _counted(self) -> tuple[bool, str]:
        labels = self._status().rows.labels
        return (labels.stored, labels.waiting) == (self.labels, 0), f"{labels.stored} of {self.labels} stored"
