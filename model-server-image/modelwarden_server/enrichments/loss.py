"""The estimate of a regression's errors as a kind of training, and as a room: the scorer of new rows and the
sums of what it says (see `query.performance.expected_loss`).

Nobody declares it: it is there for regression models whose reference has labels. Must not compute a loss.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from starlette.routing import BaseRoute

from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.loss_model import LEAST_ROWS, LossModel
from modelwarden_server.analysis.performance.outcome import Task, outcome_of
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.cell import Cell
from modelwarden_server.derived.counts import TableCounts
from modelwarden_server.derived.scoring import RowScorer, score_schema
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.enrichments.anomaly import check_encoder, input_columns
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
from modelwarden_server.enrichments.loss_space import ABSOLUTE, SQUARED, LossSpace, Units
from modelwarden_server.query.performance.expected_loss import LossQuality, LossSums
from modelwarden_server.schema.compiled import ID
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

SCHEMA: Final = score_schema((pa.field(ABSOLUTE, pa.float64()), pa.field(SQUARED, pa.float64())))
_NOT_FOR: Final = Disabled(
    "NotForThisModel", "errors are estimated for regression models that predict a number with a ground truth"
)


@dataclass(frozen=True, eq=False)
class LossScoring:
    """See RowScoring: a model as the scorer of new rows."""

    model: LossModel
    artefact_hash: str

    @property
    def columns(self) -> Sequence[str]:
        """See RowScoring."""
        return self.model.encoder.columns

    @property
    def bytes_a_row(self) -> int:
        """See RowScoring: following a row down all trees takes more than the row itself."""
        return self.model.encoder.bytes_a_row

    def score(self, rows: pa.RecordBatch) -> list[pa.Array]:
        """See RowScoring."""
        return [pa.array(errors) for errors in self.model.expected(rows)]


class LossKind:
    """See TrainedKind, Room and ExpectedLosses."""

    name = "loss"
    type: EnrichmentType | None = None
    version = 1

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        outcome = outcome_of(cell.identity.attributes, cell.identity.output_type)
        self._outcome = outcome if outcome is not None and outcome.task is Task.REGRESSION else None
        self._space = LossSpace()
        self._unit_file: Path | None = None
        self._scorer: RowScorer | None = None
        self._quality: LossQuality | None = None

    def wanted(self, facts: Facts) -> Wish:
        """See TrainedKind."""
        if self._outcome is None:
            return _NOT_FOR
        if facts.dataset is None:
            return Pending(("a closed reference dataset",))
        if facts.profile is None:
            return Pending(("the profile of the reference dataset",))
        truth = self._outcome.truth_columns[0]
        labels = _labelled(facts.profile, truth)
        if labels < LEAST_ROWS:
            has = f"it has {labels}"
            return Pending((f"{LEAST_ROWS} labels ({truth}) in the reference dataset ({has})",))
        columns = [*input_columns(facts.identity), *self._outcome.predictions]
        return Wanted({REFERENCE: facts.dataset.content_hash, "columns": columns})

    def check(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind."""
        del training
        model = LossModel.of(artefact.manifest, artefact.arrays)
        check_encoder(model.encoder, self._cell.identity)

    def install(self, artefact: Artefact, training: InstalledTraining) -> None:
        """See TrainedKind. Raises OSError if the unit of the sums cannot be kept."""
        model = LossModel.of(artefact.manifest, artefact.arrays)
        absolute, squared = model.absolute.judged, model.squared.judged
        if self._space.units is None and self._unit_file is not None:
            units = Units.of(absolute.mean, squared.mean)
            make_folder(self._unit_file.parent)
            replace_file(self._unit_file, msgspec.json.encode(units))
            self._space.units = units
        self._quality = LossQuality(
            judged_rows=absolute.rows,
            mae=absolute.mean,
            mse=squared.mean,
            absolute_deviation=absolute.deviation,
            squared_deviation=squared.deviation,
            absolute_explained=absolute.explained,
            artefact_hash=training.artefact_hash,
        )
        if self._scorer is not None:
            self._scorer.use(LossScoring(model, training.artefact_hash))

    def uninstall(self) -> None:
        """See TrainedKind."""
        self._quality = None
        if self._scorer is not None:
            self._scorer.drop()

    def quality(self) -> LossQuality | None:
        """See ExpectedLosses."""
        return self._quality

    def window(self, start: int, end: int) -> LossSums:
        """See ExpectedLosses."""
        if self._scorer is None:
            return LossSums()
        return self._space.told(self._scorer.counts.window(start, end))

    def batch(self, name: str) -> LossSums:
        """See ExpectedLosses."""
        return LossSums() if self._scorer is None else self._space.told(self._scorer.counts.batch(name))

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return ()

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        if self._outcome is None:
            return None
        folder = store.folders.table("expected_loss_counts")
        self._unit_file = store.folders.root / "enrichments" / "loss-unit.json"
        self._space.units = _units(self._unit_file)
        if self._space.units is None:
            shutil.rmtree(folder, ignore_errors=True)  # counts in an unknown unit
        table = AppendTable.open(store.folders.table("expected_losses"), SCHEMA, frozenset({ID}))
        counts = TableCounts(folder, table, self._space, self._cell.identity.is_batch)
        self._scorer = RowScorer.started(store, table, counts, lambda: True)
        return self._scorer

    def reach(self, timeout: float) -> bool:
        """Wait until all rows that are stored now are in the sums; False if that takes too long."""
        return self._scorer is not None and self._scorer.reach(timeout)

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        if self._scorer is not None:
            self._scorer.stop()


def _labelled(profile: ReferenceProfile, truth: str) -> int:
    column = profile.column(truth)
    if column is None:
        return 0
    return column.rows - int(sum(column.counts[cell] for cell in column.cells.missing))


def _units(path: Path) -> Units | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Units)
    except (OSError, msgspec.DecodeError):
        return None
