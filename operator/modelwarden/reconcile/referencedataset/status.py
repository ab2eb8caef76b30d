"""The status of a ReferenceDataset. Pure."""

from collections.abc import Sequence
from datetime import datetime

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.jobs import condition_of
from modelwarden.reconcile.pods import Advice, trouble_of
from modelwarden.reconcile.ports import Refusal, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.referencedataset.world import World
from modelwarden.reconcile.verdicts import (
    Verdict,
    conditions_of,
    failure_of,
    hindrance,
    no,
    standing_of,
    unknown,
    yes,
)
from modelwarden.resources.conditions import ConditionType as C
from modelwarden.resources.referencedataset import DatasetState, ReferenceDatasetStatus

_GIVEN_UP = (
    Reason.PROFILE_FAILED,
    Reason.REFERENCE_FAILED,
    Reason.COUNT_MISMATCH,
    Reason.SOURCE_FAILED,
)
_STATES: dict[str, DatasetState] = {
    "open": "Open",
    "closed": "Closed",
    "profiled": "Profiled",
    "failed": "Failed",
}


def summarise(world: World, troubles: Sequence[ReconcileError], now: datetime) -> ReferenceDatasetStatus:
    """What is so with the dataset."""
    meta = world.dataset.metadata
    previous = world.dataset.status or ReferenceDatasetStatus()
    uploaded, profiled = _uploaded(world), _profiled(world)
    stalled = hindrance(troubles) or _given_up(uploaded, profiled)
    ready = failure_of(troubles) or (profiled if uploaded.holds else uploaded)
    verdicts = standing_of(ready, None, stalled).by_type() | {C.UPLOADED: uploaded, C.PROFILED: profiled}
    status = ReferenceDatasetStatus(
        observed_generation=meta.generation,
        conditions=conditions_of(verdicts, meta.generation, now, previous.conditions),
        job=world.job["metadata"]["name"] if world.job else None,
    )
    report = world.report
    if report is None:
        # Last known facts stay while the store is silent.
        names = ("state", "records", "partner_record_count", "content_hash", "profile_hash", "closed_at")
        kept = {name: getattr(previous, name) for name in names}
        return status.model_copy(update=kept | {"state": previous.state or "Pending"})
    facts = {
        "state": _STATES[report.state],
        "records": report.records,
        "partner_record_count": report.partner_record_count,
        "content_hash": report.content_hash,
        "profile_hash": report.profile_hash,
        "closed_at": report.closed_at,
    }
    return status.model_copy(update=facts)


def _uploaded(world: World) -> Verdict:
    """Whether the data are complete and immutable in the store."""
    entry, spec = world.entry, world.dataset.spec
    if entry is None:
        return unknown(Reason.STORE_NOT_READY, "There is no store to ask yet")
    if isinstance(entry, Silence):
        return unknown(Reason.STORE_NOT_READY, entry.message)
    if isinstance(entry, Refusal):
        reason = Reason.COUNT_MISMATCH if entry.status == 409 else Reason.REFUSED_BY_STORE
        return no(reason, f"The store says: {entry.message}")
    if world.is_loading:
        return _loading(world, entry.message)
    if entry.state == "open":
        if spec.closed and entry.message:
            return no(Reason.COUNT_MISMATCH, f"The store says: {entry.message}")
        if entry.loaded:
            text = f"{entry.records} rows are loaded: set spec.closed to have them profiled"
            return no(Reason.LOADING if spec.closed else Reason.LOADED_OPEN, text)
        return no(
            Reason.WAITING_FOR_DATA, f"Upload to dataset {entry.name} of the model, then set spec.closed"
        )
    if entry.state == "failed":
        return no(Reason.REFERENCE_FAILED, f"The store says: {entry.message or 'the dataset cannot be used'}")
    return yes(Reason.CLOSED, f"{entry.records} rows, immutable")


def _loading(world: World, said: str | None) -> Verdict:
    """How far the Job has come that reads spec.source; `said`: what it told the store of its last failure."""
    if world.job is None:
        return no(Reason.LOADING, "The Job that reads spec.source is about to be made")
    name = world.job["metadata"]["name"]
    why = trouble_of(world.pods, Advice(f"job/{name}"))
    if (failed := condition_of(world.job, "Failed")) is not None:
        because = said or (why.message if why else str(failed.get("reason", "")))
        return no(Reason.SOURCE_FAILED, f"{because}. Job {name} gave up; a new one is made in an hour")
    return why or no(Reason.LOADING, f"Job {name} is at work" + (f", after: {said}" if said else ""))


def _profiled(world: World) -> Verdict:
    """Whether the store has the profile; the Job's end alone proves nothing."""
    report = world.report
    if report is None or report.content_hash is None:
        return no(Reason.WAITING_FOR_DATA, "A dataset is profiled when it is closed")
    if report.state == "profiled":
        return yes(Reason.PROFILED, "The store has the profile")
    if world.job is None:
        return no(Reason.PROFILING, "The Job is about to be made")
    name = world.job["metadata"]["name"]
    why = trouble_of(world.pods, Advice(f"job/{name}"))
    if (failed := condition_of(world.job, "Failed")) is not None:
        because = why.message if why else str(failed.get("reason", ""))
        text = (
            f"Job {name} gave up: {because}. It is made anew an hour after it failed, or when it is deleted"
        )
        return no(Reason.PROFILE_FAILED, text)
    return why or no(Reason.PROFILING, f"Job {name} is at work")


def _given_up(uploaded: Verdict, profiled: Verdict) -> Verdict | None:
    for verdict in (uploaded, profiled):
        if verdict.reason in _GIVEN_UP:
            return yes(verdict.reason, verdict.message)
    return None
