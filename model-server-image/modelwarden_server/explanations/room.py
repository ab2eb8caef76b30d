"""The room of explanations in a cell's process: the feed, its doors, what people ask, the status, the series.

What runs in the server's pods another room knows; it is told here before the cell starts (`server`,
`background`). A model without PIPELINE_INPUT or without predictions has nothing to explain. Must not explain.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.routing import BaseRoute

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.cell import CellIdentity, ExplainabilitySettings
from modelwarden.resources.report import EnrichmentReport, ExplanationReport
from modelwarden_server.cell import Cell
from modelwarden_server.explanations.answer import Names
from modelwarden_server.explanations.ask import Asker, Planned
from modelwarden_server.explanations.doors import ExplanationDoors
from modelwarden_server.explanations.feed import Bounds, Feed
from modelwarden_server.explanations.lookup import Lookup
from modelwarden_server.explanations.names import inputs_of, outputs_of
from modelwarden_server.explanations.opening import Choice, Places, Surroundings, open_feed, space_of
from modelwarden_server.explanations.pictures import Pictures, image_columns
from modelwarden_server.explanations.reference import Background, ReferenceRanks
from modelwarden_server.explanations.report import Progress, Server, enrichment_report, explanation_report
from modelwarden_server.explanations.series import ExplanationCollector, Told
from modelwarden_server.explanations.task_doors import TaskDoors
from modelwarden_server.explanations.tasks import TaskBoard
from modelwarden_server.explanations.windows import ImportanceWindows
from modelwarden_server.query.scan import Files
from modelwarden_server.schema.compiled import ARRIVAL_TIME
from modelwarden_server.store.images import ImageStore
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

_NOT_EXPLAINED = (OutputType.OBJECT_DETECTION, OutputType.TOKEN_SEQUENCE, OutputType.RANKED_LIST)


@dataclass(frozen=True)
class Pods:
    """What another room knows of the model's server: its plan and pods, and a file of the plan's by hash."""

    server: Callable[[], Server]
    file: Callable[[str], Path | None]


class ExplanationRoom:
    """`pods` is asked at each status; `bounds` say how many rows may wait."""

    def __init__(self, cell: Cell, pods: Pods, bounds: Bounds | None = None) -> None:
        self._cell = cell
        self._pods = pods
        self._bounds = bounds or Bounds()
        self._feed: Feed | None = None
        self._fits = explainable(cell.identity)
        self._space = space_of(cell.identity)
        names = Names(inputs_of(cell.identity), outputs_of(cell.identity))
        pictures = Pictures(image_columns(cell.identity), ImageStore(cell.folder / "images").path)
        self._tasks = TaskDoors(names, self._board, pictures)
        self.asker = Asker(
            names,
            lambda: cell.settings.current.server.url,
            lambda: cell.settings.key,
            self._planned,
            pictures,
        )
        self._ranks = ReferenceRanks(cell.folder / "explanations", self.asker, self._space, self._background)
        self._windows = ImportanceWindows(self._space, self._ranks.known)
        self._doors = ExplanationDoors(
            cell.identity, lambda: cell.settings.current, self.asker, self._lookup, self._windows
        )
        cell.metrics.registry.register(ExplanationCollector(self._told))

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [*self._tasks.routes(), *self._doors.routes()]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        if not self._fits:
            return None
        around = Surroundings(
            rules=lambda: store.maintenance.rules(),
            clock=store.clock,
            monotonic=time.monotonic,
            hurry=store.maintenance.wake,
            bounds=self._bounds,
        )
        places = Places(store.tables.inferences, store.folders.table)
        choice = Choice(self._streams, lambda: self._settings.score_percent)
        feed, counts = open_feed(places, self._cell.identity, choice, around)
        feed.forgot = self._forgot
        self._windows.counts = counts
        store.on_forget.append(feed.queue.forget)
        feed.queue.start()
        self._ranks.start()
        self._feed = feed
        return feed.queue

    def status(self) -> dict[str, object]:
        """See Room: told by the rooms of the enrichments and of the server (`enrichment`, `report`)."""
        return {}

    def close(self) -> None:
        """See Room."""
        self._ranks.stop()
        if self._feed is not None:
            self._feed.close()
        self.asker.close()

    @property
    def busy(self) -> int:
        """Explanations that somebody waits for."""
        return self._doors.inside

    def enrichment(self) -> EnrichmentReport:
        """Explainability among the enrichments."""
        return enrichment_report(self._settings, self._pods.server(), fits=self._fits)

    def report(self) -> ExplanationReport | None:
        """What became of the chosen rows; None while nothing ever was to be explained."""
        progress = self._progress()
        if progress is None or (not self._settings.enabled and not progress.tally.chosen):
            return None
        return explanation_report(progress, self._pods.server())

    def files(self) -> Files | None:
        """The explanations there are, as a query reads them."""
        feed = self._feed
        if feed is None or not (self._settings.enabled or feed.table.rows):
            return None
        files = feed.table.files
        paths = tuple(feed.table.folder / file.name for file in files)
        return Files(paths, sum(file.rows for file in files), feed.table.schema)

    @property
    def _settings(self) -> ExplainabilitySettings:
        return self._cell.settings.current.enrichments.explainability

    def _streams(self) -> bool:
        settings = self._settings
        archived = self._cell.settings.current.archived
        return settings.enabled and settings.streaming and settings.score_percent > 0 and not archived

    def _board(self) -> TaskBoard:
        if self._feed is None:
            if not self._fits and self._cell.has_store:
                raise Refusal(409, "nothing of this model is explained")
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._feed.board

    def _lookup(self) -> Lookup:
        store = self._cell.store
        if self._feed is None:
            raise Refusal(409, "predictions of this model are not explained: it needs inputs and predictions")
        if not store.writer.flush(5.0):
            raise Refusal(503, "rows acknowledged before are still on their way: ask again", retry_after=3)
        return Lookup(store.tables.inferences, self._feed.table, inputs_of(self._cell.identity))

    def _forgot(self) -> None:
        self.asker.forget()
        self._doors.jobs.forget()

    def _planned(self) -> Planned | None:
        """What explanations depend on beside the row."""
        plan = self._pods.server().plan
        if plan is None or plan.explain is None:
            return None
        explain = plan.explain
        codes = [code.code_hash for code in plan.codes if code.role == explain.code]
        return Planned(
            codes[0] if codes else "",
            explain.background_hash,
            explain.algorithm,
            explain.samples,
            explain.seed,
        )

    def _background(self) -> Background | None:
        server, planned = self._pods.server(), self._planned()
        if server.plan is None or server.plan.explain is None or not self._settings.enabled:
            return None
        if not any(code.state == "Ready" for code in server.explaining):
            return None
        path = self._pods.file(server.plan.explain.background.sha256)
        return None if path is None or planned is None else Background(planned, path)

    def _progress(self) -> Progress | None:
        feed = self._feed
        if feed is None:
            return None
        found = self._windows.newest(self._cell.settings.current.monitoring.window_seconds)
        newest = max((file.newest.get(ARRIVAL_TIME, 0) for file in feed.table.files), default=None)
        return Progress(
            tally=feed.tally(),
            late=feed.board.late,
            newest=newest,
            problem=feed.queue.problem,
            importance=None if found is None else found.counts.importance,
            agreement=None if found is None else found.agreement,
        )

    def _told(self) -> Told | None:
        progress = self._progress()
        if progress is None:
            return None
        found = self._windows.newest(self._cell.settings.current.monitoring.window_seconds)
        end = None if found is None or found.span.end is None else found.span.end.timestamp()
        return Told(progress, end, 0 if found is None else found.counts.explained, self._settings.enabled)


def explainable(identity: CellIdentity) -> bool:
    """Whether a model has inputs, and predictions of a kind that is explained."""
    kinds = identity.output_type not in _NOT_EXPLAINED
    return bool(inputs_of(identity)) and bool(outputs_of(identity)) and kinds
