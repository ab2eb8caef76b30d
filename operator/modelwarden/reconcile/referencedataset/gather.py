"""Reads what a reconcile of a ReferenceDataset looks at, the store's answer to its declaration included.

Declaring is idempotent and asks for what the spec asks for, so it is how the store is read, too.
"""

import asyncio
from dataclasses import replace

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.consent import secret_of
from modelwarden.reconcile.monitoredmodel.blueprint import key_epoch
from modelwarden.reconcile.names import load_job, profile_job, selecting
from modelwarden.reconcile.podtemplate import over
from modelwarden.reconcile.ports import (
    DATASET,
    JOB,
    MODEL,
    POD,
    SECRET,
    Cells,
    Cluster,
    DatasetWish,
    Key,
    Manifest,
)
from modelwarden.reconcile.referencedataset.world import World
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import LABEL_REFERENCE_DATASET
from modelwarden.resources.monitoredmodel import parse as parse_model
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.referencedataset import parse


async def find(cluster: Cluster, key: Key, uid: str) -> Manifest | None:
    """The live object, if it still is the one with this uid and is not being deleted."""
    live = await cluster.get(DATASET, key)
    if live is None or live["metadata"]["uid"] != uid or live["metadata"].get("deletionTimestamp"):
        return None
    return live


async def gather(cluster: Cluster, live: Manifest) -> World:
    """The dataset and its model. Raises InvalidResource."""
    dataset = parse(live)
    namespace = dataset.metadata.namespace
    model = await cluster.get(MODEL, Key(namespace, dataset.spec.model_ref.name))
    name = secret_of(dataset.spec.source)
    secret = None if name is None else await cluster.get(SECRET, Key(namespace, name))
    return World(live=live, dataset=dataset, model=model, credentials=secret)


async def declare(cells: Cells, world: World, install: Install) -> World:
    """The same world with the store's answer."""
    if world.model is None:
        return world
    spec, key = world.dataset.spec, model_key(world)
    name = world.dataset.metadata.name
    secret = install.key_of(key.namespace, key.name, epoch_of(world))
    wish = DatasetWish(spec.closed, spec.total_record_count, world.source_hash)
    entry = await cells.declare(key, secret, name, wish)
    return replace(world, entry=entry)


async def gather_job(cluster: Cluster, world: World) -> World:
    """The same world with the Job that is due (see World.job), and its pods."""
    report, meta, source = world.report, world.dataset.metadata, world.source_hash
    if world.is_loading and source is not None:
        key = Key(meta.namespace, load_job(meta.name, source))
    elif report is not None and report.content_hash is not None:
        key = Key(meta.namespace, profile_job(meta.name, report.content_hash))
    else:
        return world
    pods = selecting({LABEL_REFERENCE_DATASET: meta.name, "batch.kubernetes.io/job-name": key.name})
    job, found = await asyncio.gather(cluster.get(JOB, key), cluster.list(POD, key.namespace, labels=pods))
    return replace(world, job=job, pods=tuple(found))


def model_key(world: World) -> Key:
    """Where the dataset's model is."""
    return Key(world.dataset.metadata.namespace, world.dataset.spec.model_ref.name)


def epoch_of(world: World) -> int:
    """The epoch of the key of the model's cell."""
    return key_epoch(((world.model or {}).get("metadata") or {}).get("annotations") or {})


def pod_options(world: World, install: Install) -> PodSpec:
    """The model's pod options over the install's: its Jobs go where its store goes."""
    try:
        return over(install.pod_defaults, parse_model(world.model).spec.pod)
    except InvalidResource:
        return install.pod_defaults
