"""The Job that trains one thing for a model, known by its kind and its inputs. Pure.

Must not decide whether it is due: see `trainings`.
"""

from dataclasses import dataclass

from modelwarden.reconcile.jobs import JobPlan
from modelwarden.reconcile.monitoredmodel.build.tries import KEPT_SECONDS, Order, annotations_of, in_round
from modelwarden.reconcile.names import LABEL_TRAINS, train_job, training_labels
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import MODEL
from modelwarden.resources.purposes import TRAIN


@dataclass(frozen=True, kw_only=True)
class TrainingOrder(Order):
    """What is to be trained."""

    kind: str


def training_plan(order: TrainingOrder, round_: int = 1) -> JobPlan:
    """The Job of this round of tries."""
    model = order.place.model
    plan = JobPlan(
        place=order.place,
        name=train_job(model, order.kind, order.input_hash),
        purpose=TRAIN,
        # A kind has no `_`: the key is for this training alone.
        input_hash=f"{order.kind}_{order.input_hash}",
        labels=training_labels(model) | {LABEL_TRAINS: order.kind},
        owner=controller(MODEL, model, order.model_uid),
        args=(f"--kind={order.kind}", f"--input-hash={order.input_hash}"),
        resources=order.resources,
        kept_seconds=KEPT_SECONDS,
        annotations=annotations_of(order),
    )
    return in_round(plan, round_)
