"""What a person reads in the status when the store's pod cannot be placed or started on a real node."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from examples.census.kubectl import Kubectl, Waiting, wait_for

NAMESPACE = "trouble-e2e"
NAMESPACES = (NAMESPACE,)


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[[str], str]) -> str:
    return new_namespace(NAMESPACE)


@pytest.fixture
def model(kubectl: Kubectl, namespace: str) -> Iterator[Callable[..., str]]:
    """Applies a small model with the given fields of its spec; it goes with the test."""
    applied: list[str] = []

    def apply(name: str, **spec: Any) -> str:
        attributes = [
            {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT"},
            {"name": "risk", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "cost"},
            {"name": "cost", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "attributeLink": "risk"},
        ]
        manifest = {
            "apiVersion": "modelwarden.dev/v1alpha1",
            "kind": "MonitoredModel",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"inputType": "TABULAR", "outputType": "REGRESSION", "attributes": attributes} | spec,
        }
        kubectl.apply(json.dumps(manifest), "--force-conflicts")
        applied.append(name)
        return name

    yield apply
    for name in dict.fromkeys(applied):
        kubectl.run("delete", "mmodel", name, "--namespace", namespace, "--timeout=300s", seconds=310)


def shown(kubectl: Kubectl, name: str, type_: str) -> dict[str, str]:
    """The condition of a type, empty while there is none."""
    conditions = (kubectl.get("mmodel", name, NAMESPACE) or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == type_), {})


def wait_for_reason(kubectl: Kubectl, name: str, type_: str, reason: str, seconds: float = 300) -> str:
    """Waits until the condition has the reason; its message then."""
    found: dict[str, str] = {}

    def look() -> tuple[bool, str]:
        nonlocal found
        found = shown(kubectl, name, type_)
        return found.get("reason") == reason, str(found)

    wait_for(f"{type_} says {reason}", look, Waiting(seconds))
    return found["message"]


def wait_for_ready(kubectl: Kubectl, name: str) -> None:
    """Waits until the model is Ready."""

    def look() -> tuple[bool, str]:
        ready = shown(kubectl, name, "Ready")
        return ready.get("status") == "True", str(ready)

    wait_for(f"{name} is Ready", look, Waiting(60))


def test_a_pod_that_no_node_takes_is_told_and_recovers_with_the_spec(
    kubectl: Kubectl, model: Callable[..., str]
) -> None:
    name = model("homeless", pod={"nodeSelector": {"disk": "made-of-cheese"}})
    message = wait_for_reason(kubectl, name, "StoreAvailable", "Unschedulable")
    assert "node" in message
    assert shown(kubectl, name, "Ready")["status"] == "False"
    model("homeless", pod={})
    wait_for_reason(kubectl, name, "StoreAvailable", "Answering")
    wait_for_ready(kubectl, name)


def test_a_claim_of_an_unknown_class_is_told(kubectl: Kubectl, model: Callable[..., str]) -> None:
    claim = {"size": "1Gi", "storageClassName": "made-of-cheese"}
    name = model("unplaced", storage={"persistentVolumeClaim": claim, "deletionPolicy": "Delete"})
    message = wait_for_reason(kubectl, name, "StorageReady", "WaitingForVolume")
    assert "made-of-cheese" in message
    assert shown(kubectl, name, "Ready")["status"] == "False"


def test_a_store_without_enough_memory_is_told(kubectl: Kubectl, model: Callable[..., str]) -> None:
    little = {"limits": {"memory": "24Mi"}, "requests": {"memory": "24Mi"}}
    name = model("starved", store={"resources": little})
    message = wait_for_reason(kubectl, name, "StoreAvailable", "OutOfMemory")
    assert "limits.memory" in message
