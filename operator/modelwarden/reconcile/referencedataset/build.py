"""The Job that profiles a closed dataset. Pure."""

from modelwarden.reconcile.jobs import JobPlan, Workplace
from modelwarden.reconcile.names import JOB as JOB_COMPONENT
from modelwarden.reconcile.names import child_labels, dataset_labels, profile_job, undeclared_profile_job
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import DATASET, MODEL
from modelwarden.resources.purposes import PROFILE


def profile_plan(place: Workplace, dataset: str, owner_uid: str, content_hash: str) -> JobPlan:
    """The Job of a ReferenceDataset, to which it belongs."""
    return JobPlan(
        place=place,
        name=profile_job(dataset, content_hash),
        purpose=PROFILE,
        input_hash=content_hash,
        labels=dataset_labels(place.model, dataset),
        owner=controller(DATASET, dataset, owner_uid),
        args=_args(dataset, content_hash),
    )


def undeclared_plan(place: Workplace, dataset: str, owner_uid: str, content_hash: str) -> JobPlan:
    """The Job for a dataset that was uploaded without an object: it belongs to the model, whose reconcile its
    events then wake."""
    return JobPlan(
        place=place,
        name=undeclared_profile_job(place.model, content_hash),
        purpose=PROFILE,
        input_hash=content_hash,
        labels=child_labels(place.model, JOB_COMPONENT),
        owner=controller(MODEL, place.model, owner_uid),
        args=_args(dataset, content_hash),
    )


def _args(dataset: str, content_hash: str) -> tuple[str, ...]:
    return f"--dataset={dataset}", f"--content-hash={content_hash}"
