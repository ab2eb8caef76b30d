"""A deleted model stops its store, keeps or deletes its data as told, and is found again when it returns."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_client import ClusterClient, explained
from model_factory import monitored_model
from operator_process import eventually, operator
from recording_proxy import Call, RecordingProxy

from testbed.apiserver import ApiServer

pytestmark = pytest.mark.api

MODEL = "MonitoredModel"
CLAIM = "PersistentVolumeClaim"
OURS = "modelwarden.dev/cleanup"


@pytest.fixture
def own(cluster: ClusterClient) -> str:
    """The namespace of an operator of the test's own."""
    return cluster.make_namespace(f"mw-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def proxy(api_server: ApiServer) -> Iterator[RecordingProxy]:
    with RecordingProxy(api_server) as between:
        yield between


def _start(kubeconfig: Path, folder: Path, own: str, watched: str, **more: str) -> Any:
    settings = {"MODELWARDEN_NAMESPACE": own, "MODELWARDEN_WATCH_NAMESPACES": watched}
    return operator(kubeconfig, folder, **(settings | more))


@pytest.mark.usefixtures("running")
def test_retained_data_are_found_again_by_the_same_model(cluster: ClusterClient, namespace: str) -> None:
    cluster.create(monitored_model(namespace))
    before = eventually(lambda: cluster.get(CLAIM, namespace, "census-data"))
    first = eventually(lambda: cluster.key_of(namespace, "census"))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    cluster.delete(MODEL, namespace, "census")
    eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    eventually(lambda: cluster.get("Deployment", namespace, "census") is None)
    kept = cluster.get(CLAIM, namespace, "census-data")
    assert kept["metadata"]["uid"] == before["metadata"]["uid"]
    assert any(event["reason"] == "DataRetained" for event in cluster.events(MODEL, namespace, "census"))
    cluster.create(monitored_model(namespace))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    assert eventually(lambda: cluster.key_of(namespace, "census")) == first
    again = cluster.get(CLAIM, namespace, "census-data")
    assert again["metadata"]["uid"] == before["metadata"]["uid"]


@pytest.mark.usefixtures("running")
def test_a_model_of_another_id_does_not_get_the_retained_data(cluster: ClusterClient, namespace: str) -> None:
    cluster.create(monitored_model(namespace, partnerModelId="one"))
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    cluster.delete(MODEL, namespace, "census")
    eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    cluster.create(monitored_model(namespace, partnerModelId="two"))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "ForeignData"))
    assert "census-data" in stalled["message"]
    eventually(lambda: cluster.get("Deployment", namespace, "census") is None)


@pytest.mark.usefixtures("running")
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


@pytest.mark.usefixtures("running")
def test_a_namespace_with_models_can_be_deleted(cluster: ClusterClient) -> None:
    name = cluster.make_namespace(f"gone-{uuid.uuid4().hex[:8]}")
    cluster.create(monitored_model(name))
    eventually(lambda: cluster.get("Deployment", name, "census"))
    cluster.client.request("DELETE", f"/api/v1/namespaces/{name}")
    eventually(lambda: _gone(cluster, f"/api/v1/namespaces/{name}"), 60)


def test_a_clean_up_that_hangs_is_given_up_after_its_deadline_with_an_event(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, own: str, folder: Path
) -> None:
    with _start(api_server.kubeconfig, folder, own, namespace, MODELWARDEN_DELETE_DEADLINE="2"):
        storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
        cluster.create(monitored_model(namespace, storage=storage))
        eventually(lambda: cluster.get("Deployment", namespace, "census"))
        hold = {"metadata": {"finalizers": ["stuck.example/driver"]}}
        cluster.patch(CLAIM, namespace, "census-data", hold)
        cluster.delete(MODEL, namespace, "census")
        eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    events = cluster.events(MODEL, namespace, "census")
    assert any(event["reason"] == "CleanUpAbandoned" for event in events)
    cluster.patch(CLAIM, namespace, "census-data", {"metadata": {"finalizers": None}})


def test_a_model_deleted_while_the_operator_is_down_is_cleaned_up_when_it_returns(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, own: str, folder: Path
) -> None:
    storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
    with _start(api_server.kubeconfig, folder, own, namespace) as process:
        cluster.create(monitored_model(namespace, storage=storage))
        eventually(lambda: cluster.get("Deployment", namespace, "census"))
        process.kill()
        cluster.delete(MODEL, namespace, "census")
        assert OURS in cluster.get(MODEL, namespace, "census")["metadata"]["finalizers"]
        assert cluster.get(CLAIM, namespace, "census-data")
        process.start().wait_ready()
        eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
        assert cluster.get(CLAIM, namespace, "census-data") is None


def test_a_clean_up_that_fails_at_first_is_tried_until_it_succeeds(
    api_server: ApiServer,
    cluster: ClusterClient,
    namespace: str,
    own: str,
    folder: Path,
    proxy: RecordingProxy,
) -> None:
    failures = []

    def refuse(call: Call) -> tuple[int, dict[str, str], bytes] | None:
        if call.method == "DELETE" and len(failures) < 4:
            failures.append(call)
            return 500, {}, b"{}"
        return None

    proxy.harm = refuse
    kubeconfig = proxy.kubeconfig(folder / "kubeconfig")
    with _start(kubeconfig, folder, own, namespace):
        storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
        cluster.create(monitored_model(namespace, storage=storage))
        eventually(lambda: cluster.get("Deployment", namespace, "census"))
        cluster.delete(MODEL, namespace, "census")
        eventually(lambda: cluster.get(MODEL, namespace, "census") is None, 30)
    assert len(failures) == 4
    assert cluster.get(CLAIM, namespace, "census-data") is None


def test_what_is_not_ours_survives_the_deletion(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, own: str, folder: Path
) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": CLAIM,
        "metadata": {"namespace": namespace, "name": "census-data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.create(foreign)
    with _start(api_server.kubeconfig, folder, own, namespace):
        storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
        cluster.create(monitored_model(namespace, storage=storage))
        eventually(lambda: _reason(cluster, namespace, "Stalled", "NameTaken"))
        cluster.delete(MODEL, namespace, "census")
        eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
    kept = cluster.get(CLAIM, namespace, "census-data")
    assert kept is not None
    assert "deletionTimestamp" not in kept["metadata"]


def _gone(cluster: ClusterClient, path: str) -> bool:
    from testbed.api_client import ApiError

    try:
        cluster.client.get(path)
    except ApiError as error:
        return error.status == 404
    return False


def _reason(cluster: ClusterClient, namespace: str, type_: str, reason: str) -> Any:
    found = cluster.condition(MODEL, namespace, "census", type_)
    assert found.get("reason") == reason, explained(cluster.get(MODEL, namespace, "census"))
    return found
