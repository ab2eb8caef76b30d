"""What Jobs in rounds of tries have in common: the marks by which they are known, and their amounts. Pure.

Its annotations say which inputs a Job is for, in which round of tries, and carry a stamp of all that a person
or an upgrade can change about it: a try that failed is worth repeating at once when that has changed.
"""

from dataclasses import dataclass, replace

from modelwarden.reconcile.drift import STAMP, stamp_of
from modelwarden.reconcile.jobs import JobPlan, Workplace, job_of
from modelwarden.reconcile.names import (
    ANNOTATION_DECLARED,
    ANNOTATION_INPUT,
    ANNOTATION_KEY_HASH,
    ANNOTATION_ROUND,
    Labels,
)
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.cell import content_hash
from modelwarden.resources.pod import ResourceAmounts, Resources
from modelwarden.resources.quantities import parse_quantity

# Longer than the waits between rounds: a failed Job is the memory of how often it was tried.
KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Order:
    """Something to be done for a model, from the inputs of that hash, with what. `declared`: which object
    says so, in which version."""

    place: Workplace
    model_uid: str
    input_hash: str
    resources: Resources
    declared: str = ""


def annotations_of(order: Order) -> Labels:
    """By which the Job is known again."""
    return {
        ANNOTATION_INPUT: order.input_hash,
        ANNOTATION_DECLARED: order.declared,
        ANNOTATION_KEY_HASH: content_hash(order.place.cell_key.encode())[:10],
    }


def in_round(plan: JobPlan, round_: int) -> JobPlan:
    """The Job of this round of tries."""
    marks = {ANNOTATION_ROUND: str(round_), STAMP: stamp_of(job_of(plan))}
    # The key of a round before may still be on its way out.
    secret = plan.name if round_ == 1 else f"{plan.name}-{round_}"
    return replace(plan, annotations=plan.annotations | marks, secret=secret)


def is_as_planned(job: Manifest, plan: JobPlan) -> bool:
    """Whether a Job was made as it would be made now, whatever its round."""
    return (job["metadata"].get("annotations") or {}).get(STAMP) == plan.annotations[STAMP]


def over(base: Resources, own: Resources | None) -> Resources:
    """A model's amounts over the install's, field by field; no request is above its limit, which a pod may
    not have."""
    limits = _joined(base.limits, own.limits if own else None)
    requests = _joined(base.requests, own.requests if own else None)
    return Resources(
        limits=limits,
        requests=ResourceAmounts(
            cpu=_least(requests.cpu, limits.cpu), memory=_least(requests.memory, limits.memory)
        ),
    )


def _joined(base: ResourceAmounts | None, own: ResourceAmounts | None) -> ResourceAmounts:
    base, own = base or ResourceAmounts(), own or ResourceAmounts()
    return ResourceAmounts(cpu=own.cpu or base.cpu, memory=own.memory or base.memory)


def _least(wanted: str | None, most: str | None) -> str | None:
    if wanted is None or most is None:
        return wanted
    return min(wanted, most, key=parse_quantity)
