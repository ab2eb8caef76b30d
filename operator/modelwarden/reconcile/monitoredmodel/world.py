"""All that a reconcile of a MonitoredModel has read, frozen. Nothing else influences a decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from modelwarden.reconcile.names import data_claim, server_name
from modelwarden.reconcile.ports import CLAIM, DEPLOYMENT, Kind, Manifest, Silence
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.report import StatusReport

ChildId = tuple[str, str]  # (kind, name)


def child_id(manifest: Manifest) -> ChildId:
    """Where an object is found in `World.children`."""
    return manifest["kind"], manifest["metadata"]["name"]


@dataclass(frozen=True)
class World:
    """`namesake` is an older model with the same id. `report` is None when the store was not asked (there is
    none yet, or it is archived).
    """

    live: Manifest
    model: MonitoredModel
    children: Mapping[ChildId, Manifest] = field(default_factory=dict)
    identities: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    claim_trouble: str | None = None
    enrichments: tuple[Enrichment, ...] = ()
    """The objects that name this model."""
    trainings: tuple[Manifest, ...] = ()
    """The Jobs that were made for this model, to train something, to fetch a file or to install packages,
    whatever became of them."""
    training_pods: tuple[Manifest, ...] = ()
    """Their pods, if one of them has not ended well."""
    server_pods: tuple[Manifest, ...] = ()
    """The pods of the model's server."""
    secrets: Mapping[str, Manifest] = field(default_factory=dict)
    """Those Secrets that the model's server names and that are there, by name."""
    namesake: str | None = None
    report: StatusReport | Silence | None = None

    def lean(self) -> "World":
        """What polls need of it, which are many and remembered for long: not every child's every field."""
        kept = {
            child_id(child): child
            for child in (self.deployment, self.server, self.claim)
            if child is not None
        }
        live = {name: self.live[name] for name in ("apiVersion", "kind", "metadata")}
        return replace(self, live=live, children=kept, identities=(), namesake=None, report=None)

    def child(self, kind: Kind, name: str) -> Manifest | None:
        """A child by kind and name; None if there is none."""
        return self.children.get((kind.kind, name))

    @property
    def deployment(self) -> Manifest | None:
        """The store's Deployment."""
        return self.child(DEPLOYMENT, self.model.metadata.name)

    @property
    def server(self) -> Manifest | None:
        """The server's Deployment."""
        return self.child(DEPLOYMENT, server_name(self.model.metadata.name))

    @property
    def claim(self) -> Manifest | None:
        """The claim with the data."""
        return self.child(CLAIM, data_claim(self.model.metadata.name))

    @property
    def heard(self) -> StatusReport | None:
        """The store's report, if it gave one."""
        return self.report if isinstance(self.report, StatusReport) else None
