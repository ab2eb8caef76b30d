"""Everything that the builders of a cell's objects need, as one frozen value. Pure.

Computed once per reconcile from the model, its Enrichments and the install; raises SchemaError for attributes
that do not fit.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from modelwarden.reconcile.collaborators import Collaborators, Install
from modelwarden.reconcile.jobs import Workplace, workplace_of
from modelwarden.reconcile.monitoredmodel.runtime import ChosenRuntime, runtime_of
from modelwarden.reconcile.names import CELL_PORT, server_name
from modelwarden.reconcile.podtemplate import over
from modelwarden.reconcile.ports import Key
from modelwarden.resources.cell import (
    CellSettings,
    canonical_json,
    content_hash,
    identity_of,
    settings_of,
    short_hash,
)
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment_settings import enrichment_settings
from modelwarden.resources.meta import ANNOTATION_KEY_EPOCH
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.packages import PackageIndex, index_over
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.server import Role
from modelwarden.resources.server_settings import ServerWish, server_settings, server_wish


@dataclass(frozen=True)
class ServerBlueprint:
    """The cell's server as it should be. `package_index` is the install's."""

    wish: ServerWish
    runtime: ChosenRuntime
    package_index: PackageIndex

    def index_of(self, roles: Iterable[Role]) -> PackageIndex:
        """Where the packages of user code in these roles come from."""
        return index_over(self.package_index, self.wish.index_of(roles))


@dataclass(frozen=True)
class Blueprint:
    """One cell as it should be. `identity` and `settings` are the bytes of the files it will read; `server`
    is None for a model that needs none."""

    model: MonitoredModel
    install: Install
    model_id: str
    identity: bytes
    settings: bytes
    key: str = field(repr=False)
    server: ServerBlueprint | None = None

    @property
    def name(self) -> str:
        return self.model.metadata.name

    @property
    def namespace(self) -> str:
        return self.model.metadata.namespace

    @property
    def identity_hash(self) -> str:
        return short_hash(self.identity)

    @property
    def settings_hash(self) -> str:
        """What the store confirms in `/status` once it has read the settings."""
        return short_hash(self.settings)

    @property
    def key_hash(self) -> str:
        return content_hash(self.key.encode())[:10]

    @property
    def archived(self) -> bool:
        return self.model.spec.lifecycle == "Archived"

    @property
    def pod(self) -> PodSpec:
        """The model's pod options over the install's."""
        return over(self.install.pod_defaults, self.model.spec.pod)


def key_epoch(annotations: dict[str, str]) -> int:
    """The epoch in the model's annotation; 0 without a usable one."""
    text = annotations.get(ANNOTATION_KEY_EPOCH, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def blueprint_of(
    model: MonitoredModel, install: Install, enrichments: Iterable[Enrichment] = ()
) -> Blueprint:
    """The blueprint of the model's cell. Raises SchemaError."""
    meta, objects = model.metadata, tuple(enrichments)
    identity, server = identity_of(model), server_of(model, install, objects)
    settings = _settings(model, objects, server)
    return Blueprint(
        model=model,
        install=install,
        model_id=identity.model_id,
        identity=canonical_json(identity),
        settings=canonical_json(settings),
        key=install.key_of(meta.namespace, meta.name, key_epoch(meta.annotations)),
        server=server,
    )


def server_of(
    model: MonitoredModel, install: Install, enrichments: Iterable[Enrichment]
) -> ServerBlueprint | None:
    """The model's server; None if it needs none."""
    wish = server_wish(model, enrichments)
    if wish is None:
        return None
    return ServerBlueprint(wish, runtime_of(wish, install), install.package_index)


def _settings(
    model: MonitoredModel, enrichments: tuple[Enrichment, ...], server: ServerBlueprint | None
) -> CellSettings:
    told = enrichment_settings(enrichments)
    if server is None:
        return settings_of(model, enrichments=told)
    meta = model.metadata
    url = f"http://{server_name(meta.name)}.{meta.namespace}.svc:{CELL_PORT}"
    given = server_settings(server.wish, url, server.runtime.python)
    settings = settings_of(model, enrichments=told, server=given)
    if server.wish.image is None:
        return settings
    # One container runs all user code of a model: an image of the user's own brings the packages of all.
    explained = told.explainability.model_copy(update={"image": True})
    served = settings.serving and settings.serving.model_copy(update={"image": True})
    told = told.model_copy(update={"explainability": explained})
    return settings.model_copy(update={"enrichments": told, "serving": served})


def place_of(given: Collaborators, model: MonitoredModel) -> Workplace:
    """Where the model's Jobs work."""
    meta = model.metadata
    pod = over(given.install.pod_defaults, model.spec.pod)
    return workplace_of(given, Key(meta.namespace, meta.name), key_epoch(meta.annotations), pod)
