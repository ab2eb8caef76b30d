"""What store, sidecar and model server tell each other: what a server pod is to run, and how far it is.

Plain documents, JSON on the wire. Unknown fields are left out when they are read: the pods of one cell may
differ in version while an upgrade rolls. Must not know how any of it is fetched, loaded or run.
"""

from datetime import datetime
from typing import Final, Literal

from pydantic import ConfigDict

from modelwarden.resources.schema import ResourceModel
from modelwarden.resources.serving import FieldMapping, FlowStage

Role = Literal["explain", "serve"]
"""For what user code runs: to explain (its `predict`), or to serve (its flow)."""
ROLES: Final[tuple[Role, ...]] = ("explain", "serve")
AssetSlot = Literal[
    "explain-project", "explain-requirements", "explain-explainer", "serve-files", "serve-requirements"
]
UPLOAD: Final = "upload"
"""The source hash of an asset that is uploaded to the cell."""
CodeState = Literal["Waiting", "Loading", "Ready", "Failed", "Restarting"]


class Document(ResourceModel):
    """Base of what is told: tolerant of unknown fields."""

    model_config = ConfigDict(extra="ignore")


class ServerFile(Document):
    """A file that the store hands out at /internal/v1/server/files/{sha256}."""

    sha256: str
    bytes: int
    name: str
    """user_project.zip, environment.tar.gz, background.arrow …: for messages, never a path."""


class CodePlan(Document):
    """One set of user code: its files, the packages it needs, and what is loaded of it."""

    role: Role
    code_hash: str
    """Of all that needs the code loaded anew: files, environment, entry. Stands in explanations."""
    files: ServerFile
    environment: ServerFile | None = None
    """None: the packages of the image (numpy, scikit-learn …)."""
    python_version: str | None = None
    """As the user asked for it."""
    import_path: str | None = None
    """The module with `predict`; of a flow None."""
    flow: tuple[FlowStage, ...] = ()


class ExplainPlan(Document):
    """How rows are explained. `background` is an Arrow IPC file: the reference's sample, with the columns
    of the model's inputs in their order and of its predicted attributes (nulls where there are none)."""

    background: ServerFile
    background_hash: str
    """Of the reference's content: stands in explanations."""
    algorithm: Literal["lime", "shap"]
    samples: int
    seed: int | None = None
    expected_values: tuple[float, ...] = ()
    code: Role = "explain"
    """Whose predict is explained: the project's, or the flow's of a served model without a project."""
    streaming: bool = True
    threads: int = 5
    """Rows that are explained at a time, in the documented words; tasks at a time between us."""


class ServePlan(Document):
    """How predictions are made and which attributes they are."""

    inputs: tuple[FieldMapping, ...] = ()
    outputs: tuple[FieldMapping, ...] = ()
    webhooks: bool = False
    seconds: float = 180.0
    """The longest one request may take."""


class ServerPlan(Document):
    """The answer of GET /internal/v1/server: what a server pod is to run now."""

    plan_hash: str
    """Of everything below: the same hash, nothing to do."""
    waiting_for: tuple[str, ...] = ()
    """What is still missing, each as a sentence's object; what is not missing runs meanwhile."""
    codes: tuple[CodePlan, ...] = ()
    explain: ExplainPlan | None = None
    serve: ServePlan | None = None


class CodeReport(Document):
    """How far a pod is with one set of user code."""

    role: Role
    code_hash: str = ""
    state: CodeState
    message: str = ""
    """In a sentence; of a failure the last lines that the user's code wrote."""
    python: str = ""
    """The version that runs."""
    isolation: str = ""
    """What holds it in, in a sentence; says what the node's kernel lacks. Empty until it was loaded once."""
    path: str | None = None
    """How rows are explained: linear, trees, kernel, lime …"""
    why: str = ""
    """Why in that way."""
    difference: float | None = None
    """The greatest difference of `predict` to the predictions that the reference has, on its sample."""
    differs: bool = False
    """That difference is more than 0.01."""
    restarts: int = 0
    before: bool = False
    """It does not run yet, and the flow that it is to replace goes on in its place."""


class PodReport(Document):
    """PUT to /internal/v1/server/pods/{pod} by each sidecar, every few seconds."""

    pod: str
    plan_hash: str = ""
    version: str = ""
    started_at: datetime | None = None
    codes: tuple[CodeReport, ...] = ()
    predicted: int = 0
    """Predictions made here since the start."""
    failed_predictions: int = 0
