"""The room of answers in a cell's process: partials that follow the commits, the verdict of the status, drift
queries and series.

What it compares with is chosen here: the dataset that the settings name, else the one closed last, once
profiled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.routing import BaseRoute

from modelwarden.resources.cell import CellSettings
from modelwarden.resources.report import CoverageReport, DataQualityReport, DriftReport
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.analysis.profile_format import from_json
from modelwarden_server.cell import Cell
from modelwarden_server.query.coverage import coverage
from modelwarden_server.query.drift_answer import Sources, files_of
from modelwarden_server.query.folding import ROWS_ONLY, Folder
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.http import QueryDoor
from modelwarden_server.query.labelling import LabelSources
from modelwarden_server.query.questions import Questions
from modelwarden_server.query.scan import Files
from modelwarden_server.query.series import DriftCollector, query_seconds
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.status import DriftWatch, Rules, Verdicts
from modelwarden_server.query.window_series import WindowCollector
from modelwarden_server.query.windows import HISTORY
from modelwarden_server.store.artefacts import ArtefactStore
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.reference import ReferenceStore
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

BARRIER_SECONDS = 5.0
PROFILE = "profile"


class ReferenceKeeper(Protocol):
    """The room of the references, as far as answers need it."""

    artefacts: ArtefactStore

    def datasets(self) -> ReferenceStore:
        """The datasets. Raises Refusal as long as there are none."""
        ...


@dataclass
class ChosenProfile:
    """The profile to compare with, by the settings and the datasets as they are now."""

    keeper: ReferenceKeeper
    settings: Callable[[], CellSettings]

    def dataset(self) -> Dataset | None:
        """The dataset to compare with, once it has a profile."""
        return self.keeper.datasets().active(self.settings().reference_ref)

    def closed_dataset(self) -> Dataset | None:
        """The dataset to compare with, profiled or not: the one that the settings name, else the one closed
        last.
        """
        wanted = self.settings().reference_ref
        found = [d for d in self.keeper.datasets().all() if not d.is_open and wanted in (None, d.name)]
        return max(found, key=lambda d: d.closed_at or d.created_at, default=None)

    def compared(self, profile_hash: str) -> str | None:
        """The name of the dataset that has this profile."""
        found = [d for d in self.keeper.datasets().all() if d.profile_hash == profile_hash]
        return found[-1].name if found else None

    def wanted(self) -> str | None:
        """See Profiles."""
        dataset = self.dataset()
        return None if dataset is None else dataset.profile_hash

    def load(self, profile_hash: str) -> ReferenceProfile:
        """See Profiles."""
        content = self.keeper.artefacts.get(PROFILE, profile_hash)
        if content is None:
            raise ValueError(f"artefact {PROFILE}/{profile_hash} is missing: profile the dataset again")
        return from_json(content)


class AnswerRoom:
    """Answers of one cell. `keeper` is attached before this room."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._chosen: ChosenProfile | None = None
        self._folder: Folder | None = None
        self._watch = DriftWatch()
        self._closed: Callable[[int], Sequence[Batch]] = lambda _most: ()
        self.questions = Questions(cell, self._reached, self._reference)
        self.door = QueryDoor(
            cell.identity,
            self._sources,
            self.questions.sources,
            query_seconds(cell.metrics.registry),
            minimum_rows=lambda: cell.settings.current.monitoring.minimum_rows,
        )
        self._columns = {c.name: c for c in columns_of(cell.identity.attributes)}
        self._unique = frozenset(a.name for a in cell.identity.attributes if a.is_unique and not a.implicit)
        self._stored = frozenset(column.name for column in cell.schema.data)
        cell.metrics.registry.register(DriftCollector(self._drift))
        cell.metrics.registry.register(WindowCollector(self._drift, self._quality, self._coverage))

    def compare_with(self, keeper: ReferenceKeeper) -> None:
        """Say where reference datasets are. Before the cell starts."""
        self._chosen = ChosenProfile(keeper, lambda: self._cell.settings.current)

    def rows_between(self, start: int, end: int) -> int | None:
        """How many inferences the slices [start, end) have, as far as they are counted; None: not yet."""
        live = None if self._folder is None else self._folder.live
        return None if live is None else int(live.window(start, end)[ROWS])

    def judge_batches(self, closed: Callable[[int], Sequence[Batch]]) -> None:
        """Say which batches were closed last, newest first, at most so many. Before the cell starts."""
        self._closed = closed

    def reference_changed(self) -> None:
        """A dataset got its profile."""
        if self._folder is not None:
            self._folder.wake()

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return self.door.routes()

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        if self._chosen is None:
            raise RuntimeError("the room of answers was not told where the references are")
        self._folder = Folder(
            store.tables.inferences,
            self._stored,
            self._chosen,
            store.folders.table("partials"),
            labels=LabelSources(
                store.tables.inferences, store.tables.truth, store.folders.root / "index" / "slices"
            ),
            by_batch=self._cell.identity.is_batch,
        )
        self._folder.start()
        store.on_forget.append(self._folder.forget)
        return self._folder

    def status(self) -> dict[str, Any]:
        """See Room."""
        folder = self._folder
        if folder is None or self._chosen is None:
            return {}
        live = folder.live
        if live is not None and live.name != (self._chosen.wanted() or ROWS_ONLY):
            folder.wake()  # the settings may name another dataset since
        active = None if live is None else self._chosen.compared(live.name)
        verdicts = self._verdicts()
        known: dict[str, Any] = {
            "active_reference": active,
            "drift": None if verdicts is None else verdicts.drift,
            "data_quality": None if verdicts is None else verdicts.quality,
            "coverage": self._coverage(),
        }
        if folder.problem is not None:
            known["reason"] = f"answers are behind the tables: {folder.problem}"
        return known

    def close(self) -> None:
        """See Room."""
        self.door.engine.close()
        if self._folder is not None:
            self._folder.stop()

    def sources(self) -> Sources:
        """What there is to ask, with all that was acknowledged before. Raises Refusal (503)."""
        return self._sources()

    def quality(self) -> DataQualityReport | None:
        """What is said of the rows of the newest window."""
        return self._quality()

    def loaded_profile(self, profile_hash: str) -> ReferenceProfile | None:
        """The profile of that hash, if it is the one in memory."""
        live = self._folder.live if self._folder is not None else None
        return live.profile if live is not None and live.name == profile_hash else None

    @property
    def busy(self) -> int:
        """Queries that are being worked on."""
        return self.door.inside

    def _drift(self) -> DriftReport | None:
        verdicts = self._verdicts()
        return None if verdicts is None else verdicts.drift

    def _quality(self) -> DataQualityReport | None:
        verdicts = self._verdicts()
        return None if verdicts is None else verdicts.quality

    def _coverage(self) -> CoverageReport | None:
        live = self._folder.live if self._folder is not None else None
        return coverage(live, self._cell.settings.current.monitoring)

    def _verdicts(self) -> Verdicts | None:
        live = self._folder.live if self._folder is not None else None
        closed = self._closed(HISTORY + 1) if self._cell.identity.is_batch else None
        return self._watch.verdicts(live, Rules.of(self._cell.settings.current), closed)

    def _sources(self) -> Sources:
        """What there is to ask, with all rows that were acknowledged before (within a bounded time)."""
        store, folder, chosen = self._cell.store, self._folder, self._chosen
        if folder is None or chosen is None:
            raise Refusal(503, "the cell is starting", retry_after=2)
        self.questions.settled()
        reached = folder.reach(BARRIER_SECONDS)
        live, dataset = folder.live, chosen.dataset()
        if live is None or not reached:
            raise Refusal(503, "the partials are catching up with the tables", retry_after=5)
        table = store.tables.inferences
        names, rows = [file.name for file in table.files], table.rows
        # While partials of a new reference catch up, answers come from the rows, not from the old reference.
        current = dataset is not None and dataset.profile_hash == live.name
        return Sources(
            columns=self._columns,
            generation=live if current else None,
            inferences=files_of(table.folder, names, rows, table.schema),
            labels=self._labels(),
            model=QueriedModel.of(self._cell.identity, self._cell.settings.current.classifier_threshold),
            reference=None if dataset is None else self._reference_files(chosen, dataset),
            not_kept=Rules.of(self._cell.settings.current).not_kept,
            unique=self._unique,
        )

    def _labels(self) -> Files:
        table = self._cell.store.tables.truth
        return files_of(table.folder, [file.name for file in table.files], table.rows, table.schema)

    def _reached(self, timeout: float) -> Generation | None:
        """The partials, if they hold all that is in the tables now, or soon do."""
        folder = self._folder
        return folder.live if folder is not None and folder.reach(timeout) else None

    def _reference(self) -> Files | None:
        """The dataset to compare with, as soon as it is closed."""
        chosen = self._chosen
        dataset = None if chosen is None else chosen.closed_dataset()
        return None if chosen is None or dataset is None else self._reference_files(chosen, dataset)

    def _reference_files(self, chosen: ChosenProfile, dataset: Dataset) -> Files:
        datasets = chosen.keeper.datasets()
        paths = tuple(datasets.path(dataset.name, file.name) for file in dataset.files)
        return Files(paths, dataset.records, datasets.schema)
