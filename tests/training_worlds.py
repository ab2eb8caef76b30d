"""What a store says of trainings, and their Jobs and pods as the API server shows them, for pure tests."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from model_factory import enrichment
from model_worlds import INSTALL, NOW, PLACE, report, settled

from modelwarden.reconcile.jobs import job_of
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, training_plan
from modelwarden.reconcile.monitoredmodel.trainings import Means
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.enrichment import Enrichment, parse

WANTED = "ab" * 32
OTHER = "cd" * 32
MEANS = Means(PLACE, INSTALL.training_resources)


def said(**fields: Any) -> dict[str, Any]:
    """A store's entry: anomaly detection is to be trained."""
    due = {"kind": "anomaly", "type": "AnomalyDetection", "state": "Training", "due": True, "wanted": WANTED}
    return due | fields


def in_use(**fields: Any) -> dict[str, Any]:
    """A store's entry: anomaly detection is trained and in use."""
    installed = {
        "state": "Ready",
        "due": False,
        "installed": WANTED,
        "artefact_hash": "ef",
        "trained_at": NOW,
    }
    return said(**installed | fields)


def declared(name: str = "unusual", *, age: int = 0, generation: int = 1, **spec: Any) -> Enrichment:
    """An Enrichment object, made `age` seconds after the first."""
    live = enrichment("shop", name, **{"type": "AnomalyDetection"} | spec)
    live["metadata"] |= {
        "uid": f"uid-{name}",
        "generation": generation,
        "creationTimestamp": (NOW + timedelta(seconds=age)).isoformat(),
    }
    return parse(live)


def made(
    *conditions: str, at: datetime = NOW, round_: int = 1, failed: int = 0, has_run: bool = True, **order: Any
) -> Manifest:
    """A Job as it was made for an order; True since `at` are the conditions named."""
    given = {"place": PLACE, "model_uid": "uid-1", "kind": "anomaly", "input_hash": WANTED}
    given["resources"] = INSTALL.training_resources
    live = copy.deepcopy(job_of(training_plan(TrainingOrder(**given | order), round_)))
    live["metadata"] |= {"uid": "j"}
    since = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    reason = {"Failed": "BackoffLimitExceeded", "Complete": "CompletionsReached"}
    live["status"] = {
        "failed": failed,
        "ready": int(has_run),
        "conditions": [
            {"type": c, "status": "True", "reason": reason[c], "lastTransitionTime": since}
            for c in conditions
        ],
    }
    return live


def its_pod(*, ended: dict[str, Any] | None = None, number: int = 0, **status: Any) -> Manifest:
    """A pod of that Job; `ended`: how its process did. A larger number is a later pod."""
    state = {"terminated": ended} if ended else {"running": {}}
    containers = [{"name": "train", "image": "i", "ready": False, "state": state}]
    labels = {"batch.kubernetes.io/controller-uid": "j"}
    made_at = f"2026-11-21T11:{number:02}:00Z"
    return {
        "metadata": {"name": f"p{number}", "labels": labels, "creationTimestamp": made_at},
        "status": {"containerStatuses": containers} | status,
    }


OUT_OF_MEMORY = {"exitCode": 137, "reason": "OOMKilled"}


def world(
    *entries: Any,
    jobs: Iterable[Manifest] = (),
    pods: Iterable[Manifest] = (),
    objects: Iterable[Enrichment] = (),
    **model: Any,
) -> World:
    """The world of a model whose store says this of trainings."""
    full, _ = settled(report(enrichments=list(entries)), **model)
    return replace(full, trainings=tuple(jobs), training_pods=tuple(pods), enrichments=tuple(objects))
