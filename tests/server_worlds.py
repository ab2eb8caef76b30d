"""Worlds of a model that is explained or served, for pure tests: what is asked, what its store says."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from model_worlds import INSTALL, report, settled
from model_worlds import world as bare_world
from training_worlds import declared

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.monitoredmodel.decide import Plan, decide
from modelwarden.reconcile.monitoredmodel.world import World, child_id
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.enrichment import Enrichment

SERVING: dict[str, Any] = {"flow": [{"modelType": "SKLEARN", "file": "m.pkl"}], "files": {"upload": {}}}
# The body that the documented API shows, in our words.
SEED: dict[str, Any] = {
    "pythonVersion": "3.8",
    "sdkVersion": "3.25.0",
    "explanationAlgo": "lime",
    "explanationNsamples": 2000,
    "shapExpectedValues": [0],
    "modelServerCpu": "2",
    "modelServerMemory": "1500Mi",
    "modelServerMaxReplicas": 30,
    "inferenceConsumerCpu": "500m",
    "inferenceConsumerMemory": "512Mi",
    "inferenceConsumerScorePercent": 1,
    "inferenceConsumerThreadPoolSize": 5,
    "streamingExplainabilityEnabled": True,
    "userPredictFunctionImportPath": "entrypoint",
}
HASH = "ab" * 32


def explained(*, enabled: bool = True, generation: int = 1, **config: Any) -> Enrichment:
    """An Enrichment that asks for explanations."""
    return declared(
        "reasons", generation=generation, type="Explainability", enabled=enabled, explainability=config
    )


def asked(*objects: Enrichment, **spec: Any) -> World:
    """The world of a model before anything was made."""
    return replace(bare_world(**spec), enrichments=objects)


def objects_of(world: World, install: Install = INSTALL) -> dict[tuple[str, str], Manifest]:
    """What should be, by kind and name."""
    return {child_id(intent): intent for intent in decide(world, install).intents}


def server_said(**fields: Any) -> dict[str, Any]:
    """The store's part on the server."""
    return {"plan_hash": "p"} | fields


def code(state: str = "Ready", role: str = "explain", **fields: Any) -> dict[str, Any]:
    """A pod's word on the user's code, as a pod's report."""
    one = {"role": role, "state": state, "code_hash": "c", "python": "3.11.7"} | fields
    return {"pod": f"census-server-{state}", "plan_hash": "p", "codes": [one]}


def running(
    *objects: Enrichment,
    said: dict[str, Any] | None = None,
    entries: Iterable[dict[str, Any]] = (),
    ready: int = 1,
    install: Install = INSTALL,
    **spec: Any,
) -> tuple[World, Plan]:
    """A world in which all of it is there, with that many ready pods, and its plan."""
    heard = report(enrichments=list(entries), **({"server": said} if said is not None else {}))
    full, _ = settled(heard, **spec)
    children = dict(full.children)
    for child, intent in objects_of(replace(full, enrichments=objects), install).items():
        live = dict(children.get(child, intent))
        if child[1].endswith("-server"):
            live["metadata"] = live["metadata"] | {"uid": f"uid of {child}", "generation": 1}
            live["status"] = {"observedGeneration": 1, "readyReplicas": ready}
            live["status"] |= {"replicas": 1, "updatedReplicas": 1}
        children[child] = live
    world = replace(full, children=children, enrichments=objects)
    return world, decide(world, install)
