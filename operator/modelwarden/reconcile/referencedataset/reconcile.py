"""The reconcile of a ReferenceDataset: declare it, have it loaded from its source if it has one, have it
profiled once it is closed, mirror what is so.

Deleting the object deletes nothing in the store: partials and verdicts already given rest on what was closed,
and it goes with the model's data. So there is nothing to clean up, and no finalizer. Its Job goes with it.
"""

from dataclasses import replace

from modelwarden.errors import Conflict, InvalidSpec, ReconcileError
from modelwarden.reconcile.collaborators import Collaborators
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.ensure import ensure
from modelwarden.reconcile.jobs import Workplace, workplace_of
from modelwarden.reconcile.outcome import Outcome
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.referencedataset.build import profile_plan
from modelwarden.reconcile.referencedataset.gather import (
    declare,
    epoch_of,
    find,
    gather,
    gather_job,
    model_key,
    pod_options,
)
from modelwarden.reconcile.referencedataset.load import build_egress, load_plan
from modelwarden.reconcile.referencedataset.status import summarise
from modelwarden.reconcile.referencedataset.world import World, hindrance_of
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.transitions import tell, transitions
from modelwarden.resources.kind import InvalidResource


class ReconcileDataset:
    """One instance for all datasets."""

    def __init__(self, given: Collaborators) -> None:
        self._given = given
        self._cluster = given.cluster

    async def __call__(self, visit: Visit) -> Outcome:
        """Always reads everything: a dataset is done after a few visits."""
        live = await find(self._cluster, visit.key, visit.uid)
        if live is None:
            return Outcome(gone=True)
        try:
            world = await gather(self._cluster, live)
        except InvalidResource as error:
            path, message = error.problems[0]
            return Outcome(trouble=InvalidSpec(Reason.INVALID_SPEC, f"{path}: {message}"))
        trouble = hindrance_of(world)
        if trouble is None:
            world, trouble = await self._advance(world)
        if isinstance(trouble, Conflict):
            return Outcome(trouble=trouble)
        return await self._report(world, trouble)

    async def _advance(self, world: World) -> tuple[World, ReconcileError | None]:
        """Declare; then, if there is something to load or to profile, see that the one Job for it exists."""
        world = await declare(self._given.cells, world, self._given.install)
        world = await gather_job(self._cluster, world)
        report = world.report
        try:
            if world.is_loading and world.source_hash is not None:
                return await self._ensure_loading(world, world.source_hash), None
            if report is not None and report.state == "closed" and report.content_hash is not None:
                return await self._ensure_profiling(world, report.content_hash), None
        except ReconcileError as trouble:
            return world, trouble
        return world, None

    async def _ensure_loading(self, world: World, source_hash: str) -> World:
        plan = load_plan(self._place(world), world.dataset, source_hash)
        egress = build_egress(plan, world.dataset)
        if world.job is None and egress is not None:
            # Before the Job: its pod's first attempt should not find the way shut.
            await self._cluster.apply(egress)
        return replace(world, job=await ensure(self._cluster, plan))

    async def _ensure_profiling(self, world: World, content_hash: str) -> World:
        meta = world.dataset.metadata
        plan = profile_plan(self._place(world), meta.name, meta.uid, content_hash)
        return replace(world, job=await ensure(self._cluster, plan))

    def _place(self, world: World) -> Workplace:
        pod = pod_options(world, self._given.install)
        return workplace_of(self._given, model_key(world), epoch_of(world), pod)

    async def _report(self, world: World, trouble: ReconcileError | None) -> Outcome:
        now, previous = self._given.now(), world.dataset.status
        status = summarise(world, [trouble] if trouble else [], now)
        if previous != status:
            await write_status(self._cluster, world.live, status)
            before = previous.conditions if previous else ()
            await tell(self._cluster, world.live, transitions(before, status.conditions), now)
        pairs = tuple((condition.type, condition.status) for condition in status.conditions)
        settled = world.report is not None and world.report.state == "profiled"
        return Outcome(after=None if settled else self._given.rhythm.poll, trouble=trouble, conditions=pairs)
