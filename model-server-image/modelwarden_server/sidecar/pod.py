"""What the parts of one sidecar share: who they are, whom they talk to, what is to run, and what runs.

Attributes under "changes" are replaced, never mutated, by one owner each. Must not act.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import httpx

from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.server import CodeReport, Role, ServerPlan
from modelwarden_server.podwire import Running
from modelwarden_server.settings import SettingsHolder

MODEL_SERVER: Final = "the model server"
"""As it is called where an answer of it is told on."""


@dataclass
class Counts:
    """What this pod has done since it started."""

    predicted: int = 0
    failed_predictions: int = 0
    forwarded: int = 0
    tasks: int = 0
    explained_rows: int = 0
    failed_rows: int = 0
    failed_tasks: int = 0


@dataclass
class Pod:
    """One pod of a cell's server."""

    name: str
    identity: CellIdentity
    settings: SettingsHolder
    store: httpx.AsyncClient
    """With the cell's key on each request."""
    model_server: httpx.AsyncClient
    """The model server behind the pod's socket: paths as in podwire."""
    started_at: datetime
    counts: Counts = field(default_factory=Counts)
    # changes: by the plan's loop
    plan: ServerPlan | None = None
    """What the store wants to run; None until it was reached."""
    running: Running | None = None
    """What the model server last said; None while it does not answer."""
    waiting: tuple[CodeReport, ...] = ()
    """Of codes whose files are not here yet: why."""
    ending: bool = False

    def report_of(self, role: Role) -> CodeReport | None:
        """How far the newest code of that role is; None where nothing is known of it."""
        said = self.running.codes if self.running is not None else ()
        return next((report for report in (*self.waiting, *said) if report.role == role), None)

    def ready(self, role: Role) -> bool:
        """Whether code of that role can be asked now, perhaps the one before the newest."""
        said = self.running.codes if self.running is not None else ()
        return any(report.role == role and report.state == "Ready" for report in said)

    def explains(self) -> bool:
        """Whether rows can be explained now, by the code of the plan: what the one before says would be of
        another model."""
        explain = self.plan.explain if self.plan is not None else None
        if self.plan is None or explain is None or self.running is None:
            return False
        wanted = {code.code_hash for code in self.plan.codes if code.role == explain.code}
        return any(
            report.code_hash in wanted and report.state == "Ready" and (report.path or report.why)
            for report in self.running.codes
        )
