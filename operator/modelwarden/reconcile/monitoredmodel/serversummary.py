"""The facts of a model's server for its status: where it is, what runs, what it has done. Pure."""

from modelwarden.reconcile.monitoredmodel.blueprint import ServerBlueprint
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.names import CELL_PORT, server_name
from modelwarden.resources.modelstatus import ExplanationCounts, ServerStatus
from modelwarden.resources.report import ServerReport


def summary_of(
    world: World, server: ServerBlueprint | None, previous: ServerStatus | None
) -> ServerStatus | None:
    """None for a model without a server. While the store is silent the last known counts stay."""
    if server is None:
        return None
    meta = world.model.metadata
    url = f"http://{server_name(meta.name)}.{meta.namespace}.svc:{CELL_PORT}"
    served = server.wish.serving is not None
    ready = int(((world.server or {}).get("status") or {}).get("readyReplicas") or 0)
    told = world.heard.server if world.heard else None
    status = ServerStatus(
        url=url,
        predict_url=f"{url}/v1/{meta.namespace}/{meta.name}/predict" if served else None,
        image=server.runtime.image,
        python=_python(told) or server.runtime.python,
        ready_pods=ready,
    )
    if told is None:
        kept = (
            {"explanations": previous.explanations, "predictions": previous.predictions} if previous else {}
        )
        return status.model_copy(update=kept)
    return status.model_copy(update={"explanations": _counts(told), "predictions": told.predictions})


def _python(told: ServerReport | None) -> str | None:
    """The version as a pod tells it."""
    versions = (code.python for pod in (told.pods if told else ()) for code in pod.codes)
    return next((version[:255] for version in versions if version), None)


def _counts(told: ServerReport) -> ExplanationCounts | None:
    found = told.explanations
    if found is None:
        return None
    return ExplanationCounts(
        chosen=found.chosen,
        explained=found.explained,
        waiting=found.waiting,
        failed=found.failed,
        skipped=found.skipped,
        newest=found.newest,
    )
