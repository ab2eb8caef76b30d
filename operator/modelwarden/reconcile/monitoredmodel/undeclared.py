"""Has reference data profiled that were uploaded and closed through the API, without a ReferenceDataset.

Where there is an object, its own reconcile sees to the Job. Must not decide which dataset the model uses.
"""

from modelwarden.errors import Conflict, ReconcileError, Transient
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.monitoredmodel.blueprint import key_epoch
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.podtemplate import over
from modelwarden.reconcile.ports import DATASET, JOB, MODEL, SECRET, Cluster, Key
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.referencedataset.build import ProfileOrder, build_job, build_job_key
from modelwarden.resources.report import ReferenceReport


async def profile_undeclared(given: Collaborators, world: World) -> tuple[ReconcileError, ...]:
    """See that a Job exists for each closed dataset that nobody declared; what went wrong."""
    troubles = []
    for entry in world.heard.reference if world.heard else ():
        if entry.state != "closed" or entry.content_hash is None:
            continue
        try:
            if await given.cluster.get(DATASET, Key(world.model.metadata.namespace, entry.name)) is None:
                await _ensure(given.cluster, _order(given, world, entry, entry.content_hash))
        except Conflict:
            continue  # made meanwhile, or being removed: the next look tells
        except ReconcileError as trouble:
            troubles.append(trouble)
    return tuple(troubles)


async def _ensure(cluster: Cluster, order: ProfileOrder) -> None:
    key = Key(order.namespace, order.name)
    job = await cluster.get(JOB, key)
    if job is None:
        job = await cluster.create(build_job(order))
    elif not any(
        owner.get("uid") == order.owner_uid for owner in job["metadata"].get("ownerReferences") or ()
    ):
        raise Transient(Reason.PREVIOUS_CHILDREN, f"Job {order.name} of before is still being removed")
    if await cluster.get(SECRET, key) is None:
        await cluster.create(build_job_key(order, job))


def _order(given: Collaborators, world: World, entry: ReferenceReport, content_hash: str) -> ProfileOrder:
    meta = world.model.metadata
    key = Key(meta.namespace, meta.name)
    return ProfileOrder(
        namespace=meta.namespace,
        dataset=entry.name,
        owner_uid=meta.uid,
        model=meta.name,
        content_hash=content_hash,
        store_url=given.endpoint(key),
        image=given.install.cell_image,
        pull_policy=given.install.pull_policy,
        pod=over(given.install.pod_defaults, world.model.spec.pod),
        cell_key=given.install.key_of(meta.namespace, meta.name, key_epoch(meta.annotations)),
        owner_kind=MODEL,
    )
