"""The status of a MonitoredModel: everything that is known, said once. Pure.

Transitions are reported at once. Data facts (counts, scores, messages) change with every request and are
reported at most once in an interval: `worth_writing` decides.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pydantic import ValidationError

from modelwarden.errors import Bug, ReconcileError, Transient
from modelwarden.reconcile.monitoredmodel import data
from modelwarden.reconcile.monitoredmodel.decide import Plan, rolled_out
from modelwarden.reconcile.monitoredmodel.enrichments import happenings_of, summaries_of
from modelwarden.reconcile.monitoredmodel.jobnews import LONGEST
from modelwarden.reconcile.monitoredmodel.server import HOPELESS, OF_SERVER, server_verdicts
from modelwarden.reconcile.monitoredmodel.serversummary import summary_of
from modelwarden.reconcile.monitoredmodel.storage import storage_ready
from modelwarden.reconcile.monitoredmodel.store import gave_up, store_available
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.transitions import Happening, transitions
from modelwarden.reconcile.verdicts import (
    Standing,
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
from modelwarden.resources.identity import model_id
from modelwarden.resources.meta import ObjectMeta
from modelwarden.resources.modelstatus import Endpoint, MonitoredModelStatus, StoreStatus
from modelwarden.resources.report import StatusReport

_DATA = (C.DATA_FLOWING, C.REFERENCE_LOADED, C.MODEL_HEALTHY)
_OBSERVED = (C.STORAGE_READY, C.STORE_AVAILABLE, *_DATA)


def summarise(
    world: World, plan: Plan, troubles: Sequence[ReconcileError], endpoint: str, now: datetime
) -> MonitoredModelStatus:
    """What is so, given the world after applying and what went wrong on the way."""
    model = world.model
    previous = model.status or MonitoredModelStatus()
    identity = model_id(model.metadata.namespace, model.spec.partner_model_id or model.metadata.name)
    storage, store = storage_ready(world), store_available(world, identity)
    observed = {C.STORAGE_READY: storage, C.STORE_AVAILABLE: store} | _data_verdicts(world, now)
    of_server = _of_server(world, plan, previous)
    needed = _needed(store, plan, of_server)
    ready = failure_of(troubles) or _ready(world, storage, needed, observed[C.DATA_FLOWING])
    pending = _pending(world, plan, troubles, needed)
    pending = pending or _renewal(of_server, Reason.LOADING_CODE, Reason.FETCHING)
    stalled = _stalled(world, troubles, needed) or _renewal(of_server, Reason.FILES_BEFORE)
    standing = standing_of(ready, pending, stalled)
    report = world.heard
    status = MonitoredModelStatus(
        observed_generation=model.metadata.generation,
        conditions=conditions_of(
            standing.by_type() | observed | of_server, model.metadata.generation, now, previous.conditions
        ),
        model_id=identity,
        endpoint=Endpoint(url=endpoint),
        store=StoreStatus(phase=_phase(world), version=report.version if report else None),
    )
    explainer = of_server.get(C.EXPLAINER_READY)
    server = summary_of(world, plan.server, previous.server) if plan.feasible else previous.server
    facts = _facts(previous, report) | {"server": server}
    return status.model_copy(update=facts | _trained(world, plan, previous, explainer))


def _of_server(world: World, plan: Plan, previous: MonitoredModelStatus) -> dict[C, Verdict]:
    """The server's conditions; the last known ones while the spec cannot be carried out and the server of the
    last good one runs."""
    if plan.server is not None:
        return server_verdicts(world, plan.server)
    kept = [c for c in previous.conditions if c.type in OF_SERVER and not plan.feasible]
    return {C(c.type): Verdict(c.status, c.reason, c.message, LONGEST) for c in kept}


def _needed(store: Verdict, plan: Plan, of_server: Mapping[C, Verdict]) -> Verdict:
    """What the model cannot do without: its store; and where it is served, its server."""
    if not store.holds or plan.server is None or plan.server.wish.serving is None:
        return store
    server = of_server[C.SERVER_AVAILABLE]
    return store if server.holds else server


def _renewal(of_server: Mapping[C, Verdict], *reasons: Reason) -> Verdict | None:
    """What is so with new files while the server predicts with the ones before."""
    server = of_server.get(C.SERVER_AVAILABLE)
    return server if server is not None and server.holds and server.reason in reasons else None


def _trained(
    world: World, plan: Plan, previous: MonitoredModelStatus, explainer: Verdict | None
) -> dict[str, object]:
    """What is trained, as last heard of: a store that starts speaks of nothing."""
    report = world.heard
    if report is None or not report.enrichments:
        return {"enrichments": previous.enrichments}
    confirmed = _has_settings(world.model.metadata, plan, report)
    return {"enrichments": summaries_of(world, confirmed, explainer)}


def _has_settings(meta: ObjectMeta, plan: Plan, report: StatusReport) -> bool:
    """Whether the store has read the settings as they are now. An older one tells their generation only,
    which Enrichments do not move.
    """
    if report.settings_generation < meta.generation:
        return False
    return (
        report.settings_hash is None or not plan.settings_hash or report.settings_hash == plan.settings_hash
    )


def _facts(previous: MonitoredModelStatus, report: StatusReport | None) -> dict[str, object]:
    """The data facts. While the store is silent the last known ones stay: nothing newer is known."""
    if report is None:
        names = ("rows", "newest_inference", "drift", "performance", "reference")
        return {name: getattr(previous, name) for name in names}
    return {
        "rows": data.rows_of(report),
        "newest_inference": report.newest_inference,
        "drift": data.drift_of(report),
        "performance": data.performance_of(report),
        "reference": data.reference_of(report),
    }


def status_in(live: Manifest) -> MonitoredModelStatus | None:
    """The status that an object has, as far as this version can read it."""
    try:
        return (
            MonitoredModelStatus.model_validate(live["status"], extra="ignore") if "status" in live else None
        )
    except ValidationError:
        return None


def hindered(live: Manifest, trouble: ReconcileError, now: datetime) -> MonitoredModelStatus:
    """The last known status, stalled by a trouble."""
    stalled = yes(trouble.reason, trouble.message)
    return _with_standing(live, standing_of(no(trouble.reason, trouble.message), None, stalled), now)


def leaving(live: Manifest, waits_for: str, now: datetime) -> MonitoredModelStatus:
    """The last known status, while the clean-up waits for something."""
    message = f"Waiting for {waits_for}"
    return _with_standing(live, standing_of(no(Reason.DELETING, message), None, None), now)


def _with_standing(live: Manifest, standing: Standing, now: datetime) -> MonitoredModelStatus:
    previous = status_in(live) or MonitoredModelStatus()
    generation = live["metadata"].get("generation", 0)
    last = {c.type: Verdict(c.status, c.reason, c.message) for c in previous.conditions}
    verdicts = dict.fromkeys(_OBSERVED, unknown(Reason.CHILD_MISSING)) | last | standing.by_type()
    ordered = {type_: verdicts[type_] for type_ in (*standing.by_type(), *_OBSERVED)}
    conditions = conditions_of(ordered, generation, now, previous.conditions)
    return previous.model_copy(update={"observed_generation": generation, "conditions": conditions})


def _data_verdicts(world: World, now: datetime) -> dict[C, Verdict]:
    report, spec = world.heard, world.model.spec
    if report is not None and not spec.attributes:
        raw = unknown(
            Reason.NO_ATTRIBUTES, "The model has no attributes yet: predictions are kept as they are"
        )
        return dict.fromkeys(_DATA, raw)
    if report is not None:
        return {
            C.DATA_FLOWING: data.data_flowing(report, spec, now),
            C.REFERENCE_LOADED: data.reference_loaded(report, spec),
            C.MODEL_HEALTHY: data.model_healthy(report, spec),
        }
    if spec.lifecycle == "Archived":
        off = no(Reason.ARCHIVED, "The model is archived and takes in no rows")
        nothing = unknown(Reason.ARCHIVED)
        return {C.DATA_FLOWING: off, C.REFERENCE_LOADED: nothing, C.MODEL_HEALTHY: nothing}
    silent = unknown(Reason.STORE_UNREACHABLE, "Not known while the store does not answer")
    return dict.fromkeys(_DATA, silent)


def _ready(world: World, storage: Verdict, store: Verdict, flowing: Verdict) -> Verdict:
    """Whether the monitoring works. That no data come does not break it, but it is said in the reason."""
    if world.model.spec.lifecycle == "Archived":
        return yes(Reason.ARCHIVED, "Archived: the data are kept, nothing runs")
    if not store.holds:
        # A pod that cannot be placed for want of a volume is told by the pod's own message.
        return storage if not storage.holds and store.reason == Reason.CHILD_MISSING else store
    report = world.heard
    if report is not None and report.settings_error:
        return no(Reason.SETTINGS_REFUSED, f"The store cannot use its settings: {report.settings_error}")
    reason = {Reason.NO_DATA: Reason.AVAILABLE_NO_DATA, Reason.STALE: Reason.AVAILABLE_STALE}
    return yes(reason.get(Reason(flowing.reason), Reason.AVAILABLE), flowing.message)


def _pending(world: World, plan: Plan, troubles: Sequence[ReconcileError], store: Verdict) -> Verdict | None:
    """What is still under way, most telling first; None if nothing is."""
    for trouble in troubles:
        if isinstance(trouble, Transient | Bug):
            return yes(trouble.reason, trouble.message)
    if world.model.spec.lifecycle != "Archived" and not store.holds:
        return yes(store.reason, store.message)
    if plan.feasible and not rolled_out(world.deployment):
        return yes(Reason.ROLLING_OUT, "The store is being replaced")
    report = world.heard
    if report is not None and not _has_settings(world.model.metadata, plan, report):
        return yes(
            Reason.SETTINGS_PENDING,
            "The store has not read the newest settings yet; it takes a minute or two",
        )
    return None


def _stalled(world: World, troubles: Sequence[ReconcileError], store: Verdict) -> Verdict | None:
    """What a person has to mend."""
    found = hindrance(troubles)
    if found is None and not store.holds and (_given_up(world) or store.reason in HOPELESS):
        return yes(store.reason, store.message)
    return found


def _given_up(world: World) -> bool:
    return gave_up(world.deployment) or gave_up(world.server)


def _phase(world: World) -> str:
    if world.model.spec.lifecycle == "Archived":
        return "Archived"
    return world.heard.phase if world.heard else "Unreachable"


def worth_writing(
    previous: MonitoredModelStatus | None, status: MonitoredModelStatus, facts_are_due: bool
) -> bool:
    """Whether to write: at once for a transition, when due for a mere fact, never for nothing."""
    if previous is None or _essence(previous) != _essence(status):
        return True
    return facts_are_due and previous != status


def _essence(status: MonitoredModelStatus) -> object:
    """What must be told at once: every state, no number, no message."""
    states = [(c.type, c.status, c.reason, c.observed_generation) for c in status.conditions]
    drift_state = status.drift.state if status.drift else None
    reference = (status.reference.name, status.reference.profile_hash) if status.reference else None
    return (
        status.observed_generation,
        states,
        status.model_id,
        status.endpoint,
        status.store,
        drift_state,
        reference,
        [one.model_copy(update={"message": "", "trained_at": None}) for one in status.enrichments],
    )


def happenings(previous: MonitoredModelStatus | None, status: MonitoredModelStatus) -> Iterator[Happening]:
    """What has happened between two statuses, for events."""
    before = previous or MonitoredModelStatus()
    yield from transitions(before.conditions, status.conditions)
    yield from happenings_of(before.enrichments, status.enrichments)
