"""What a reconcile needs from the outside world, as protocols: a cluster and the cells in it.

The real ones are `modelwarden.cluster` and `modelwarden.cells`; tests bring their own. Nothing here does any
work. Kubernetes objects are plain JSON values (`Manifest`) as the API server sends them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from modelwarden.resources.report import ReferenceReport, StatusReport

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of object and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str


MODEL = Kind("modelwarden.dev/v1alpha1", "MonitoredModel", "monitoredmodels")
DATASET = Kind("modelwarden.dev/v1alpha1", "ReferenceDataset", "referencedatasets")
ENRICHMENT = Kind("modelwarden.dev/v1alpha1", "Enrichment", "enrichments")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE = Kind("v1", "Service", "services")
POD = Kind("v1", "Pod", "pods")
EVENT = Kind("v1", "Event", "events")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
JOB = Kind("batch/v1", "Job", "jobs")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS = {
    kind.kind: kind
    for kind in (
        MODEL, DATASET, ENRICHMENT, SERVICE_ACCOUNT, SECRET, CONFIG_MAP, CLAIM, SERVICE, POD, EVENT,
        DEPLOYMENT, JOB, NETWORK_POLICY, AUTOSCALER, LEASE,
    )
}  # fmt: skip


def kind_of(manifest: Manifest) -> Kind:
    """The `Kind` of a manifest; KeyError for one this operator never handles."""
    return KINDS[manifest["kind"]]


@dataclass(frozen=True, order=True)
class Key:
    """Which object: namespace and name."""

    namespace: str
    name: str


class Cluster(Protocol):
    """The API server. Every method raises a class of `modelwarden.errors`, within its own time limit."""

    async def get(self, kind: Kind, key: Key) -> Manifest | None:
        """The live object, or None if there is none."""

    async def list(
        self, kind: Kind, namespace: str | None, labels: str = "", fields: str = ""
    ) -> Sequence[Manifest]:
        """All live objects of a namespace (None: of every namespace), by label and field selectors."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create it; Conflict if the name is taken."""

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply of a whole intent as field manager `modelwarden`, with force."""

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Server-side apply of a status as field manager `modelwarden-status`, with force."""

    async def set_finalizers(self, live: Manifest, finalizers: Sequence[str]) -> Manifest:
        """Replace the finalizers of exactly this version of an object; Conflict if it has changed since."""

    async def annotate(self, live: Manifest, annotations: Mapping[str, str]) -> None:
        """Add annotations to exactly this object; gone already is fine."""

    async def delete(self, live: Manifest) -> None:
        """Delete this very object (uid precondition), dependents in the background; gone already is fine."""


@dataclass(frozen=True)
class Silence:
    """A cell that gave no usable answer, and why (for a condition: no addresses, no secrets)."""

    reason: str
    message: str


@dataclass(frozen=True)
class Refusal:
    """A cell that understood and said no, and its sentence."""

    status: int
    message: str


@dataclass(frozen=True)
class DatasetWish:
    """What a store is asked of a dataset: to close it (with that many rows, if `total` is given), and to have
    it loaded from the source of that hash instead of uploaded.
    """

    closed: bool = False
    total: int | None = None
    source_hash: str | None = None


class Cells(Protocol):
    """The cells' own HTTP API, as far as the operator uses it. Never raises for a cell's sake."""

    async def status(self, key: Key, cell_key: str) -> StatusReport | Silence:
        """What the cell says of itself."""

    async def declare(
        self, key: Key, cell_key: str, dataset: str, wish: DatasetWish
    ) -> ReferenceReport | Refusal | Silence:
        """Declare a reference dataset (again). Idempotent."""
