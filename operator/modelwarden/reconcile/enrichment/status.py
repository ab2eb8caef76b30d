"""The status of an Enrichment: what its model's cell says of it, in conditions. Pure."""

from datetime import datetime

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.enrichment.world import World
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import (
    Verdict,
    conditions_of,
    hindrance,
    no,
    standing_of,
    unknown,
    worded,
    yes,
)
from modelwarden.resources.conditions import ConditionType as C
from modelwarden.resources.enrichment import EnrichmentStatus
from modelwarden.resources.report import EnrichmentState
from modelwarden.resources.training import TrainedSummary

# What a person has to mend, however it was called by the store.
_HOPELESS: tuple[EnrichmentState, ...] = ("Failed", "Disabled")

_RENEWED = (Reason.FETCHING, Reason.FILES_BEFORE)


def summarise(world: World, trouble: ReconcileError | None, now: datetime) -> EnrichmentStatus:
    """What is so with the enrichment. `trouble`: what keeps it from having any effect."""
    meta, previous = world.enrichment.metadata, world.enrichment.status or EnrichmentStatus()
    trained = None if trouble is not None else world.trained
    state, ready, pending, stalled = _told(world, trouble, trained)
    verdicts = standing_of(ready, pending, stalled).by_type() | _result(world, trained, ready)
    return EnrichmentStatus(
        observed_generation=meta.generation,
        conditions=conditions_of(verdicts, meta.generation, now, previous.conditions),
        state=state,
        message=ready.message,
        artefact_hash=trained.artefact_hash if trained else None,
        trained_at=trained.trained_at if trained else None,
    )


_Told = tuple[EnrichmentState, Verdict, Verdict | None, Verdict | None]


def _told(world: World, trouble: ReconcileError | None, trained: TrainedSummary | None) -> _Told:
    """State; whether it works; what is under way; what a person has to mend."""
    enabled = world.enrichment.spec.enabled
    if trouble is not None:
        return "Pending", no(trouble.reason, trouble.message), None, hindrance((trouble,))
    if world.is_archived:
        text = "The model is archived: nothing is computed until it is active again"
        return "Pending", yes(Reason.ARCHIVED, text), None, None
    if trained is None or not world.store_answers:
        ready = unknown(Reason.STORE_NOT_READY, "The model's store does not say anything of it yet")
        return trained.state if trained else "Pending", ready, yes(ready.reason, ready.message), None
    if not world.is_in_force:
        text = "The store has not read this version of the object yet; it takes a minute or two"
        state = "Pending" if enabled and trained.state == "Disabled" else trained.state
        ready = no(Reason.SETTINGS_PENDING, text)
        return state, ready, yes(ready.reason, text), None
    if not enabled and trained.state == "Disabled":
        return "Disabled", _off(), None, None
    return (trained.state, *_as_trained(trained))


def _as_trained(trained: TrainedSummary) -> tuple[Verdict, Verdict | None, Verdict | None]:
    reason, message = worded(trained.reason, trained.state), trained.message
    if trained.state in _HOPELESS:
        return no(reason, message), None, yes(reason, message)
    ready = yes(reason, message)
    if trained.state == "Ready" and reason in _RENEWED:
        # The project before explains while its successor is fetched, or cannot be.
        return (ready, None, ready) if reason == Reason.FILES_BEFORE else (ready, ready, None)
    if trained.state == "Ready" and (reason == Reason.TRAINED or trained.type == "Explainability"):
        return ready, None, None
    if trained.artefact_hash is not None:
        # What was trained before works on while its successor is made.
        return yes(reason, message), yes(reason, message), None
    return no(reason, message), yes(reason, message), None


def _result(world: World, trained: TrainedSummary | None, ready: Verdict) -> dict[C, Verdict]:
    """What has come of it: something trained that is in use, or code that explains."""
    if world.enrichment.spec.type != "Explainability":
        return {C.TRAINED: _trained(trained, ready)}
    if trained is None:
        return {C.EXPLAINER_READY: unknown(ready.reason, ready.message)}
    told = yes if trained.state == "Ready" else no
    return {C.EXPLAINER_READY: told(worded(trained.reason, trained.state), trained.message)}


def _trained(trained: TrainedSummary | None, ready: Verdict) -> Verdict:
    if trained is None:
        return unknown(ready.reason, ready.message)
    if trained.artefact_hash is not None:
        return yes(Reason.TRAINED, "What was trained is in use")
    return no(worded(trained.reason, trained.state), trained.message)


def _off() -> Verdict:
    return yes(Reason.DISABLED, "Disabled, as spec.enabled says")
