"""The training Jobs of a model: which training each one is, how far it is, and what is to be done. Pure.

The store says what is due; here it is only decided which Jobs follow from that. Nothing is taken away because
the store does not speak of it: an older store, or one that is starting, speaks of nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelwarden.reconcile.jobs import JobPlan, Workplace, condition_of
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, is_as_planned, training_plan
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.names import ANNOTATION_INPUT, ANNOTATION_ROUND, LABEL_TRAINS
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.pod import Resources
from modelwarden.resources.report import EnrichmentReport

# After each round of tries (a Job tries four times itself). After the last one it rests until the failed Job
# has been removed by its age, a day later, or until something has changed.
_WAITS = tuple(timedelta(minutes=minutes) for minutes in (10, 60, 360))
# A cell's words become names of objects: only what is as agreed is taken.
_KIND = re.compile(r"[a-z][a-z0-9]{0,15}")
_HASH = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class TrainingJob:
    """One live Job."""

    live: Manifest

    @property
    def name(self) -> str:
        return str(self.live["metadata"]["name"])

    @property
    def kind(self) -> str:
        """What it trains."""
        return str((self.live["metadata"].get("labels") or {}).get(LABEL_TRAINS, ""))

    @property
    def input_hash(self) -> str:
        """From which inputs."""
        return str((self.live["metadata"].get("annotations") or {}).get(ANNOTATION_INPUT, ""))

    @property
    def round(self) -> int:
        """The how manieth round of tries it is, from 1."""
        text = str((self.live["metadata"].get("annotations") or {}).get(ANNOTATION_ROUND, ""))
        return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 4 else 1

    @property
    def is_leaving(self) -> bool:
        """Whether it is being deleted."""
        return bool(self.live["metadata"].get("deletionTimestamp"))

    @property
    def failed(self) -> Manifest | None:
        """Its condition Failed, if it gave up."""
        return condition_of(self.live, "Failed")

    @property
    def is_finished(self) -> bool:
        """Whether it will do nothing any more."""
        return self.failed is not None or condition_of(self.live, "Complete") is not None

    @property
    def has_failed_once(self) -> bool:
        """Whether one of its tries has failed, though it goes on."""
        return bool((self.live.get("status") or {}).get("failed"))

    @property
    def may_lack_its_key(self) -> bool:
        """Whether no pod of it has run yet: whoever made it may have ended before he made its Secret."""
        status = self.live.get("status") or {}
        return not (self.is_finished or status.get("ready") or status.get("failed"))

    @property
    def next_round_at(self) -> datetime | None:
        """When it is tried again, once it is finished; None: not by itself.

        One that ended well although the store still asks for it (turned off and on) is repeated at once.
        """
        end = self.failed or condition_of(self.live, "Complete")
        if end is None or not end.get("lastTransitionTime"):
            return None
        waits = _WAITS if self.failed else (timedelta(0), *_WAITS)
        if self.round > len(waits):
            return None
        return datetime.fromisoformat(str(end["lastTransitionTime"])) + waits[self.round - 1]


@dataclass(frozen=True)
class Steps:
    """Jobs to take away, then Jobs to see to: to make them, or what of them is missing."""

    remove: tuple[Manifest, ...] = ()
    make: tuple[JobPlan, ...] = ()


@dataclass(frozen=True)
class Means:
    """What the model's training Jobs work with."""

    place: Workplace
    resources: Resources


def entries_of(world: World) -> tuple[EnrichmentReport, ...]:
    """What the store says of each kind, one entry a kind; nothing while it is silent."""
    report = world.heard
    found = {entry.kind: entry for entry in (report.enrichments if report else ()) if _is_sound(entry)}
    return tuple(found.values())


def _is_sound(entry: EnrichmentReport) -> bool:
    wanted = entry.wanted
    return bool(_KIND.fullmatch(entry.kind)) and (wanted is None or bool(_HASH.fullmatch(wanted)))


def job_for(world: World, entry: EnrichmentReport) -> TrainingJob | None:
    """The Job of the training that the store wants."""
    for live in world.trainings:
        job = TrainingJob(live)
        if (job.kind, job.input_hash) == (entry.kind, entry.wanted):
            return job
    return None


def steps_of(world: World, means: Means, now: datetime) -> Steps:
    """What follows from the store's report (nothing without one) and the Jobs that there are."""
    if world.model.spec.lifecycle == "Archived":
        idle = [
            job.live for job in map(TrainingJob, world.trainings) if not (job.is_finished or job.is_leaving)
        ]
        return Steps(remove=tuple(idle))
    entries = entries_of(world)
    steps = [Steps(remove=tuple(_unwanted(world, entries)))]
    steps += [_step(world, means, entry, now) for entry in entries if entry.due]
    return Steps(
        remove=tuple(job for step in steps for job in step.remove),
        make=tuple(plan for step in steps for plan in step.make),
    )


def _unwanted(world: World, entries: tuple[EnrichmentReport, ...]) -> Iterator[Manifest]:
    """Jobs that work for nothing: the store wants something else of this kind by now, or nothing.

    One whose result is in use is about to end by itself, and its logs are worth keeping.
    """
    spoken_of = {entry.kind: (entry.wanted, entry.installed) for entry in entries}
    for job in _at_work(world):
        if job.kind in spoken_of and job.input_hash not in spoken_of[job.kind]:
            yield job.live


def _at_work(world: World) -> Iterator[TrainingJob]:
    for job in map(TrainingJob, world.trainings):
        if not (job.is_finished or job.is_leaving):
            yield job


def _step(world: World, means: Means, entry: EnrichmentReport, now: datetime) -> Steps:
    if entry.wanted is None:
        return Steps()
    order = _order(world, means, entry, entry.wanted)
    job = job_for(world, entry)
    if job is None:
        return Steps(make=(training_plan(order),))
    if job.is_leaving:
        return Steps()
    # A fix applies while the broken one is still trying, or cannot be placed; what works is left alone.
    idle = job.is_finished or job.has_failed_once or job.may_lack_its_key
    if idle and not is_as_planned(job.live, training_plan(order)):
        return Steps((job.live,), (training_plan(order),))
    if job.may_lack_its_key:
        return Steps(make=(training_plan(order, job.round),))
    due = job.next_round_at
    if due is not None and now >= due:
        return Steps((job.live,), (training_plan(order, job.round + 1),))
    return Steps()


def _order(world: World, means: Means, entry: EnrichmentReport, wanted: str) -> TrainingOrder:
    by_type = {str(type_): chosen for type_, chosen in counting(world.enrichments).items()}
    declared = by_type.get(entry.type or "")
    return TrainingOrder(
        place=means.place,
        model_uid=world.model.metadata.uid,
        kind=entry.kind,
        input_hash=wanted,
        resources=means.resources,
        declared=f"{declared.metadata.uid}/{declared.metadata.generation}" if declared else "",
    )
