"""StoreAvailable: what pods, Deployment and the store's own words mean together. Pure.

The store's own word counts most: if it answers and is ready, it is available, whatever else is under way.
"""

from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.pods import Advice, trouble_of
from modelwarden.reconcile.ports import Manifest, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no, yes
from modelwarden.resources.report import StatusReport


def store_available(world: World, model_id: str) -> Verdict:
    """Whether the store takes in rows and answers."""
    if world.model.spec.lifecycle == "Archived":
        return no(Reason.ARCHIVED, "The model is archived: its data are kept, its store is switched off")
    deployment = world.deployment
    if deployment is None:
        return no(Reason.CHILD_MISSING, "The store is not made yet")
    report = world.heard
    if report is not None and report.ready and report.model_id == model_id:
        return yes(Reason.ANSWERING, "The store answers")
    advice = Advice(f"deploy/{world.model.metadata.name} --previous", "spec.store.resources.limits.memory")
    trouble = trouble_of(world.pods, advice) or refused_pod(deployment)
    return trouble or _word(world.report, model_id, _running(world))


def _word(report: StatusReport | Silence | None, model_id: str, running: bool) -> Verdict:
    """What it says of itself, or what its silence means."""
    if report is None or (isinstance(report, Silence) and not running):
        return no(Reason.STARTING, "The store's pod is being started")
    if isinstance(report, Silence):
        return no(report.reason, report.message)
    if report.model_id != model_id:
        return no(Reason.WRONG_CELL, "Another model answers at the store's address")
    why = f": {report.reason}" if report.reason else ""
    if report.phase == "Failed":
        return no(Reason.STORE_FAILED, f"The store cannot work{why}")
    if report.phase == "Draining":
        return no(Reason.DRAINING, "The store is ending")
    return no(Reason.RECOVERING, f"The store is getting ready{why}")


def gave_up(deployment: Manifest | None) -> bool:
    """Whether the Deployment controller waited ten minutes in vain."""
    return (_condition(deployment, "Progressing") or {}).get("reason") == "ProgressDeadlineExceeded"


def refused_pod(deployment: Manifest) -> Verdict | None:
    """Why the API server does not let a Deployment's pod be made, if it does not."""
    failure = _condition(deployment, "ReplicaFailure")
    if failure is None or failure.get("status") != "True":
        return None
    return no(Reason.POD_REFUSED, f"The pod may not be made: {failure.get('message', '')}")


def _condition(deployment: Manifest | None, type_: str) -> Manifest | None:
    conditions = ((deployment or {}).get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == type_), None)


def _running(world: World) -> bool:
    """Whether a container of the store has passed its startup probe."""
    statuses = (s for pod in world.pods for s in (pod.get("status") or {}).get("containerStatuses") or ())
    return any(status.get("started") for status in statuses)
