"""Reads what a reconcile of a ReferenceDataset looks at, the store's answer to its declaration included.

Declaring is idempotent and asks for what the spec asks for, so it is how the store is read, too.
"""

import asyncio
from dataclasses import replace

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.monitoredmodel.blueprint import key_epoch
from modelwarden.reconcile.names import profile_job, selecting
from modelwarden.reconcile.podtemplate import over
from modelwarden.reconcile.ports import DATASET, JOB, MODEL, POD, SECRET, Cells, Cluster, Key, Manifest
from modelwarden.reconcile.referencedataset.world import World
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import LABEL_REFERENCE_DATASET
from modelwarden.resources.monitoredmodel import parse as parse_model
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.referencedataset import parse

HASH_LENGTH = 10


async def find(cluster: Cluster, key: Key, uid: str) -> Manifest | None:
    """The live object, if it still is the one with this uid and is not being deleted."""
    live = await cluster.get(DATASET, key)
    if live is None or live["metadata"]["uid"] != uid or live["metadata"].get("deletionTimestamp"):
        return None
    return live


async def gather(cluster: Cluster, live: Manifest) -> World:
    """The dataset and its model. Raises InvalidResource."""
    dataset = parse(live)
    model = await cluster.get(MODEL, Key(dataset.metadata.namespace, dataset.spec.model_ref.name))
    return World(live=live, dataset=dataset, model=model)


async def declare(cells: Cells, world: World, install: Install) -> World:
    """The same world with the store's answer."""
    if world.model is None:
        return world
    spec, key = world.dataset.spec, model_key(world)
    name = world.dataset.metadata.name
    secret = cell_key_of(world, install)
    entry = await cells.declare(key, secret, name, spec.closed, spec.total_record_count)
    return replace(world, entry=entry)


async def gather_job(cluster: Cluster, world: World) -> World:
    """The same world with the Job that profiles just these contents, and its pods."""
    report, meta = world.report, world.dataset.metadata
    if report is None or report.content_hash is None:
        return world
    key = Key(meta.namespace, job_name(meta.name, report.content_hash))
    pods = selecting({LABEL_REFERENCE_DATASET: meta.name, "batch.kubernetes.io/job-name": key.name})
    job, secret, found = await asyncio.gather(
        cluster.get(JOB, key), cluster.get(SECRET, key), cluster.list(POD, key.namespace, labels=pods)
    )
    return replace(world, job=job, job_key=secret, pods=tuple(found))


def model_key(world: World) -> Key:
    """Where the dataset's model is."""
    return Key(world.dataset.metadata.namespace, world.dataset.spec.model_ref.name)


def cell_key_of(world: World, install: Install) -> str:
    """The key of the model's cell."""
    key = model_key(world)
    annotations = ((world.model or {}).get("metadata") or {}).get("annotations") or {}
    return install.key_of(key.namespace, key.name, key_epoch(annotations))


def pod_options(world: World, install: Install) -> PodSpec:
    """The model's pod options over the install's: its Jobs go where its store goes."""
    try:
        return over(install.pod_defaults, parse_model(world.model).spec.pod)
    except InvalidResource:
        return install.pod_defaults


def job_name(dataset: str, content_hash: str) -> str:
    """Named by its input: another content is another Job."""
    return profile_job(dataset, content_hash[:HASH_LENGTH])
