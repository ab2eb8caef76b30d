"""The room of what a server pod needs, in a cell's process: its files, their doors, the plan, the pods.

<data>/server/        see `stock`
<data>/uploads/       files that are still arriving, without names

`explanations` and `predictions` are set by the rooms that know them, before the cell starts. Must not decide
anything (see `plan`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.routing import BaseRoute

from modelwarden.resources.report import ExplanationReport, ServerReport
from modelwarden.resources.server import PodReport, ServerPlan
from modelwarden_server.cell import Cell
from modelwarden_server.durable import make_folder
from modelwarden_server.provision.asset_doors import AssetDoors
from modelwarden_server.provision.background import Reference
from modelwarden_server.provision.inner_doors import InnerDoors
from modelwarden_server.provision.intake import Intake
from modelwarden_server.provision.plan import has_server
from modelwarden_server.provision.pods import Pods
from modelwarden_server.provision.stock import Stock
from modelwarden_server.query.room import ChosenProfile, ReferenceKeeper
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal


class ProvisionRoom:
    """`keeper` is attached before."""

    def __init__(self, cell: Cell, keeper: ReferenceKeeper) -> None:
        self._cell = cell
        self._keeper = keeper
        self._chosen = ChosenProfile(keeper, lambda: cell.settings.current)
        self._stock: Stock | None = None
        self._pods = Pods(cell.clock)
        self._intake = Intake(self.stock, cell.folder / "uploads")
        self._doors = AssetDoors(cell.identity, self.stock, self._intake)
        self._inner = InnerDoors(self.stock, self._pods, self._intake)
        self.explanations: Callable[[], ExplanationReport | None] = lambda: None
        """What became of the rows that were to be explained."""
        self.predictions: Callable[[], int] = lambda: 0
        """How many raw predictions are kept."""

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [*self._doors.routes(), *self._inner.routes()]

    def attach(self, _store: Store) -> CommitListener | None:
        """See Room."""
        make_folder(self._cell.folder / "uploads")
        self._stock = Stock(
            self._cell.folder / "server",
            self._cell.identity,
            lambda: self._cell.settings.current,
            self._reference,
            self._cell.clock,
        )
        self._stock.tidy()
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {} if self._stock is None else {"server": self.report()}

    def close(self) -> None:
        """See Room."""
        if self._stock is not None:
            self._stock.close()

    @property
    def busy(self) -> int:
        """Files that are being taken in."""
        return self._intake.inside

    def stock(self) -> Stock:
        """What there is. Raises Refusal (503) as long as the cell is recovering."""
        if self._stock is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._stock

    def plan(self) -> ServerPlan:
        """What a server pod is to run now. Raises Refusal (503), OSError."""
        return self.stock().view().plan

    def pods(self) -> tuple[PodReport, ...]:
        """The pods that were heard of in the last half minute."""
        return self._pods.all()

    def report(self) -> ServerReport | None:
        """This room's part of the status; None: the model is neither explained nor served."""
        if not has_server(self._cell.settings.current):
            return None
        view = self.stock().view()
        return ServerReport(
            plan_hash=view.plan.plan_hash,
            waiting_for=view.plan.waiting_for,
            assets=view.assets,
            environments=view.environments,
            pods=self.pods(),
            explanations=self.explanations(),
            predictions=self.predictions(),
        )

    def _reference(self) -> Reference | None:
        """The closed dataset that the settings name, else the one closed last."""
        dataset = self._chosen.closed_dataset()
        if dataset is None or dataset.content_hash is None:
            return None
        datasets = self._keeper.datasets()
        files = tuple(datasets.path(dataset.name, file.name) for file in dataset.files)
        return Reference(dataset.content_hash, dataset.records, files)
