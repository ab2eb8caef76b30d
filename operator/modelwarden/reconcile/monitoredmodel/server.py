"""What is so with a model's server: its pods, its packages, the user's code, as conditions. Pure.

Ingestion needs none of it: only a model that is served is not ready without it.
"""

from collections.abc import Iterator

from modelwarden.reconcile.monitoredmodel.blueprint import ServerBlueprint
from modelwarden.reconcile.monitoredmodel.jobnews import LONGEST, Matter, news_of
from modelwarden.reconcile.monitoredmodel.provisions import (
    asset_trouble,
    assets_of,
    environment_trouble,
    environments_of,
    is_stuck,
)
from modelwarden.reconcile.monitoredmodel.rounds import job_of_errand
from modelwarden.reconcile.monitoredmodel.store import refused_pod
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.names import server_name
from modelwarden.reconcile.pods import Advice, trouble_of
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no, unknown, worded, yes
from modelwarden.resources.conditions import ConditionType as C
from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.report import EnrichmentReport, ServerReport
from modelwarden.resources.server import CodeReport, Role

EXPLAINABILITY = "explainability"
"""As the store calls it among its enrichments."""
OF_SERVER = (C.SERVER_AVAILABLE, C.ENVIRONMENT_READY, C.EXPLAINER_READY, C.MONITORED)
# What a person has to mend.
HOPELESS = frozenset(
    {
        Reason.CODE_FAILED,
        Reason.INSTALL_FAILED,
        Reason.SOURCE_FAILED,
        Reason.CREDENTIALS_MISSING,
        Reason.CREDENTIALS_NOT_USABLE,
        Reason.NOT_SUPPORTED_YET,
    }
)


def server_verdicts(world: World, server: ServerBlueprint) -> dict[C, Verdict]:
    """The conditions of a model that is explained or served."""
    environment = environment_ready(world, server)
    found = {C.SERVER_AVAILABLE: server_available(world, server, environment)}
    found[C.ENVIRONMENT_READY] = environment
    if server.wish.explain is not None:
        found[C.EXPLAINER_READY] = explainer_ready(world, server, environment)
    if server.wish.serving is not None:
        found[C.MONITORED] = _monitored(world)
    return found


def server_available(world: World, server: ServerBlueprint, environment: Verdict) -> Verdict:
    """Whether the pods run; of a served model, whether they predict."""
    deployment = world.server
    if deployment is None:
        return no(Reason.CHILD_MISSING, "The server is not made yet")
    ready = int((deployment.get("status") or {}).get("readyReplicas") or 0)
    advice = Advice(f"deploy/{server_name(world.model.metadata.name)} -c model-server", _memory(server))
    trouble = trouble_of(world.server_pods, advice) or refused_pod(deployment)
    if not ready and trouble is not None:
        return trouble
    told = _told(world)
    if isinstance(told, Verdict):
        return told
    if server.wish.serving is not None:
        return _serving(world, server, told, environment)
    if not ready:
        return no(Reason.STARTING, "The server's pods are being started")
    return yes(Reason.RUNNING, f"{_pods(ready)} ready")


def environment_ready(world: World, server: ServerBlueprint) -> Verdict:
    """Whether the packages of the user's code are there, and for which Python."""
    note = server.runtime.note
    if server.wish.image is not None:
        return yes(Reason.OWN_IMAGE, "The image that the spec names brings its packages")
    told = _told(world)
    if isinstance(told, Verdict):
        return told
    entries = environments_of(world)
    for entry in entries:
        if entry.state != "Ready":
            job = job_of_errand(world.trainings, ENVIRONMENT, "", entry.hash)
            matter = Matter(
                job,
                "installs packages",
                Reason.INSTALLING,
                Reason.INSTALL_FAILED,
                said=entry.message,
                stuck=is_stuck(entry),
                trouble=environment_trouble(world, server, entry),
            )
            return news_of(world, matter)
    if not entries and told.waiting_for:
        return unknown(Reason.WAITING, f"Not known yet: {_waits(told)}")
    if note:
        return Verdict("True", Reason.OTHER_PYTHON, note, LONGEST)
    if not entries:
        return yes(Reason.NOTHING_TO_INSTALL, "No packages are asked for beside those of the image")
    return yes(Reason.INSTALLED, f"The packages are installed, for Python {server.runtime.python}")


def explainer_ready(world: World, server: ServerBlueprint, environment: Verdict) -> Verdict:
    """Whether rows can be explained: the store's word, and before it what hinders it to say so."""
    told = _told(world)
    if isinstance(told, Verdict):
        return told
    entry = _entry(world)
    if entry is not None and entry.state == "Ready":
        coming = _files(world, server, "explain")
        return _explaining(told, entry) if coming is None else _meanwhile(entry.message, coming)
    hindered = _hindrance(world, server, "explain", environment)
    if hindered is not None:
        return hindered
    if entry is None:
        return no(Reason.WAITING, _waits(told))
    if entry.reason == Reason.CODE_FAILED:
        return Verdict("False", Reason.CODE_FAILED, _tail(entry.message), LONGEST)
    return Verdict("False", worded(entry.reason, Reason.WAITING), entry.message or _waits(told), LONGEST)


def _explaining(told: ServerReport, entry: EnrichmentReport) -> Verdict:
    codes = (code for pod in told.pods for code in pod.codes)
    differing = [code for code in codes if code.differs and code.difference is not None]
    if differing:
        most = max(code.difference or 0.0 for code in differing)
        text = (
            f"Rows are explained, but predict differs by up to {most:.3g} from the predictions that the"
            " reference has: is it the same model, and does it get its inputs in the order of the attributes?"
        )
        return Verdict("True", Reason.PREDICTIONS_DIFFER, text, LONGEST)
    return Verdict("True", Reason.EXPLAINING, entry.message, LONGEST)


