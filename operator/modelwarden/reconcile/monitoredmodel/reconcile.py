"""The reconcile of a MonitoredModel: gather, decide, apply, report; or its clean-up. Only the order."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from modelwarden.errors import Conflict, InvalidSpec, ReconcileError
from modelwarden.reconcile.apply import apply_all
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.monitoredmodel.decide import Plan, decide
from modelwarden.reconcile.monitoredmodel.delete import Farewell, clean_up
from modelwarden.reconcile.monitoredmodel.gather import ask_store, find, gather
from modelwarden.reconcile.monitoredmodel.status import hindered, status_in, summarise, worth_writing
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.outcome import Outcome, worst
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.transitions import tell, transitions
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import FINALIZER
from modelwarden.resources.monitoredmodel import MonitoredModelStatus

_log = logging.getLogger("modelwarden.monitoredmodel")


class ReconcileModel:
    """One instance for all models; what belongs to one model is in its visit's memory."""

    def __init__(self, given: Collaborators) -> None:
        self._given = given
        self._cluster = given.cluster

    async def __call__(self, visit: Visit) -> Outcome:
        """A fresh visit reads the cluster; the others only ask the store again."""
        known: World | None = visit.memory.get("world")
        if visit.fresh or known is None:
            live = await find(self._cluster, visit.key, visit.uid)
            if live is None:
                return Outcome(gone=True)
            if live["metadata"].get("deletionTimestamp"):
                deadline = timedelta(seconds=self._given.rhythm.delete_deadline)
                return await clean_up(self._cluster, Farewell(live, self._given.now(), deadline))
            try:
                known = await gather(self._cluster, live)
            except InvalidResource as error:
                return await self._unreadable(live, error)
        world = await ask_store(self._given.cells, known, self._given.install)
        return await self._act(visit, world)

    async def _unreadable(self, live: Manifest, error: InvalidResource) -> Outcome:
        """The API server took it, we cannot: the CRD is newer than this operator. Children stay."""
        path, message = error.problems[0]
        trouble = InvalidSpec(Reason.INVALID_SPEC, f"{path}: {message}")
        previous, status = status_in(live), hindered(live, trouble, self._given.now())
        if previous != status:
            await write_status(self._cluster, live, status)
        return Outcome(trouble=trouble)

    async def _act(self, visit: Visit, world: World) -> Outcome:
        plan = decide(world, self._given.install)
        troubles = list(plan.troubles)
        visit.memory["world"] = world
        if plan.intents:
            world = await self._guard(world)
            world, more = await self._apply(plan, world, visit)
            troubles += more
        trouble = worst(troubles)
        if isinstance(trouble, Conflict):
            return Outcome(trouble=trouble)
        status = summarise(world, plan, troubles, self._given.endpoint(visit.key), self._given.now())
        await self._report(visit, world, status)
        pairs = tuple((condition.type, condition.status) for condition in status.conditions)
        after = None if world.model.spec.lifecycle == "Archived" else self._given.rhythm.poll
        return Outcome(after=after, trouble=trouble, conditions=pairs)

    async def _guard(self, world: World) -> World:
        """Our finalizer goes on before the first thing that could outlive the model is made."""
        finalizers = list(world.live["metadata"].get("finalizers") or ())
        if FINALIZER in finalizers:
            return world
        live = await self._cluster.set_finalizers(world.live, [*finalizers, FINALIZER])
        return replace(world, live=live)

    async def _apply(self, plan: Plan, world: World, visit: Visit) -> tuple[World, Sequence[ReconcileError]]:
        """Apply, then remove what nobody reads any more; the world as it is afterwards."""
        applied = await apply_all(self._cluster, plan.intents, world.children)
        for kind, name, field in applied.changed:
            extra = {"kind": "MonitoredModel", "namespace": visit.key.namespace, "object": visit.key.name}
            _log.info("applied %s %s because of %s", kind, name, field, extra=extra)
        if not applied.troubles:
            for config in plan.obsolete:
                await self._cluster.delete(config)
        world = replace(world, children=applied.children)
        # What was just written is read again before it is judged a second time.
        visit.memory["world"] = None if applied.changed or plan.obsolete else world
        return world, applied.troubles

    async def _report(self, visit: Visit, world: World, status: MonitoredModelStatus) -> None:
        previous = world.model.status
        now = self._given.now()
        written: datetime | None = visit.memory.get("facts_written")
        due = written is None or now - written >= timedelta(seconds=self._given.rhythm.facts)
        if not worth_writing(previous, status, due):
            return
        await write_status(self._cluster, world.live, status)
        visit.memory["facts_written"] = now
        if (known := visit.memory.get("world")) is not None:
            model = world.model.model_copy(update={"status": status})
            visit.memory["world"] = replace(known, model=model)
        before = previous.conditions if previous else ()
        await tell(self._cluster, world.live, transitions(before, status.conditions), now)
