"""Has reference data profiled that were uploaded and closed through the API, without a ReferenceDataset.

Where there is an object, its own reconcile sees to the Job. Must not decide which dataset the model uses.
"""

from modelwarden.errors import Conflict, ReconcileError
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.ensure import ensure
from modelwarden.reconcile.monitoredmodel.blueprint import place_of
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import DATASET, Key
from modelwarden.reconcile.referencedataset.build import undeclared_plan


async def profile_undeclared(given: Collaborators, world: World) -> tuple[ReconcileError, ...]:
    """See that a Job exists for each closed dataset that nobody declared; what went wrong."""
    troubles = []
    meta = world.model.metadata
    for entry in world.heard.reference if world.heard else ():
        if entry.state != "closed" or entry.content_hash is None:
            continue
        try:
            if await given.cluster.get(DATASET, Key(meta.namespace, entry.name)) is None:
                place = place_of(given, world.model)
                await ensure(given.cluster, undeclared_plan(place, entry.name, meta.uid, entry.content_hash))
        except Conflict:
            continue  # made meanwhile, or being removed: the next look tells
        except ReconcileError as trouble:
            troubles.append(trouble)
    return tuple(troubles)
