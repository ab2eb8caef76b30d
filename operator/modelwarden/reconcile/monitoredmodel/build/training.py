"""The Job that trains one thing for a model. Pure.

Its annotations say which training it is, in which round of tries, and carry a stamp of all that a person or
an upgrade can change about it: a try that failed is worth repeating at once when that has changed.
"""

from dataclasses import dataclass, replace

from modelwarden.reconcile.drift import STAMP, stamp_of
from modelwarden.reconcile.jobs import JobPlan, Workplace, job_of
from modelwarden.reconcile.names import (
    ANNOTATION_DECLARED,
    ANNOTATION_INPUT,
    ANNOTATION_KEY_HASH,
    ANNOTATION_ROUND,
    LABEL_TRAINS,
    TRAIN,
    train_job,
    training_labels,
)
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import MODEL, Manifest
from modelwarden.resources.cell import content_hash
from modelwarden.resources.pod import ResourceAmounts, Resources
from modelwarden.resources.quantities import parse_quantity

# Longer than the waits between rounds: a failed Job is the memory of how often it was tried.
_KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained, for whom, with what. `declared`: which Enrichment says so, in which version."""

    place: Workplace
    model_uid: str
    kind: str
    input_hash: str
    resources: Resources
    declared: str = ""


def training_plan(order: TrainingOrder, round_: int = 1) -> JobPlan:
    """The Job of this round of tries."""
    model = order.place.model
    name = train_job(model, order.kind, order.input_hash)
    plan = JobPlan(
        place=order.place,
        name=name,
        purpose=TRAIN,
        # A kind has no `_`: the key is for this training alone.
        input_hash=f"{order.kind}_{order.input_hash}",
        labels=training_labels(model) | {LABEL_TRAINS: order.kind},
        owner=controller(MODEL, model, order.model_uid),
        args=(f"--kind={order.kind}", f"--input-hash={order.input_hash}"),
        resources=order.resources,
        kept_seconds=_KEPT_SECONDS,
        annotations={
            ANNOTATION_INPUT: order.input_hash,
            ANNOTATION_DECLARED: order.declared,
            ANNOTATION_KEY_HASH: content_hash(order.place.cell_key.encode())[:10],
        },
    )
    marks = {ANNOTATION_ROUND: str(round_), STAMP: stamp_of(job_of(plan))}
    # The key of a round before may still be on its way out.
    secret = name if round_ == 1 else f"{name}-{round_}"
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
