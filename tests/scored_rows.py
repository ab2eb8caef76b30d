"""A table of inferences and the scorer that follows it, over a folder, for tests of what is scored when."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from query_rooms import COLUMNS, SCHEMA, inferences, people

from modelwarden_server.analysis.anomaly import AnomalyModel, train_anomaly
from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.derived.scoring import RowScorer, ScorePace
from modelwarden_server.enrichments.anomaly import SCHEMA as SCORES
from modelwarden_server.enrichments.anomaly import AnomalyScoring
from modelwarden_server.enrichments.score_space import ScoreSpace
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable

INPUTS = ("age", "income", "town")
HASH = "a" * 64


@cache
def model() -> AnomalyModel:
    """One small model for all tests."""
    columns = [column for column in COLUMNS if column.name in INPUTS]
    return train_anomaly(columns, people(400, seed=3).select(list(INPUTS)), 5)[0]


@dataclass
class ScoredRows:
    """`on` is the settings' switch. Without its thread the scorer does what a test tells it to."""

    folder: Path
    by_batch: bool = False
    on: bool = True
    source: AppendTable = field(init=False)
    scores: AppendTable = field(init=False)
    scorer: RowScorer = field(init=False)
    space: ScoreSpace = field(default_factory=lambda: ScoreSpace(INPUTS))
    _ids: int = 0

    def __post_init__(self) -> None:
        self.open()

    def open(self, *, install: bool = True) -> None:
        """As a process would at its start."""
        self.source = AppendTable.open(self.folder / "inferences", SCHEMA.inference_table)
        self.scores = AppendTable.open(self.folder / "scores", SCORES, frozenset({ID}))
        counts = TableCounts(self.folder / "counts", self.scores, self.space, self.by_batch)
        self.scorer = RowScorer(
            self.source,
            self.scores,
            counts,
            lambda: self.on,
            ScorePace(look=0.01, persist=0.0),
            hurry=self.asked,
        )
        if install:
            self.install()

    def asked(self) -> None:
        """What maintenance does before it joins files."""
        self.scorer.settled()

    def install(self, artefact: str = HASH) -> None:
        self.scorer.use(AnomalyScoring(model(), artefact))

    def store(self, rows: int, *, at: float = 0.0) -> list[str]:
        """Rows that arrive at a time, seconds after noon; their ids."""
        first, self._ids = self._ids, self._ids + rows
        seconds = at + np.arange(rows) / 1000
        table = inferences(people(rows, seed=first + 1), seconds, first)
        commit = self.source.append(table, {})
        self.scorer.fold(commit.version, table.to_batches())
        return [f"id-{i}" for i in range(first, first + rows)]

    def work(self) -> None:
        """One turn of the scorer's thread."""
        self.scorer._work()
        self.scorer._tend()

    def table(self) -> pa.Table:
        """All scores, by id."""
        batches = self.scores.read(self.scores.files)
        return pa.Table.from_batches(list(batches), SCORES).sort_by(ID)

    def ids(self) -> list[str]:
        return sorted(self.table().column(ID).to_pylist())


def scored_alone(rows: ScoredRows) -> dict[str, float]:
    """Each stored row's score, computed at once."""
    table = pa.Table.from_batches(list(rows.source.read(rows.source.files)), SCHEMA.inference_table)
    found = model().score(table.select(list(INPUTS)).combine_chunks().to_batches()[0])
    return dict(zip(table.column(ID).to_pylist(), found.score.tolist(), strict=True))


def during(work: Callable[[], object], rows: ScoredRows) -> None:
    """Have the thread run while something is done."""
    rows.scorer.start()
    try:
        work()
    finally:
        rows.scorer.stop()
