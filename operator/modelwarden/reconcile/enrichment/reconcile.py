"""The reconcile of an Enrichment. Only its status is written: its wishes reach the cell with its model's
settings, and its Jobs are made by its model's reconcile, which alone asks the cell.
"""

from modelwarden.errors import InvalidSpec
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.enrichment.gather import find, gather
from modelwarden.reconcile.enrichment.status import summarise
from modelwarden.reconcile.enrichment.world import hindrance_of
from modelwarden.reconcile.outcome import Outcome
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.transitions import tell, transitions
from modelwarden.resources.kind import InvalidResource


class ReconcileEnrichment:
    """One instance for all enrichments."""

    def __init__(self, given: Collaborators) -> None:
        self._cluster = given.cluster
        self._now = given.now

    async def __call__(self, visit: Visit) -> Outcome:
        """Always reads everything; woken by its model, and by the others of its model."""
        live = await find(self._cluster, visit.key, visit.uid)
        if live is None:
            return Outcome(gone=True)
        try:
            world = await gather(self._cluster, live)
        except InvalidResource as error:
            path, message = error.problems[0]
            return Outcome(trouble=InvalidSpec(Reason.INVALID_SPEC, f"{path}: {message}"))
        now, trouble, previous = self._now(), hindrance_of(world), world.enrichment.status
        status = summarise(world, trouble, now)
        if status != previous:
            await write_status(self._cluster, live, status)
            before = previous.conditions if previous else ()
            await tell(self._cluster, live, transitions(before, status.conditions), now)
        pairs = tuple((condition.type, condition.status) for condition in status.conditions)
        return Outcome(trouble=trouble, conditions=pairs)
