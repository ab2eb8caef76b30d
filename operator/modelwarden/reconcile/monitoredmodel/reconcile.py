"""The reconcile of a MonitoredModel: gather, decide, apply, report; or its clean-up. Only the order."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from modelwarden.errors import Conflict, InvalidSpec, ReconcileError
from modelwarden.reconcile.apply import apply_all
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.monitoredmodel.decide import Plan, decide
from modelwarden.reconcile.monitoredmodel.delete import Farewell, clean_up
from modelwarden.reconcile.monitoredmodel.gather import ask_store, find, gather
from modelwarden.reconcile.monitoredmodel.status import (
    happenings,
    hindered,
    status_in,
    summarise,
    worth_writing,
)
from modelwarden.reconcile.monitoredmodel.training import train
from modelwarden.reconcile.monitoredmodel.undeclared import profile_undeclared
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.names import ANNOTATION_SETTINGS, settings_config
from modelwarden.reconcile.outcome import Outcome, worst
from modelwarden.reconcile.ports import DEPLOYMENT, Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.transitions import tell
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import FINALIZER

_log = logging.getLogger("modelwarden.monitoredmodel")


@dataclass(frozen=True)
class _Stand:
    """Where a model stands after its objects were brought to the plan. `changed`: just now; `restarted`: its
    store with them.
    """

    world: World
    plan: Plan
    troubles: tuple[ReconcileError, ...]
    changed: bool
    restarted: bool = False


class ReconcileModel:
    """One instance for all models; what belongs to one model is in its visit's memory."""

    def __init__(self, given: Collaborators) -> None:
        self._given = given
        self._cluster = given.cluster

    async def __call__(self, visit: Visit) -> Outcome:
        """A fresh visit reads and mends the cluster; the others only ask the store again."""
        stand: _Stand | None = visit.memory.get("stand")
        if visit.fresh or stand is None:
            live = await find(self._cluster, visit.key, visit.uid)
            if live is None:
                return Outcome(gone=True)
            if live["metadata"].get("deletionTimestamp"):
                deadline = timedelta(seconds=self._given.rhythm.delete_deadline)
                return await clean_up(self._cluster, Farewell(live, self._given.now(), deadline))
            try:
                world = await gather(self._cluster, live, self._given.install)
            except InvalidResource as error:
                return await self._unreadable(live, error)
            stand = await self._mend(visit, world)
        if isinstance(worst(stand.troubles), Conflict):
            visit.memory.pop("stand", None)
            return Outcome(trouble=worst(stand.troubles))
        if stand.restarted:
            # What was made or changed a moment ago cannot answer yet: the status need not wait for it.
            return await self._report(visit, stand)
        report = await ask_store(self._given.cells, stand.world, self._given.install)
        stand = replace(stand, world=replace(stand.world, report=report))
        if stand.changed:
            # A store whose settings alone have changed works on, and must not be called silent meanwhile.
            return await self._report(visit, stand)
        passing = await profile_undeclared(self._given, stand.world)
        if stand.plan.feasible:
            passing += await train(self._given, stand.world)
        return await self._report(visit, stand, passing)

    async def _unreadable(self, live: Manifest, error: InvalidResource) -> Outcome:
        """The API server took it, we cannot: the CRD is newer than this operator. Children stay."""
        path, message = error.problems[0]
        trouble = InvalidSpec(Reason.INVALID_SPEC, f"{path}: {message}")
        previous, status = status_in(live), hindered(live, trouble, self._given.now())
        if previous != status:
            await write_status(self._cluster, live, status)
        return Outcome(trouble=trouble)

    async def _mend(self, visit: Visit, world: World) -> _Stand:
        """Bring the cluster to the plan; our finalizer before the first thing that outlives the model."""
        plan = decide(world, self._given.install)
        if not plan.intents:
            return _Stand(world, plan, plan.troubles, changed=False)
        world = await self._guard(world)
        applied = await apply_all(self._cluster, plan.intents, world.children)
        for kind, name, field in applied.changed:
            extra = {"kind": "MonitoredModel", "namespace": visit.key.namespace, "object": visit.key.name}
            _log.info("applied %s %s because of %s", kind, name, field, extra=extra)
        if not applied.troubles:
            for one in plan.obsolete:
                await self._cluster.delete(one)
        if any(name == settings_config(visit.key.name) for _, name, _ in applied.changed):
            await self._hasten(world, plan)
        return _Stand(
            world=replace(world, children=applied.children),
            plan=plan,
            troubles=plan.troubles + applied.troubles,
            changed=bool(applied.changed or plan.obsolete),
            restarted=any((k, name) == (DEPLOYMENT.kind, visit.key.name) for k, name, _ in applied.changed),
        )

    async def _hasten(self, world: World, plan: Plan) -> None:
        """A kubelet looks at a pod's ConfigMaps each minute or so, and at once when the pod is annotated."""
        for pod in (*world.pods, *world.server_pods):
            try:
                await self._cluster.annotate(pod, {ANNOTATION_SETTINGS: plan.settings_hash})
            except ReconcileError as error:
                _log.info("the store will read its settings a minute later: %s", error)

    async def _guard(self, world: World) -> World:
        finalizers = list(world.live["metadata"].get("finalizers") or ())
        if FINALIZER in finalizers:
            return world
        live = await self._cluster.set_finalizers(world.live, [*finalizers, FINALIZER])
        return replace(world, live=live)

    async def _report(self, visit: Visit, stand: _Stand, passing: tuple[ReconcileError, ...] = ()) -> Outcome:
        """Say what is so, if there is something new to say. `passing`: troubles of this visit alone."""
        world, now, troubles = stand.world, self._given.now(), stand.troubles + passing
        endpoint = self._given.endpoint(visit.key)
        previous, status = world.model.status, summarise(world, stand.plan, troubles, endpoint, now)
        written: datetime | None = visit.memory.get("facts_written")
        due = written is None or now - written >= timedelta(seconds=self._given.rhythm.facts)
        if worth_writing(previous, status, due):
            await write_status(self._cluster, world.live, status)
            visit.memory["facts_written"] = now
            world = replace(world, model=world.model.model_copy(update={"status": status}))
            await tell(self._cluster, world.live, happenings(previous, status), now)
        # What was just written is read again before it is judged a second time.
        kept = None if stand.changed else replace(stand, world=world.lean(), plan=stand.plan.lean())
        visit.memory["stand"] = kept
        pairs = tuple((condition.type, condition.status) for condition in status.conditions)
        after = None if world.model.spec.lifecycle == "Archived" else self._given.rhythm.poll
        return Outcome(after=after, trouble=worst(troubles), conditions=pairs)