def _serving(world: World, server: ServerBlueprint, told: ServerReport, environment: Verdict) -> Verdict:
    codes = _codes(told, "serve")
    ready = [code for code in codes if code.state == "Ready"]
    serving = server.wish.serving
    coming = _files(world, server, "serve")
    if ready and coming is not None:
        return _meanwhile(f"{_pods(len(ready))} to predict", coming)
    if ready:
        at_least = "; minReplicas 0 is taken as 1" if serving is not None and not serving.min_replicas else ""
        return yes(Reason.SERVING, f"{_pods(len(ready))} to predict{at_least}")
    failed = next((code for code in codes if code.state == "Failed"), None)
    before = sum(code.before for code in codes)
    if before:
        return _with_files_before(_pods(before), failed)
    if failed is not None:
        return Verdict("False", Reason.CODE_FAILED, _tail(failed.message), LONGEST)
    hindered = _hindrance(world, server, "serve", environment)
    if hindered is not None:
        return hindered
    if told.waiting_for:
        return no(Reason.WAITING, _waits(told))
    if any(code.state == "Restarting" for code in codes):
        return Verdict("False", Reason.CODE_RESTARTING, _tail(codes[0].message), LONGEST)
    return no(Reason.LOADING_CODE if codes else Reason.STARTING, "The model is being loaded")


def _meanwhile(works: str, coming: Verdict) -> Verdict:
    """Of what goes on with the files that it has, while those that it is to have are not there."""
    reason = Reason.FILES_BEFORE if coming.reason in HOPELESS else Reason.FETCHING
    return Verdict("True", reason, _tail(f"{works}; with the files before: {coming.message}"), LONGEST)


def _with_files_before(pods: str, failed: CodeReport | None) -> Verdict:
    """Of a served model that goes on as it was."""
    text = f"{pods} to predict, with the files before; the new ones"
    if failed is None:
        return yes(Reason.LOADING_CODE, f"{text} are being loaded")
    return Verdict("True", Reason.FILES_BEFORE, _tail(f"{text} cannot be loaded: {failed.message}"), LONGEST)


def _monitored(world: World) -> Verdict:
    if world.model.spec.attributes:
        return yes(Reason.MONITORED, "Predictions made here are inferences of the model")
    text = (
        "Predictions are kept as they are: give the model inputType, outputType and attributes, which can be"
        " done once, to have them monitored"
    )
    return no(Reason.NO_ATTRIBUTES, text)


def _files(world: World, server: ServerBlueprint, role: Role) -> Verdict | None:
    """What keeps a file of this role from being there, if a Job is to fetch it."""
    for entry, source in assets_of(world, server):
        if entry.state != "Present" and entry.slot.startswith(f"{role}-"):
            job = job_of_errand(world.trainings, ASSETS, entry.slot, entry.source_hash)
            matter = Matter(
                job,
                f"fetches {entry.slot}",
                Reason.FETCHING,
                Reason.SOURCE_FAILED,
                said=entry.message,
                stuck=is_stuck(entry),
                trouble=asset_trouble(world, entry.slot, source),
            )
            return news_of(world, matter)
    return None


def _hindrance(world: World, server: ServerBlueprint, role: Role, environment: Verdict) -> Verdict | None:
    """What keeps user code of this role from running: first what a person has to mend."""
    installing = environment if environment.status == "False" else None
    found = [_files(world, server, role), installing, _pod_trouble(world, server)]
    known = [verdict for verdict in found if verdict is not None]
    return next((verdict for verdict in known if verdict.reason in HOPELESS), known[0] if known else None)


def _pod_trouble(world: World, server: ServerBlueprint) -> Verdict | None:
    name = server_name(world.model.metadata.name)
    return trouble_of(world.server_pods, Advice(f"deploy/{name} -c model-server", _memory(server)))


def _told(world: World) -> ServerReport | Verdict:
    """The store's part on the server, or why there is none."""
    report = world.heard
    if report is None:
        return unknown(Reason.STORE_UNREACHABLE, "Not known while the store does not answer")
    if report.server is None:
        return unknown(Reason.SETTINGS_PENDING, "The store has not read yet that there is a server")
    return report.server


def _entry(world: World) -> EnrichmentReport | None:
    entries = world.heard.enrichments if world.heard else ()
    return next((entry for entry in entries if entry.kind == EXPLAINABILITY), None)


def _codes(told: ServerReport, role: Role) -> tuple[CodeReport, ...]:
    return tuple(_of_role(told, role))


def _of_role(told: ServerReport, role: Role) -> Iterator[CodeReport]:
    for pod in told.pods:
        yield from (code for code in pod.codes if code.role == role)


def _waits(told: ServerReport) -> str:
    return f"waits for {', '.join(told.waiting_for)}" if told.waiting_for else "waits for the server's pods"


def _tail(message: str) -> str:
    """The end of what the user's code wrote: there it says what went wrong."""
    text = " | ".join(line.rstrip() for line in message.splitlines() if line.strip())
    return text if len(text) <= LONGEST else "…" + text[1 - LONGEST :]


def _pods(count: int) -> str:
    return "1 pod is" if count == 1 else f"{count} pods are"


def _memory(server: ServerBlueprint) -> str:
    of_serving = "spec.serving.memory" if server.wish.serving is not None else ""
    of_explain = "spec.explainability.modelServerMemory" if server.wish.explain is not None else ""
    return " or ".join(filter(None, (of_serving, of_explain)))
