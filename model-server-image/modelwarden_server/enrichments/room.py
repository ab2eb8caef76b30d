"""The room of enrichments in a cell's process: what is trained, what is installed, its doors, its status.

Attached after all other rooms: a kind may be a room of its own, and what is installed is taken in use here.
Must not decide anything (see `decide`), nor know what a kind computes.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.routing import BaseRoute

from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.cell import Cell
from modelwarden_server.enrichments.doors import EnrichmentDoor
from modelwarden_server.enrichments.facts import FactSource, LoadedProfile
from modelwarden_server.enrichments.installations import Installations
from modelwarden_server.enrichments.kind import TrainedKind
from modelwarden_server.enrichments.registry import Registry
from modelwarden_server.enrichments.trainings import TrainingDoor
from modelwarden_server.query.room import ChosenProfile, ReferenceKeeper
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal


class EnrichmentRoom:
    """`keeper` is attached before; `loaded` gives a profile that is in memory anyway."""

    def __init__(
        self, cell: Cell, keeper: ReferenceKeeper, kinds: Sequence[TrainedKind], loaded: LoadedProfile
    ) -> None:
        self._cell = cell
        self._keeper = keeper
        self.kinds = tuple(kinds)
        chosen = ChosenProfile(keeper, lambda: cell.settings.current)
        self._facts = FactSource(cell, chosen, loaded)
        self._installations: Installations | None = None
        self.more: Callable[[], tuple[EnrichmentReport, ...]] = lambda: ()
        """What is enriched without a training, set before the cell starts."""
        self._door = EnrichmentDoor(
            cell.identity,
            lambda: cell.settings.current.enrichments,
            lambda: (*self.installations().reports(), *self.more()),
        )
        self._inner = TrainingDoor(
            cell.identity,
            columns_of(cell.identity.attributes),
            lambda: cell.settings.current.classifier_threshold,
            self.installations,
            keeper.datasets,
        )

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [*self._door.routes(), *self._inner.routes()]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        names = [kind.name for kind in self.kinds]
        registry = Registry(store.folders.root / "enrichments", self._keeper.artefacts, names)
        installations = Installations(self.kinds, registry, lambda: self._facts.facts(store), self._now)
        installations.start()
        self._installations = installations
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        if self._installations is None:
            return {}
        return {"enrichments": (*self._installations.reports(), *self.more())}

    def close(self) -> None:
        """See Room."""

    @property
    def busy(self) -> int:
        """Artefacts that are being taken in."""
        return self._inner.inside

    def installations(self) -> Installations:
        """What is wanted and installed. Raises Refusal (503) as long as the cell is recovering."""
        if self._installations is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._installations

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._cell.clock(), UTC)
