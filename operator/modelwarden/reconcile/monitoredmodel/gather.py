"""Reads everything a reconcile of a MonitoredModel looks at: live, by name, in parallel. Writes nothing."""

import asyncio
from contextlib import suppress
from dataclasses import replace

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.jobs import belongs_to, condition_of
from modelwarden.reconcile.monitoredmodel.blueprint import key_epoch
from modelwarden.reconcile.monitoredmodel.gatherserver import with_server
from modelwarden.reconcile.monitoredmodel.world import World, child_id
from modelwarden.reconcile.names import (
    LABEL_COMPONENT,
    LABEL_CONFIG,
    SERVER,
    data_claim,
    errands_of,
    key_secret,
    running_pods,
    selecting,
    server_name,
    settings_config,
)
from modelwarden.reconcile.ports import (
    CLAIM,
    CONFIG_MAP,
    DEPLOYMENT,
    ENRICHMENT,
    EVENT,
    JOB,
    MODEL,
    NETWORK_POLICY,
    POD,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Cells,
    Cluster,
    Key,
    Manifest,
    Silence,
)
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment import parse as parse_enrichment
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import LABEL_MODEL, MAX_MODEL_NAME
from modelwarden.resources.monitoredmodel import parse
from modelwarden.resources.report import StatusReport


async def find(cluster: Cluster, key: Key, uid: str) -> Manifest | None:
    """The live object, if it still is the one with this uid."""
    live = await cluster.get(MODEL, key)
    return live if live is not None and live["metadata"]["uid"] == uid else None


async def gather(cluster: Cluster, live: Manifest, install: Install) -> World:
    """The model and all its children. Raises InvalidResource for a body that this version cannot read."""
    model = parse(live)
    key = Key(model.metadata.namespace, model.metadata.name)
    named = [
        (SERVICE_ACCOUNT, key.name),
        (SECRET, key_secret(key.name)),
        (CONFIG_MAP, settings_config(key.name)),
        (CLAIM, data_claim(key.name)),
        (NETWORK_POLICY, key.name),
        (SERVICE, key.name),
        (DEPLOYMENT, key.name),
        (DEPLOYMENT, server_name(key.name)),
    ]
    identities = selecting({LABEL_MODEL: key.name, LABEL_CONFIG: "identity"})
    found, configs, pods, namesake, enrichments, jobs = await asyncio.gather(
        asyncio.gather(*(cluster.get(kind, Key(key.namespace, name)) for kind, name in named)),
        cluster.list(CONFIG_MAP, key.namespace, labels=identities),
        cluster.list(POD, key.namespace, labels=running_pods(key.name)),
        _namesake(cluster, live),
        _enrichments(cluster, key),
        cluster.list(JOB, key.namespace, labels=errands_of(key.name)),
    )
    children = {child_id(child): child for child in (*found, *configs) if child is not None}
    trainings = tuple(job for job in jobs if belongs_to(job, model.metadata.uid))
    world = World(
        live=live,
        model=model,
        children=children,
        identities=tuple(configs),
        pods=tuple(pod for pod in pods if not _is_of_server(pod)),
        server_pods=tuple(pod for pod in pods if _is_of_server(pod)),
        enrichments=enrichments,
        trainings=trainings,
        namesake=namesake,
    )
    world = await with_server(cluster, world, install)
    return replace(
        world,
        claim_trouble=await _claim_trouble(cluster, world.claim),
        training_pods=await _training_pods(cluster, key, trainings),
    )


def _is_of_server(pod: Manifest) -> bool:
    return (pod["metadata"].get("labels") or {}).get(LABEL_COMPONENT) == SERVER


async def ask_store(cells: Cells, world: World, install: Install) -> StatusReport | Silence | None:
    """What the store says now; None when there is nobody to ask."""
    deployment = world.deployment
    if deployment is None or not (deployment.get("spec") or {}).get("replicas"):
        return None
    meta = world.model.metadata
    cell_key = install.key_of(meta.namespace, meta.name, key_epoch(meta.annotations))
    return await cells.status(Key(meta.namespace, meta.name), cell_key)


async def _namesake(cluster: Cluster, live: Manifest) -> str | None:
    """The oldest other model with the same id, if it is older than this one."""
    meta = live["metadata"]
    called = str(live["spec"].get("partnerModelId") or meta["name"])
    with_id = await cluster.list(MODEL, meta["namespace"], fields=f"spec.partnerModelId={_escaped(called)}")
    named = await cluster.get(MODEL, Key(meta["namespace"], called)) if _may_be_a_name(called) else None
    if named is not None and not named["spec"].get("partnerModelId"):
        with_id = [*with_id, named]
    oldest = min(with_id, key=_age, default=live)
    return str(oldest["metadata"]["name"]) if _age(oldest) < _age(live) else None


def _age(live: Manifest) -> tuple[str, str]:
    return str(live["metadata"]["creationTimestamp"]), str(live["metadata"]["uid"])


def _escaped(value: str) -> str:
    """As the value of a field selector."""
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _may_be_a_name(text: str) -> bool:
    return len(text) <= MAX_MODEL_NAME and text.isascii() and text.replace("-", "a").isalnum()


async def _enrichments(cluster: Cluster, model: Key) -> tuple[Enrichment, ...]:
    """Those that this version can read: of the others their own status tells."""
    found = []
    for live in await cluster.list(ENRICHMENT, model.namespace, fields=f"spec.modelRef.name={model.name}"):
        with suppress(InvalidResource):
            found.append(parse_enrichment(live))
    return tuple(found)


async def _training_pods(
    cluster: Cluster, model: Key, trainings: tuple[Manifest, ...]
) -> tuple[Manifest, ...]:
    if all(condition_of(job, "Complete") for job in trainings):
        return ()
    return tuple(await cluster.list(POD, model.namespace, labels=errands_of(model.name)))


async def _claim_trouble(cluster: Cluster, claim: Manifest | None) -> str | None:
    """What the storage controllers last complained about, for a claim that has no volume."""
    if claim is None or (claim.get("status") or {}).get("phase") != "Pending":
        return None
    meta = claim["metadata"]
    fields = f"involvedObject.kind=PersistentVolumeClaim,involvedObject.uid={meta['uid']},type=Warning"
    events = await cluster.list(EVENT, meta["namespace"], fields=fields)
    newest = max(events, key=lambda event: str(event.get("lastTimestamp") or ""), default=None)
    return str(newest.get("message", "")) if newest else None
