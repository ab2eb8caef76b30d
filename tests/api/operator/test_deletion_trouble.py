"""A deletion that meets trouble: the operator is down, the clean-up fails or hangs, things are not ours."""

from pathlib import Path
from typing import Any

import pytest
from cluster_client import ClusterClient, explained
from model_factory import monitored_model
from operator_process import eventually, operator
from recording_proxy import Call, RecordingProxy

from testbed.apiserver import ApiServer

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("apart")]

MODEL = "MonitoredModel"
CLAIM = "PersistentVolumeClaim"
OURS = "modelwarden.dev/cleanup"


@pytest.fixture
def api_server(apart_server: ApiServer) -> ApiServer:
    """The one without the common operator."""
    return apart_server


@pytest.fixture
def cluster(apart: ClusterClient) -> ClusterClient:
    return apart


def _start(kubeconfig: Path, folder: Path, own: str, watched: str, **more: str) -> Any:
    settings = {"MODELWARDEN_NAMESPACE": own, "MODELWARDEN_WATCH_NAMESPACES": watched}
    return operator(kubeconfig, folder, **(settings | more))


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
        eventually(lambda: cluster.get(MODEL, namespace, "census") is None)
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


def _reason(cluster: ClusterClient, namespace: str, type_: str, reason: str) -> Any:
    found = cluster.condition(MODEL, namespace, "census", type_)
    assert found.get("reason") == reason, explained(cluster.get(MODEL, namespace, "census"))
    return found
