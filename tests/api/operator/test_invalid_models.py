"""What cannot be carried out is said in a condition, leaves what runs alone, and recovers when mended."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cluster_client import ClusterClient, explained
from model_factory import binary_attributes, monitored_model
from operator_process import OperatorProcess, eventually

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

MODEL = "MonitoredModel"
UNSUPPORTED = [
    ({"stream": {"kafka": {"bootstrapServers": "kafka:9092"}}}, "spec.stream.kafka"),
    (
        {"storage": {"objectStore": {"uri": "s3://b/p"}, "log": {"size": "1Gi"}}},
        "spec.storage.objectStore",
    ),
]


@pytest.mark.parametrize(("spec", "field"), UNSUPPORTED)
def test_what_this_version_does_not_do_is_stalled_by_name_and_makes_nothing(
    cluster: ClusterClient, namespace: str, spec: dict[str, Any], field: str
) -> None:
    cluster.create(monitored_model(namespace, **spec))
    stalled = eventually(lambda: _stalled(cluster, namespace, "NotSupportedYet"))
    assert field in stalled["message"]
    assert cluster.condition(MODEL, namespace, "census", "Ready")["status"] == "False"
    assert cluster.get("Deployment", namespace, "census") is None
    assert cluster.get("PersistentVolumeClaim", namespace, "census-data") is None


@pytest.mark.parametrize("older", [{}, {"partnerModelId": "census, 2 = new"}])
def test_a_younger_model_with_the_same_id_waits_until_the_older_is_gone(
    cluster: ClusterClient, namespace: str, older: dict[str, Any]
) -> None:
    called = older.get("partnerModelId", "older")
    cluster.create(monitored_model(namespace, "older", **older))
    eventually(lambda: cluster.get("Deployment", namespace, "older"))
    # Creation times are whole seconds.
    born = cluster.get(MODEL, namespace, "older")["metadata"]["creationTimestamp"]
    eventually(lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") > born)
    cluster.create(monitored_model(namespace, partnerModelId=called))
    assert "older" in eventually(lambda: _stalled(cluster, namespace, "ModelIdTaken"))["message"]
    assert cluster.get("Deployment", namespace, "census") is None
    eventually(lambda: cluster.condition(MODEL, namespace, "older", "Stalled")["status"] == "False")
    cluster.delete(MODEL, namespace, "older")
    eventually(lambda: cluster.get("Deployment", namespace, "census"))


def test_attributes_that_do_not_fit_stall_the_model_and_name_the_attribute(
    cluster: ClusterClient, namespace: str
) -> None:
    broken = binary_attributes()
    broken[2]["attributeLink"] = "nobody"
    cluster.create(monitored_model(namespace, attributes=broken))
    stalled = eventually(lambda: _stalled(cluster, namespace, "InvalidAttributes"))
    assert "attribute p" in stalled["message"]
    assert len(stalled["message"]) <= 200


def test_an_invalid_model_is_quiet_and_its_message_and_time_stay_the_same(
    cluster: ClusterClient, namespace: str, running: OperatorProcess
) -> None:
    """Twenty looks at the same mistake, each of which is logged: the object must not have been written."""
    begins = running.log.stat().st_size
    broken = binary_attributes()
    broken[2]["attributeLink"] = "nobody"
    cluster.create(monitored_model(namespace, attributes=broken))
    eventually(lambda: _stalled(cluster, namespace, "InvalidAttributes"))
    before = cluster.get(MODEL, namespace, "census")
    seen = _looks(running, begins, namespace)
    for number in range(4):  # each edit of the metadata is a reason to look again
        note = {"metadata": {"annotations": {"note": str(number)}}}
        cluster.patch(MODEL, namespace, "census", note)
    eventually(lambda: _looks(running, begins, namespace) >= seen + 20)
    after = cluster.get(MODEL, namespace, "census")
    assert after["status"] == before["status"]


def test_a_broken_rollout_is_mended_although_it_never_became_healthy(
    cluster: ClusterClient, namespace: str
) -> None:
    """No store ever answers here: the fix must go out all the same."""
    cluster.create(monitored_model(namespace, pod={"nodeSelector": {"no": "such-node"}}))
    eventually(lambda: _selector(cluster, namespace) == {"no": "such-node"})
    cluster.patch(MODEL, namespace, "census", {"spec": {"pod": {"nodeSelector": None}}})
    eventually(lambda: cluster.get("Deployment", namespace, "census") and not _selector(cluster, namespace))


def test_a_value_that_only_the_api_server_can_judge_is_named_and_mended(
    cluster: ClusterClient, namespace: str
) -> None:
    too_much = {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}
    cluster.create(monitored_model(namespace, store=too_much))
    stalled = eventually(lambda: _stalled(cluster, namespace, "RefusedByApiServer"))
    assert "resources" in stalled["message"]
    cluster.patch(MODEL, namespace, "census", {"spec": {"store": None}})
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    eventually(lambda: cluster.condition(MODEL, namespace, "census", "Stalled")["status"] == "False")


def _selector(cluster: ClusterClient, namespace: str) -> Any:
    live = cluster.get("Deployment", namespace, "census")
    assert live, "no Deployment yet"
    return live["spec"]["template"]["spec"].get("nodeSelector")


def _stalled(cluster: ClusterClient, namespace: str, reason: str) -> Any:
    found = cluster.condition(MODEL, namespace, "census", "Stalled")
    assert found.get("status") == "True", explained(cluster.get(MODEL, namespace, "census"))
    assert found["reason"] == reason, found
    return found


def _looks(running: OperatorProcess, since: int, namespace: str) -> int:
    """How often the log tells, from that byte on, that a model there is not carried out."""
    lines = [line for line in running.lines(since) if line.get("namespace") == namespace]
    return len([line for line in lines if line.get("reason") == "InvalidAttributes"])
