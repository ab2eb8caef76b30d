"""How far a Job for the model's server is, in a verdict: its own end, its pods, what it told the store. Pure.

The store cannot know why a Job never came to it (no node, no image, no memory): that is told from here.
"""

from dataclasses import dataclass

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.monitoredmodel.rounds import RoundJob
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.pods import Advice, newest_first, trouble_of
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no

MEMORY = "spec.training.resources.limits.memory of the model"
_UID = "batch.kubernetes.io/controller-uid"
# The last lines of an installer say what is wrong; a condition's message may have 2048 characters.
LONGEST = 1200
_LONGEST_LINES = 900


@dataclass(frozen=True)
class Matter:
    """What a Job is to do, as it is told: `doing` while it works ("fetches user_project.zip"), `failed` is
    the reason once it has given up. `said` is what the store has heard of the last try; `stuck`: see
    Errand."""

    job: RoundJob | None
    doing: str
    busy: Reason
    failed: Reason
    said: str = ""
    stuck: bool = False
    trouble: ReconcileError | None = None


def news_of(world: World, matter: Matter) -> Verdict:
    """Why it is not done yet."""
    if matter.trouble is not None:
        return no(matter.trouble.reason, matter.trouble.message)
    job = matter.job
    if job is None or job.is_leaving:
        return no(matter.busy, f"A Job that {matter.doing} is about to be made")
    why = trouble_of(pods_of(world, job), Advice(f"job/{job.name}", MEMORY))
    if job.failed is not None:
        out_of_memory = why is not None and why.reason == Reason.OUT_OF_MEMORY
        because = (
            why.message if why is not None and (out_of_memory or not matter.said) else _lines(matter.said)
        )
        reason = Reason.OUT_OF_MEMORY if out_of_memory else matter.failed
        return Verdict(
            "False", reason, f"{because or 'it gave up'}; {job.outlook(stuck=matter.stuck)}", LONGEST
        )
    if why is not None and not (matter.said and why.reason == Reason.CRASH_LOOPING):
        return no(why.reason, f"Job {job.name}: {why.message}")
    after = f", after: {_lines(matter.said)}" if matter.said else ""
    return Verdict("False", matter.busy, f"Job {job.name} {matter.doing}{after}", LONGEST)


def pods_of(world: World, job: RoundJob) -> list[Manifest]:
    """The Job's pods, newest first."""
    uid = job.live["metadata"].get("uid")
    mine = (pod for pod in world.training_pods if (pod["metadata"].get("labels") or {}).get(_UID) == uid)
    return newest_first(mine)


def _lines(said: str) -> str:
    """The end of what was said, its lines told apart: what went wrong stands last."""
    text = " | ".join(line.strip() for line in said.splitlines() if line.strip())
    return text if len(text) <= _LONGEST_LINES else "…" + text[-_LONGEST_LINES:]
