"""Jobs in rounds of tries: what the store asks of them, how far each one is, and what is to be done. Pure.

What a store asks for is named by its inputs: for the same inputs there is one Job, made anew when it has
given up, after a while or when something of it has changed. Must not know what the Jobs do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.jobs import JobPlan, condition_of
from modelwarden.reconcile.monitoredmodel.build.tries import is_as_planned
from modelwarden.reconcile.names import (
    ANNOTATION_INPUT,
    ANNOTATION_ROUND,
    LABEL_PURPOSE,
    LABEL_SLOT,
    LABEL_TRAINS,
)
from modelwarden.reconcile.ports import Manifest

# After each round of tries (a Job tries four times itself). After the last one it rests until the failed Job
# has been removed by its age, a day later, or until something has changed.
_WAITS = tuple(timedelta(minutes=minutes) for minutes in (10, 60, 360))


@dataclass(frozen=True)
class RoundJob:
    """One live Job."""

    live: Manifest

    @property
    def name(self) -> str:
        return str(self.live["metadata"]["name"])

    @property
    def purpose(self) -> str:
        """What for it was made."""
        return self._label(LABEL_PURPOSE)

    @property
    def kind(self) -> str:
        """What it trains, or which file it fetches."""
        return self._label(LABEL_TRAINS) or self._label(LABEL_SLOT)

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

    def outlook(self, *, stuck: bool = False) -> str:
        """What becomes of it now that it has given up, as the end of a sentence. `stuck`: see Errand."""
        after = None if stuck else self.next_round_at
        if after is None:
            return f"not tried again before something of it changes or Job {self.name} is deleted"
        return f"tried again after {after:%H:%M} UTC, or at once when something of it changes"

    def _label(self, name: str) -> str:
        return str((self.live["metadata"].get("labels") or {}).get(name, ""))


@dataclass(frozen=True)
class Steps:
    """Jobs to take away, then Jobs to see to: to make them, or what of them is missing."""

    remove: tuple[Manifest, ...] = ()
    make: tuple[JobPlan, ...] = ()


@dataclass(frozen=True)
class Errand:
    """One thing that the store speaks of. `due`: a Job is to do it for the inputs `wanted`; those of what is
    in use are `installed`. `stuck`: it was tried, and to try the same again is of no use. `plan` gives the
    Job of a round, `trouble` says why there can be none."""

    kind: str
    wanted: str | None
    due: bool
    plan: Callable[[int], JobPlan]
    installed: str | None = None
    stuck: bool = False
    trouble: ReconcileError | None = None


@dataclass(frozen=True)
class Asked:
    """All that Jobs of one purpose are asked. `complete`: what is not spoken of is not wanted; otherwise
    nothing is known of it."""

    purpose: str
    errands: tuple[Errand, ...]
    complete: bool = False


def job_of_errand(jobs: Iterable[Manifest], purpose: str, kind: str, wanted: str | None) -> RoundJob | None:
    """The Job that does this."""
    for job in map(RoundJob, jobs):
        if (job.purpose, job.kind, job.input_hash) == (purpose, kind, wanted):
            return job
    return None


def all_idle(jobs: Iterable[Manifest]) -> Steps:
    """For a model that is switched off: nothing works."""
    return Steps(remove=tuple(job.live for job in _at_work(jobs)))


def steps_for(asked: Sequence[Asked], jobs: Sequence[Manifest], now: datetime) -> Steps:
    """What follows from what is asked and the Jobs that there are."""
    steps = [Steps(remove=tuple(_unwanted(asked, jobs)))]
    steps += [_step(of, errand, jobs, now) for of in asked for errand in of.errands]
    return Steps(
        remove=tuple(job for step in steps for job in step.remove),
        make=tuple(plan for step in steps for plan in step.make),
    )


def _unwanted(asked: Sequence[Asked], jobs: Sequence[Manifest]) -> Iterator[Manifest]:
    """Jobs that work for nothing: the store wants something else of this kind by now, or nothing.

    One whose result is in use is about to end by itself, and its logs are worth keeping.
    """
    for of in asked:
        spoken_of: dict[str, set[str | None]] = {}
        for errand in of.errands:
            spoken_of.setdefault(errand.kind, set()).update((errand.wanted, errand.installed))
        for job in _at_work(jobs):
            if job.purpose != of.purpose or (not of.complete and job.kind not in spoken_of):
                continue
            if job.input_hash not in spoken_of.get(job.kind, ()):
                yield job.live


def _at_work(jobs: Iterable[Manifest]) -> Iterator[RoundJob]:
    for job in map(RoundJob, jobs):
        if not (job.is_finished or job.is_leaving):
            yield job


def _step(of: Asked, errand: Errand, jobs: Sequence[Manifest], now: datetime) -> Steps:
    asks = errand.due or errand.stuck
    if not asks or errand.wanted is None or errand.trouble is not None:
        return Steps()
    job = job_of_errand(jobs, of.purpose, errand.kind, errand.wanted)
    if job is None:
        return Steps(make=(errand.plan(1),))
    if job.is_leaving:
        return Steps()
    # A fix applies while the broken one is still trying, or cannot be placed; what works is left alone.
    idle = job.is_finished or job.has_failed_once or job.may_lack_its_key
    if idle and not is_as_planned(job.live, errand.plan(1)):
        return Steps((job.live,), (errand.plan(1),))
    if job.may_lack_its_key:
        return Steps(make=(errand.plan(job.round),))
    due = None if errand.stuck else job.next_round_at
    if due is not None and now >= due:
        return Steps((job.live,), (errand.plan(job.round + 1),))
    return Steps()
