"""Worlds of a MonitoredModel for pure tests: a model, children as they would be held, a store's word."""

from datetime import UTC, datetime, timedelta
from typing import Any

from model_factory import monitored_model

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.jobs import Workplace
from modelwarden.reconcile.monitoredmodel.decide import Plan, decide
from modelwarden.reconcile.monitoredmodel.world import World, child_id
from modelwarden.resources.identity import model_id
from modelwarden.resources.keys import cell_key
from modelwarden.resources.monitoredmodel import parse
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.report import StatusReport

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
INSTALL = Install(namespace="mw", secret=b"s" * 32, cell_image="modelwarden/model-server:1")
ID = model_id("shop", "census")
PLACE = Workplace(
    namespace="shop",
    model="census",
    store_url="http://census.shop.svc:8080",
    image="i",
    pull_policy="IfNotPresent",
    pod=PodSpec(),
    cell_key=cell_key(b"s" * 32, "shop", "census", 0),
)


def live_model(
    *, status: dict[str, Any] | None = None, meta: dict[str, Any] | None = None, **spec: Any
) -> Any:
    """A MonitoredModel as the API server gives it."""
    manifest = monitored_model("shop", **spec)
    manifest["metadata"] |= {"uid": "uid-1", "generation": 3, "resourceVersion": "7"} | (meta or {})
    return manifest | ({"status": status} if status else {})


def world(report: Any = None, *, pods: tuple[Any, ...] = (), **model: Any) -> World:
    """A world before anything was made."""
    live = live_model(**model)
    return World(live=live, model=parse(live), pods=pods, report=report)


def settled(report: Any = None, *, pods: tuple[Any, ...] = (), **model: Any) -> tuple[World, Plan]:
    """A world in which everything of the plan is there, bound and rolled out; and that plan."""
    bare = world(report, pods=pods, **model)
    children = {}
    for intent in decide(bare, INSTALL).intents:
        ours = intent["metadata"] | {"uid": f"uid of {intent['kind']}", "generation": 1}
        child = intent | {"metadata": ours}
        if child["kind"] == "Deployment":
            replicas = child["spec"].get("replicas", 1)
            child["status"] = {
                "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas,
            }  # fmt: skip
        if child["kind"] == "PersistentVolumeClaim":
            child["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
        children[child_id(child)] = child
    identities = tuple(c for (_, name), c in children.items() if "-identity-" in name)
    full = World(
        live=bare.live, model=bare.model, children=children, identities=identities, pods=pods, report=report
    )
    return full, decide(full, INSTALL)


def report(**fields: Any) -> StatusReport:
    """What a healthy store with data and a reference says."""
    healthy: dict[str, Any] = {
        "model_id": ID,
        "version": "1",
        "ready": True,
        "phase": "Ready",
        "settings_generation": 3,
        "newest_arrival": NOW - timedelta(minutes=1),
        "newest_inference": NOW - timedelta(minutes=2),
        "rows": {"acknowledged": 10, "stored": 10},
        "active_reference": "train",
        "reference": [{"name": "train", "state": "profiled", "records": 5, "created_at": NOW}],
        "drift": drift(),
    }
    return StatusReport.model_validate(healthy | fields)


def feature(name: str, *, score: float = 0.01, drifted: bool = False, stage: str = "PIPELINE_INPUT") -> Any:
    return {
        "name": name, "stage": stage, "score": score, "threshold": 0.2, "p_value": 0.5, "n": 500,
        "drifted": drifted,
    }  # fmt: skip


def drift(*features: Any, state: str = "Ok") -> Any:
    return {
        "window_start": NOW - timedelta(days=1),
        "window_end": NOW,
        "rows": 500,
        "metric": "PSI",
        "state": state,
        "features": list(features),
        "drifted": sum(f["drifted"] for f in features),
        "checked": len(features),
    }


def pod(**status: Any) -> Any:
    """A pod of the store; `waiting` or `terminated` for its container's state."""
    container = {"name": "store", "image": "modelwarden/model-server:1", "ready": False}
    if "state" in status:
        container["state"] = status.pop("state")
    if "last" in status:
        container["lastState"] = status.pop("last")
    metadata = {"name": "census-5d4f9c-x7k2p", "creationTimestamp": "2026-11-21T11:00:00Z"}
    return {"metadata": metadata, "status": {"containerStatuses": [container]} | status}
