"""Has done what the store wants of Jobs: carries out what `trainings` decides. Must not decide anything."""

import logging

from modelwarden.errors import Conflict, ReconcileError
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.ensure import ensure
from modelwarden.reconcile.monitoredmodel.blueprint import place_of, server_of
from modelwarden.reconcile.monitoredmodel.build.tries import over
from modelwarden.reconcile.monitoredmodel.rounds import RoundJob
from modelwarden.reconcile.monitoredmodel.trainings import Means, steps_of
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import JOB, Cluster, Key, Manifest

_log = logging.getLogger("modelwarden.training")


async def train(given: Collaborators, world: World) -> tuple[ReconcileError, ...]:
    """Remove the Jobs that are in the way and make those that are due; what went wrong."""
    server = server_of(world.model, given.install, world.enrichments)
    resources = over(given.install.training_resources, world.model.spec.training.resources)
    steps = steps_of(world, Means(place_of(given, world.model), resources, server), given.now())
    troubles: list[ReconcileError] = []
    kept: set[str] = set()
    for job in steps.remove:
        try:
            if not await _remove(given.cluster, job):
                kept.add(job["metadata"]["name"])
        except ReconcileError as trouble:
            kept.add(job["metadata"]["name"])
            troubles.append(trouble)
    for plan in steps.make:
        if plan.name in kept:
            continue
        try:
            await ensure(given.cluster, plan)
        except Conflict:
            continue  # made meanwhile, or still being removed: the next look tells
        except ReconcileError as trouble:
            troubles.append(trouble)
    return tuple(troubles)


async def _remove(cluster: Cluster, seen: Manifest) -> bool:
    """Whether its name is free. Looked at once more: one that was at work when it was seen may have done its
    work since, and then it is another matter.
    """
    meta = seen["metadata"]
    live = await cluster.get(JOB, Key(meta["namespace"], meta["name"]))
    if live is None:
        return True
    if live["metadata"]["uid"] != meta["uid"]:
        return False
    if RoundJob(live).is_finished != RoundJob(seen).is_finished:
        return False
    await cluster.delete(live)
    where = {"kind": "MonitoredModel", "namespace": meta["namespace"], "object": meta["name"]}
    _log.info("deleted Job %s", meta["name"], extra=where)
    return True
