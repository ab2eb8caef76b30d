"""A deleted model stops its store, keeps or deletes its data as told, and is found again when it returns."""

import uuid
from typing import Any

import pytest
from cluster_client import COLLECTED, ClusterClient, explained
from model_factory import monitored_model
from operator_process import eventually

from testbed.api_client import ApiError

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

MODEL = "MonitoredModel"
CLAIM = "PersistentVolumeClaim"
OURS = "modelwarden.dev/cleanup"


def test_retained_data_are_found_again_by_the_same_model(cluster: ClusterClient, namespace: str) -> None:
    cluster.create(monitored_model(namespace))
    before = eventually(lambda: cluster.get(CLAIM, namespace, "census-data"))
    first = eventually(lambda: cluster.key_of(namespace, "census"))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    cluster.delete(MODEL, namespace, "census")
    eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    eventually(lambda: cluster.get("Deployment", namespace, "census") is None, COLLECTED)
    kept = cluster.get(CLAIM, namespace, "census-data")
    assert kept["metadata"]["uid"] == before["metadata"]["uid"]
    assert any(event["reason"] == "DataRetained" for event in cluster.events(MODEL, namespace, "census"))
    cluster.create(monitored_model(namespace))
    eventually(lambda: cluster.get("Deployment", namespace, "census"), COLLECTED)
    assert eventually(lambda: cluster.key_of(namespace, "census")) == first
    again = cluster.get(CLAIM, namespace, "census-data")
    assert again["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_model_of_another_id_does_not_get_the_retained_data(cluster: ClusterClient, namespace: str) -> None:
    cluster.create(monitored_model(namespace, partnerModelId="one"))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    cluster.delete(MODEL, namespace, "census")
    eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    cluster.create(monitored_model(namespace, partnerModelId="two"))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "ForeignData"))
    assert "census-data" in stalled["message"]
    eventually(lambda: cluster.get("Deployment", namespace, "census") is None, COLLECTED)


def test_deleted_data_are_verifiably_gone_before_the_model_is(cluster: ClusterClient, namespace: str) -> None:
    storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
    cluster.create(monitored_model(namespace, storage=storage))
    claim = eventually(lambda: cluster.get(CLAIM, namespace, "census-data"))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    # Somebody's finalizer on the claim, as a slow storage driver has one.
    hold = {"metadata": {"finalizers": [*claim["metadata"]["finalizers"], "slow.example/driver"]}}
    cluster.patch(CLAIM, namespace, "census-data", hold)
    cluster.delete(MODEL, namespace, "census")
    deleting = eventually(lambda: _reason(cluster, namespace, "Ready", "Deleting"))
    eventually(lambda: "claim" in cluster.condition(MODEL, namespace, "census", "Ready")["message"])
    assert deleting["status"] == "False"
    live = cluster.get(MODEL, namespace, "census")
    assert OURS in live["metadata"]["finalizers"]
    cluster.patch(CLAIM, namespace, "census-data", {"metadata": {"finalizers": None}})
    eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    assert cluster.get(CLAIM, namespace, "census-data") is None


def test_a_namespace_with_models_can_be_deleted(cluster: ClusterClient) -> None:
    name = cluster.make_namespace(f"gone-{uuid.uuid4().hex[:8]}")
    cluster.create(monitored_model(name))
    eventually(lambda: cluster.get("Deployment", name, "census"))
    cluster.client.request("DELETE", f"/api/v1/namespaces/{name}")
    eventually(lambda: _gone(cluster, f"/api/v1/namespaces/{name}"), COLLECTED)


def _gone(cluster: ClusterClient, path: str) -> bool:
    try:
        cluster.client.get(path)
    except ApiError as error:
        return error.status == 404
    return False


def _reason(cluster: ClusterClient, namespace: str, type_: str, reason: str) -> Any:
    found = cluster.condition(MODEL, namespace, "census", type_)
    assert found.get("reason") == reason, explained(cluster.get(MODEL, namespace, "census"))
    return found
