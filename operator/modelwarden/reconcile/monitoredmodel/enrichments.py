"""What is said of each thing that is trained for a model: the store's word, and what its Job adds. Pure.

The store cannot know why a Job never came to it (no node, no image, no memory): that is told from here.
"""

from collections.abc import Iterator, Sequence

from modelwarden.reconcile.monitoredmodel.jobnews import MEMORY, pods_of
from modelwarden.reconcile.monitoredmodel.rounds import RoundJob
from modelwarden.reconcile.monitoredmodel.server import EXPLAINABILITY, HOPELESS
from modelwarden.reconcile.monitoredmodel.trainings import entries_of, job_for
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.pods import Advice, trouble_of
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.transitions import Happening
from modelwarden.reconcile.verdicts import Verdict, no, tidy, worded
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.meta import ObjectMeta
from modelwarden.resources.report import EnrichmentReport, EnrichmentState
from modelwarden.resources.training import TrainedSummary

# What is missing may be many attributes; a condition's message stays at 200.
_LONGEST = 1000
_BY_CONTROLLER = {
    "DeadlineExceeded": "it did not end within an hour: see its events and its logs",
    "BackoffLimitExceeded": "each of its tries failed",
}


def summaries_of(
    world: World, confirmed: bool, explainer: Verdict | None = None
) -> tuple[TrainedSummary, ...]:
    """One for each kind that the store speaks of. `confirmed`: it has read the settings as they are now.

    Until then each one names the Enrichment whose settings it had before. `explainer`: what is known of
    explanations, for which the server's pods and Jobs count, too.
    """
    chosen = {str(type_): enrichment.metadata for type_, enrichment in counting(world.enrichments).items()}
    before = {one.kind: one for one in (world.model.status.enrichments if world.model.status else ())}
    return tuple(
        _summary(world, entry, explainer).model_copy(
            update=_author(chosen.get(entry.type or "")) if confirmed else _author_of(before.get(entry.kind))
        )
        for entry in entries_of(world)
    )


def happenings_of(before: Sequence[TrainedSummary], after: Sequence[TrainedSummary]) -> Iterator[Happening]:
    """What a person wants to hear of: something is in use, has failed, or has been turned off."""
    was = {one.kind: one for one in before}
    for one in after:
        old = was.get(one.kind)
        text = f"{one.kind}: {one.message}"
        if one.state == "Failed" and (old is None or old.state != "Failed"):
            yield Happening("Warning", "EnrichmentFailed", text)
        elif old is None:
            continue
        elif one.artefact_hash is not None and one.artefact_hash != old.artefact_hash:
            yield Happening("Normal", "EnrichmentTrained", f"{one.kind}: trained, and in use from now on")
        elif one.state == "Disabled" and old.state != "Disabled":
            yield Happening("Normal", "EnrichmentDisabled", text)


def _author(meta: ObjectMeta | None) -> dict[str, object]:
    if meta is None:
        return {"declared_by": None, "observed_generation": 0}
    return {"declared_by": meta.name, "observed_generation": meta.generation}


def _author_of(before: TrainedSummary | None) -> dict[str, object]:
    if before is None:
        return {}
    return {"declared_by": before.declared_by, "observed_generation": before.observed_generation}


def _summary(world: World, entry: EnrichmentReport, explainer: Verdict | None) -> TrainedSummary:
    state, reason, message = entry.state, worded(entry.reason, entry.state), _sentence(entry)
    if entry.kind == EXPLAINABILITY:
        if entry.state != "Disabled" and explainer is not None and explainer.status != "Unknown":
            reason, message = explainer.reason, explainer.message
            state = _explained(entry, explainer)
    elif entry.state == "Ready" and not entry.due:
        reason = Reason.TRAINED
    job = job_for(world, entry) if entry.due else None
    if job is not None and not job.is_leaving:
        if job.failed is not None:
            why = _why(world, job, entry)
            state, reason, message = "Failed", why.reason, _told(why.message, job, entry)
        elif not job.is_finished:
            state = "Training" if entry.state == "Failed" else entry.state
            reason, message = _under_way(world, job, entry, (reason, message))
    return TrainedSummary(
        kind=entry.kind,
        type=entry.type,
        state=state,
        reason=reason,
        message=tidy(message, _LONGEST),
        artefact_hash=entry.artefact_hash,
        trained_at=entry.trained_at,
    )


def _explained(entry: EnrichmentReport, explainer: Verdict) -> EnrichmentState:
    """How far explanations are: what the store sees, and the Jobs that it cannot see."""
    if not explainer.holds and explainer.reason in HOPELESS:
        return "Failed"
    # Code that failed is being replaced: nobody has to mend it any more.
    under_way = explainer.reason in (Reason.FETCHING, Reason.INSTALLING)
    return "Training" if entry.state == "Failed" and under_way else entry.state


def _sentence(entry: EnrichmentReport) -> str:
    """The store's message; a Pending one names what is missing in any case."""
    if entry.message or not entry.missing:
        return entry.message
    return f"waits for {', '.join(entry.missing)}"


def _under_way(
    world: World, job: RoundJob, entry: EnrichmentReport, said: tuple[str, str]
) -> tuple[str, str]:
    """Reason and message while the Job is at work: what hinders its newest pod, else what it met before.

    The reason of a try stays while the next one runs: it would come and go with each of them.
    """
    newest, *before = pods_of(world, job) or [{"metadata": {}}]
    why = trouble_of([newest], _advice(job))
    if why is not None:
        return why.reason, f"Job {job.name}: {why.message}"
    met = trouble_of(before, _advice(job))
    if met is not None and met.reason == Reason.OUT_OF_MEMORY:
        return met.reason, f"Job {job.name} tries again, after: {met.message}"
    if entry.state == "Failed":
        return Reason.TRAINING, f"Job {job.name} tries again, after: {entry.message}"
    if met is not None:
        return met.reason, f"Job {job.name} tries again, after: {met.message}"
    if entry.state == "Training" and (job.live.get("status") or {}).get("ready"):
        return said[0], f"Job {job.name} is training it"
    return said


def _why(world: World, job: RoundJob, entry: EnrichmentReport) -> Verdict:
    """Why the Job gave up: what its pods show, what it told the store, what the Job controller says."""
    why = trouble_of(pods_of(world, job), _advice(job))
    if why is not None and why.reason == Reason.OUT_OF_MEMORY:
        return why
    if entry.state == "Failed" and entry.message:
        return no(worded(entry.reason, Reason.TRAINING_FAILED), entry.message)
    if why is not None:
        return why
    given = (job.failed or {}).get("reason", "")
    return no(Reason.TRAINING_FAILED, _BY_CONTROLLER.get(given, f"the Job ended with {given or 'a failure'}"))


def _told(because: str, job: RoundJob, entry: EnrichmentReport) -> str:
    kept = "; what was trained before stays in use" if entry.installed else ""
    return f"{because}; {job.outlook()}{kept}"


def _advice(job: RoundJob) -> Advice:
    return Advice(f"job/{job.name}", MEMORY)
