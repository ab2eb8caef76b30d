"""Anomaly detection as a kind of training, and as a room: the scorer of new rows, the door, the status, the
series.

On by default, once a reference is closed. Must not compute a score.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from starlette.routing import BaseRoute

from modelwarden.resources.attributes import InputType, Stage
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.report import AnomalyReport
from modelwarden_server.analysis.anomaly import LEAST_ROWS, AnomalyModel
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.encoding import Encoder, coding_of
from modelwarden_server.cell import Cell
from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.derived.scoring import RowScorer, score_schema
from modelwarden_server.enrichments.anomaly_answer import AnomalyQuestions, Installed
from modelwarden_server.enrichments.anomaly_door import AnomalyDoor
from modelwarden_server.enrichments.anomaly_series import AnomalyCollector
from modelwarden_server.enrichments.kind import (
    REFERENCE,
    Disabled,
    EnrichmentType,
    Facts,
    InstalledTraining,
    Pending,
    Wanted,
    Wish,
)
from modelwarden_server.enrichments.score_space import NAMED, PERCENT, SCORE, ScoreSpace
from modelwarden_server.query.scan import Files
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

OWN: Final = (
    pa.field(SCORE, pa.float64()),
    pa.field(PERCENT, pa.float64()),
    pa.field(NAMED, pa.list_(pa.string())),
)
SCHEMA: Final = score_schema(OWN)
_QUERY_SECONDS: Final = 2.0
_OFF: Final = Disabled("TurnedOff", "anomaly detection is turned off by an Enrichment with enabled: false")
_NOT_FOR: Final[dict[InputType | None, str]] = {
    InputType.TIME_SERIES: "series of points are not scored: anomaly detection is for single rows",
    InputType.IMAGE: "images are not scored: trainings see the rows of the reference, not its images",
}


@dataclass(frozen=True, eq=False)
class AnomalyScoring:
    """See RowScoring: a model as the scorer of new rows."""

    model: AnomalyModel
    artefact_hash: str

    @property
    def columns(self) -> Sequence[str]:
        """See RowScoring."""
        return self.model.encoder.columns

    @property
    def bytes_a_row(self) -> int:
        """See RowScoring."""
        return self.model.encoder.bytes_a_row

    def score(self, rows: pa.RecordBatch) -> list[pa.Array]:
        """See RowScoring."""
        found = self.model.score(rows)
        there = found.named >= 0
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
        names = pa.array(self.model.encoder.columns, pa.string()).take(pa.array(found.named[there]))
        named = pa.ListArray.from_arrays(pa.array(offsets), names)
        return [pa.array(found.score), pa.array(found.percentile), named]


class AnomalyKind:
    """See TrainedKind and Room."""

    name = "anomaly"
    type: EnrichmentType | None = "AnomalyDetection"
    version = 1

    def __init__(
        self, cell: Cell, rows_between: Callable[[int, int], int | None] = lambda _a, _b: None
    ) -> None:
        """`rows_between` tells how many inferences slices have, if somebody counts them."""
        self._cell = cell
        self._unfit = unfit(cell.identity)
        self._installed: Installed | None = None
        self._scorer: RowScorer | None = None
        self._space = ScoreSpace(tuple(input_columns(cell.identity)))
        self._questions = AnomalyQuestions(self._sources, rows_between)
        self._door = AnomalyDoor(cell.identity, self._questions, lambda: cell.settings.current.monitoring)
        cell.metrics.registry.register(AnomalyCollector(self._report))

    def wanted(self, facts: Facts) -> Wish:
        """See TrainedKind."""
        if self._unfit is not None:
            return self._unfit
        settings = facts.settings.enrichments.anomaly_detection
        if not settings.enabled:
            return _OFF
        if facts.dataset is None:
            return Pending(("a closed reference dataset",))
        if facts.dataset.records < LEAST_ROWS:
            has = f"{facts.dataset.name} has {facts.dataset.records}"
            return Pending((f"a closed reference dataset of at least {LEAST_ROWS} rows ({has})",))
        inputs: dict[str, Any] = {
            REFERENCE: facts.dataset.content_hash,
            "columns": input_columns(facts.identity),
        }
        return Wanted(inputs if settings.seed is None else inputs | {"seed": settings.seed})

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        del training
        model = AnomalyModel.of(artefact.manifest, artefact.arrays)
        check_encoder(model.encoder, self._cell.identity)

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        model = AnomalyModel.of(artefact.manifest, artefact.arrays)
        self._installed = Installed(model.limit, model.mean, training.artefact_hash)
        if self._scorer is not None:
            self._scorer.use(AnomalyScoring(model, training.artefact_hash))

    def uninstall(self) -> None:
        """See TrainedKind."""
        self._installed = None
        if self._scorer is not None:
            self._scorer.drop()

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return self._door.routes()

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        if self._unfit is not None:
            return None
        table = AppendTable.open(store.folders.table("scores"), SCHEMA, frozenset({ID}))
        counts = TableCounts(
            store.folders.table("score_counts"), table, self._space, self._cell.identity.is_batch
        )
        self._scorer = RowScorer.started(
            store,
            table,
            counts,
            lambda: self._cell.settings.current.enrichments.anomaly_detection.enabled,
        )
        return self._scorer

    def status(self) -> dict[str, Any]:
        """See Room."""
        report = self._report()
        return {} if report is None else {"anomaly": report}

    def close(self) -> None:
        """See Room."""
        if self._scorer is not None:
            self._scorer.stop()

    def files(self) -> Files | None:
        """The scores there are, as a query reads them; those of rows that are in the tables already, if they
        come in a moment.
        """
        scorer = self._scorer
        if scorer is None:
            return None
        if self._installed is not None:
            scorer.reach(_QUERY_SECONDS)
        files = scorer.table.files
        paths = tuple(scorer.table.folder / file.name for file in files)
        return Files(paths, sum(file.rows for file in files), scorer.table.schema)

    def _sources(self) -> "tuple[RowScorer, ScoreSpace, Installed | None] | None":
        return None if self._scorer is None else (self._scorer, self._space, self._installed)

    def _report(self) -> AnomalyReport | None:
        return self._questions.report(self._cell.settings.current.monitoring)


def input_columns(identity: CellIdentity) -> list[str]:
    """The attributes that a row is scored by: pipeline inputs, else inputs of the predict function. Without
    identifiers, and without what cannot be encoded.
    """
    columns = {column.name: column for column in columns_of(identity.attributes)}
    for stage in (Stage.PIPELINE_INPUT, Stage.PREDICT_FUNCTION_INPUT):
        found = [
            a.name
            for a in identity.attributes
            if a.stage is stage
            and not a.implicit
            and not a.is_unique
            and coding_of(columns[a.name]) is not None
        ]
        if found:
            return found
    return []


def unfit(identity: CellIdentity) -> Disabled | None:
    """Why a model's rows cannot be scored, whatever its settings."""
    why = _NOT_FOR.get(identity.input_type)
    if why is None and not input_columns(identity):
        why = "no input of the model can be scored: it needs numbers, categories, times, lists or texts"
    return None if why is None else Disabled("NotForThisModel", why)


def check_encoder(encoder: Encoder, identity: CellIdentity) -> None:
    """Raise ValueError if the model has not these columns, or none that are encoded like that."""
    columns = {column.name: column for column in columns_of(identity.attributes)}
    for code in encoder.codes:
        if code.name not in columns:
            raise ValueError(f"the model has no attribute {code.name[:100]!r}")
        if coding_of(columns[code.name]) != code.coding:
            raise ValueError(f"the attribute {code.name[:100]!r} is no {code.coding}")
