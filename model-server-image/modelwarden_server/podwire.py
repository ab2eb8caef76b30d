"""What the ingest sidecar and the model server of one pod tell each other over their unix socket.

`POST /load` says all that is to run now (`Wanted`), `GET /status` how far it is (`Running`); `POST /explain`
takes and gives Arrow (explained.py), `POST /predict` what modelserver/flow says. The model server believes
what stands in it: whoever reaches the socket shares the pod. Must not know how anything is fetched or run.
"""

from typing import Final

from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.server import CodePlan, CodeReport, Document, ExplainPlan, ServePlan

SOCKET: Final = "model-server.sock"
"""Name of the socket in the pod's run folder."""
LOAD, STATUS, EXPLAIN, PREDICT = "/load", "/status", "/explain", "/predict"
ROWS, FAILED_ROWS = "x-modelwarden-rows", "x-modelwarden-failed-rows"
"""Headers of explanations: rows in it, and those of them that have none."""
ASKED: Final = "x-modelwarden-asked"
"""Header of an explanation that somebody is waiting for: it does not queue behind stored rows."""


class CodeToRun(Document):
    """One set of user code whose files are in place."""

    plan: CodePlan
    files: str
    """Folder of the project or of the flow's files."""
    environment: str | None = None
    """Folder of its packages; None: those of the image."""


class Wanted(Document):
    """Everything that is to run; what is not named is stopped."""

    plan_hash: str
    identity: CellIdentity
    codes: tuple[CodeToRun, ...] = ()
    explain: ExplainPlan | None = None
    background: str | None = None
    """File of the reference's sample."""
    serve: ServePlan | None = None


class Running(Document):
    """What runs. `boot` is another one in each process: a model server that was restarted is told again."""

    boot: str
    plan_hash: str = ""
    codes: tuple[CodeReport, ...] = ()
