"""What the store asks for the model's server: files to fetch, packages to install. Pure.

A file that is uploaded needs no Job. A Secret whose owner has not agreed is given to none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.consent import secret_of, unreadable, withheld
from modelwarden.reconcile.jobs import Workplace
from modelwarden.reconcile.monitoredmodel.blueprint import ServerBlueprint
from modelwarden.reconcile.monitoredmodel.build.provision import (
    AssetOrder,
    EnvironmentOrder,
    asset_plan,
    environment_plan,
)
from modelwarden.reconcile.monitoredmodel.rounds import Asked, Errand
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.resources.pod import Resources
from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.report import AssetReport, EnvironmentReport
from modelwarden.resources.server import ROLES, AssetSlot
from modelwarden.resources.server_settings import asset_hash
from modelwarden.resources.sources import Source

# Names of objects are made of a cell's words: only what is as agreed is taken.
_HASH = re.compile(r"[0-9a-f]{8,64}")
_FIELDS: dict[AssetSlot, str] = {
    "explain-project": "spec.explainability.project",
    "explain-requirements": "spec.explainability.requirements",
    "explain-explainer": "spec.explainability.explainer",
    "serve-files": "spec.serving.files",
    "serve-requirements": "spec.serving.requirements",
}


@dataclass(frozen=True)
class Provisioning:
    """What the Jobs of a model's server work with; `server` is None for a model that needs none."""

    place: Workplace
    resources: Resources
    server: ServerBlueprint | None


def assets_of(world: World, server: ServerBlueprint) -> Iterator[tuple[AssetReport, Source]]:
    """What the store says of each file that a Job fetches, and its source. One that the store knows by
    another source is left out: it has not read the settings yet."""
    report = world.heard.server if world.heard else None
    sources: dict[str, Source] = {str(slot): source for slot, source in server.wish.sources.items()}
    for entry in report.assets if report else ():
        source = sources.get(entry.slot)
        if source is not None and source.upload is None and asset_hash(source) == entry.source_hash:
            yield entry, source


def environments_of(world: World) -> tuple[EnvironmentReport, ...]:
    """What the store says of each set of packages."""
    report = world.heard.server if world.heard else None
    return tuple(entry for entry in (report.environments if report else ()) if _HASH.fullmatch(entry.hash))


def asset_trouble(world: World, slot: str, source: Source) -> ReconcileError | None:
    """Why no Job may fetch the file."""
    field = next((name for known, name in _FIELDS.items() if known == slot), slot)
    name = secret_of(source)
    if (trouble := unreadable(source, field)) is not None or name is None:
        return trouble
    return withheld(name, f"{field}.objectStore.credentialsSecretRef", world.secrets.get(name))


def environment_trouble(
    world: World, server: ServerBlueprint, entry: EnvironmentReport
) -> ReconcileError | None:
    """Why no Job may install the packages."""
    secret = server.index_of(entry.roles).credentials_secret_ref
    if secret is None:
        return None
    return withheld(secret.name, "packageIndex.credentialsSecretRef", world.secrets.get(secret.name))


def is_stuck(entry: AssetReport | EnvironmentReport) -> bool:
    """Whether the store says that to try the same again is of no use."""
    return entry.state == "Failed" and not entry.due


def secret_names(server: ServerBlueprint) -> frozenset[str]:
    """The Secrets that the server's Jobs would be given."""
    indexes = [server.index_of((role,)) for role in ROLES]
    found = {secret_of(source) for source in server.wish.sources.values()}
    found |= {i.credentials_secret_ref.name for i in indexes if i.credentials_secret_ref is not None}
    return frozenset(name for name in found if name is not None)


def provisions_asked(world: World, given: Provisioning) -> tuple[Asked, ...]:
    """For the Jobs that fetch and for those that install. A model without a server wants nothing of them;
    what a store wants that has not told yet, nobody knows."""
    server = given.server
    if server is None:
        return Asked(ASSETS, (), complete=True), Asked(ENVIRONMENT, (), complete=True)
    told = world.heard is not None and world.heard.server is not None
    assets = tuple(_asset(world, given, entry, source) for entry, source in assets_of(world, server))
    environments = tuple(_environment(world, given, server, entry) for entry in environments_of(world))
    return Asked(ASSETS, assets, complete=told), Asked(ENVIRONMENT, environments, complete=told)


def _asset(world: World, given: Provisioning, entry: AssetReport, source: Source) -> Errand:
    order = AssetOrder(
        place=given.place,
        model_uid=world.model.metadata.uid,
        input_hash=entry.source_hash,
        resources=given.resources,
        declared=_declared(world, given.server),
        slot=entry.slot,
        source=source,
    )
    return Errand(
        entry.slot,
        entry.source_hash,
        entry.due,
        partial(asset_plan, order),
        stuck=is_stuck(entry),
        trouble=asset_trouble(world, entry.slot, source),
    )


def _environment(
    world: World, given: Provisioning, server: ServerBlueprint, entry: EnvironmentReport
) -> Errand:
    order = EnvironmentOrder(
        place=replace(given.place, image=server.runtime.image),
        model_uid=world.model.metadata.uid,
        input_hash=entry.hash,
        resources=given.resources,
        declared=_declared(world, server),
        index=server.index_of(entry.roles),
    )
    return Errand(
        "",
        entry.hash,
        entry.due,
        partial(environment_plan, order),
        stuck=is_stuck(entry),
        trouble=environment_trouble(world, server, entry),
    )


def _declared(world: World, server: ServerBlueprint | None) -> str:
    """What says so: with another version of it a failed try is worth repeating at once."""
    enrichment = server.wish.declared if server is not None else None
    meta = enrichment.metadata if enrichment is not None else world.model.metadata
    return f"{meta.uid}/{meta.generation}"
