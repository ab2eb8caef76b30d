"""An Enrichment: in its model's settings, trained by Jobs of the model, mirrored as the cell says it."""

import base64
import json
from typing import Any

import pytest
from chart_install import kubectl
from cluster_client import ClusterClient, explained
from ended_jobs import end_pod, finish
from model_factory import enrichment, monitored_model
from operator_process import eventually
from stub_cells import StubCell

from modelwarden.resources.cell import short_hash
from modelwarden.resources.keys import verify_job_key
from testbed.apiserver import ApiServer

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

ENRICHMENT = "Enrichment"
MODEL = "MonitoredModel"
WANTED, OTHER = "ab" * 32, "cd" * 32
JOB = f"census-train-hotspots-{WANTED[:8]}"
DUE = {"kind": "hotspots", "type": "Hotspots", "state": "Training", "reason": "Training", "due": True}
IN_USE = DUE | {
    "state": "Ready",
    "due": False,
    "wanted": WANTED,
    "installed": WANTED,
    "message": "trained and in use",
    "artefactHash": "ef" * 32,
    "trainedAt": "2026-11-21T12:00:00Z",
}


@pytest.fixture
def store(cluster: ClusterClient, namespace: str, answer: Any) -> StubCell:
    """The store of a model `census`."""
    cluster.create(monitored_model(namespace))
    cell: StubCell = answer(namespace)
    return cell


def test_what_an_enrichment_says_is_in_the_model_s_settings_while_it_is_there(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    eventually(lambda: _told(cluster, namespace)["hotspots"]["enabled"] is False)
    generation = eventually(lambda: cluster.get("Deployment", namespace, "census"))["metadata"]["generation"]
    cluster.create(enrichment(namespace, hotspots={"metric": "recall", "threshold": 0.8}))
    eventually(lambda: _told(cluster, namespace)["hotspots"]["enabled"] is True)
    told = _told(cluster, namespace)["hotspots"]
    assert (told["metric"], told["threshold"]) == ("recall", 0.8)
    cluster.create(enrichment(namespace, "quiet", type="AnomalyDetection", enabled=False))
    eventually(lambda: _told(cluster, namespace)["anomalyDetection"]["enabled"] is False)
    cluster.delete(ENRICHMENT, namespace, "spots")
    cluster.delete(ENRICHMENT, namespace, "quiet")
    eventually(lambda: _told(cluster, namespace)["hotspots"]["enabled"] is False)
    eventually(lambda: _told(cluster, namespace)["anomalyDetection"]["enabled"] is True)
    assert cluster.get("Deployment", namespace, "census")["metadata"]["generation"] == generation


def test_the_older_of_two_counts_and_the_younger_takes_its_place_when_it_goes(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(enrichment(namespace, "first", hotspots={"threshold": 0.1}))
    eventually(lambda: _told(cluster, namespace)["hotspots"].get("threshold") == 0.1)
    # The API server's clock has seconds: of one second the name decides.
    cluster.create(enrichment(namespace, "second", hotspots={"threshold": 0.2}))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "DuplicateEnrichment", "second"))
    assert "first" in stalled["message"]
    assert _told(cluster, namespace)["hotspots"]["threshold"] == 0.1
    cluster.delete(ENRICHMENT, namespace, "first")
    eventually(lambda: _told(cluster, namespace)["hotspots"]["threshold"] == 0.2)
    eventually(lambda: cluster.condition(ENRICHMENT, namespace, "second", "Stalled")["status"] == "False")


def test_an_enrichment_waits_for_its_model_and_wakes_when_it_comes(
    cluster: ClusterClient, namespace: str, answer: Any
) -> None:
    cluster.create(enrichment(namespace))
    eventually(lambda: _reason(cluster, namespace, "Stalled", "ModelMissing"))
    cluster.create(monitored_model(namespace))
    eventually(lambda: _reason(cluster, namespace, "Ready", "StoreNotReady"))
    missing = ["a closed reference dataset", "labels"]
    waits = {"state": "Pending", "due": False, "reason": "Waiting", "missing": missing}
    answer(namespace, enrichments=[DUE | waits])
    pending = eventually(lambda: _reason(cluster, namespace, "Ready", "Waiting"))
    assert pending["message"] == "waits for a closed reference dataset, labels"
    status = cluster.get(ENRICHMENT, namespace, "spots")["status"]
    assert (status["state"], status["message"]) == ("Pending", pending["message"])


def test_what_is_due_is_trained_by_one_job_with_a_key_for_that_alone_and_ready_when_the_store_says_so(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(enrichment(namespace))
    store.report["enrichments"] = [DUE | {"wanted": WANTED}]
    job = eventually(lambda: cluster.get("Job", namespace, JOB))
    args = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[:2] + args[3:] == ["job", "train", "--kind=hotspots", f"--input-hash={WANTED}"]
    uid = cluster.get(MODEL, namespace, "census")["metadata"]["uid"]
    assert [owner["uid"] for owner in job["metadata"]["ownerReferences"]] == [uid]
    secret = eventually(lambda: cluster.get("Secret", namespace, JOB))
    claim = verify_job_key(store.key, base64.b64decode(secret["data"]["key"]).decode())
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("train", f"hotspots_{WANTED}")
    eventually(lambda: _state(cluster, namespace) == "Training")
    assert len(cluster.all_of("Job", namespace)) == 1
    finish(cluster, namespace, JOB, "Complete")
    store.report["enrichments"] = [IN_USE]
    eventually(lambda: _reason(cluster, namespace, "Ready", "Trained"))
    status = cluster.get(ENRICHMENT, namespace, "spots")["status"]
    assert (status["state"], status["artefactHash"]) == ("Ready", "ef" * 32)
    assert status["trainedAt"] == "2026-11-21T12:00:00Z"
    (summary,) = cluster.get(MODEL, namespace, "census")["status"]["enrichments"]
    assert (summary["kind"], summary["state"], summary["declaredBy"]) == ("hotspots", "Ready", "spots")
    eventually(
        lambda: "EnrichmentTrained" in {e["reason"] for e in cluster.events(MODEL, namespace, "census")}
    )
    eventually(lambda: "Trained" in {e["reason"] for e in cluster.events(ENRICHMENT, namespace, "spots")})
    # A store whose settings change works on: nobody is told that it went away.
    assert "Starting" not in {e["reason"] for e in cluster.events(MODEL, namespace, "census")}
    header, row = kubectl(api_server, "-n", namespace, "get", "enrich").splitlines()
    assert header.split()[:5] == ["NAME", "READY", "MODEL", "TYPE", "STATE"]
    assert row.split()[:5] == ["spots", "True", "census", "Hotspots", "Ready"]


def test_a_job_that_works_for_nothing_is_taken_away(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    store.report["enrichments"] = [DUE | {"wanted": WANTED}]
    eventually(lambda: cluster.get("Secret", namespace, JOB))
    store.report["enrichments"] = [DUE | {"wanted": OTHER}]
    eventually(lambda: cluster.get("Job", namespace, JOB) is None)
    newer = eventually(lambda: cluster.get("Job", namespace, f"census-train-hotspots-{OTHER[:8]}"))
    store.report["enrichments"] = [DUE | {"state": "Disabled", "due": False}]
    eventually(lambda: cluster.get("Job", namespace, newer["metadata"]["name"]) is None)


def test_a_training_that_runs_out_of_memory_says_so_and_starts_anew_with_more(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(enrichment(namespace))
    store.report["enrichments"] = [DUE | {"wanted": WANTED}]
    uid = eventually(lambda: cluster.get("Job", namespace, JOB))["metadata"]["uid"]
    end_pod(cluster, namespace, JOB, "OOMKilled", 137)
    finish(cluster, namespace, JOB, "Failed")
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "OutOfMemory"))
    assert "spec.training.resources.limits.memory" in stalled["message"]
    assert _state(cluster, namespace) == "Failed"
    eventually(
        lambda: "EnrichmentFailed" in {e["reason"] for e in cluster.events(MODEL, namespace, "census")}
    )
    # The monitoring itself works.
    assert cluster.condition(MODEL, namespace, "census", "Ready")["status"] == "True"
    more = {"training": {"resources": {"limits": {"memory": "4Gi"}}}}
    cluster.patch(MODEL, namespace, "census", {"spec": more})
    job = eventually(lambda: _anew(cluster, namespace, uid))
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"memory": "4Gi"},
    }
    eventually(lambda: _secret_of(cluster, namespace, job))
    eventually(lambda: _state(cluster, namespace) == "Training")


def test_a_job_that_ended_well_is_repeated_when_the_store_asks_once_more(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    store.report["enrichments"] = [DUE | {"wanted": WANTED}]
    uid = eventually(lambda: cluster.get("Job", namespace, JOB))["metadata"]["uid"]
    store.report["enrichments"] = [IN_USE]
    finish(cluster, namespace, JOB, "Complete")
    eventually(
        lambda: cluster.get(MODEL, namespace, "census")["status"]["enrichments"][0]["state"] == "Ready"
    )
    assert cluster.get("Job", namespace, JOB)["metadata"]["uid"] == uid
    store.report["enrichments"] = [DUE | {"wanted": WANTED}]
    job = eventually(lambda: _anew(cluster, namespace, uid))
    assert job["metadata"]["annotations"]["modelwarden.dev/round"] == "2"
    eventually(lambda: _secret_of(cluster, namespace, job))


def test_settings_that_the_store_has_not_read_are_pending_until_it_tells_their_hash(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    store.report |= {"settingsHash": "0123456789", "enrichments": [DUE | {"state": "Disabled", "due": False}]}
    cluster.create(enrichment(namespace))
    eventually(lambda: _reason(cluster, namespace, "Ready", "SettingsPending"))
    eventually(
        lambda: cluster.condition(MODEL, namespace, "census", "Reconciling")["reason"] == "SettingsPending"
    )
    written = cluster.get("ConfigMap", namespace, "census-settings")["data"]["settings.json"]
    store.report |= {"settingsHash": short_hash(written.encode()), "enrichments": [IN_USE]}
    eventually(lambda: _reason(cluster, namespace, "Ready", "Trained"))


def _told(cluster: ClusterClient, namespace: str) -> Any:
    config = cluster.get("ConfigMap", namespace, "census-settings")
    return json.loads(config["data"]["settings.json"])["enrichments"]


def _state(cluster: ClusterClient, namespace: str) -> Any:
    return cluster.get(ENRICHMENT, namespace, "spots")["status"]["state"]


def _anew(cluster: ClusterClient, namespace: str, before: str) -> Any:
    job = cluster.get("Job", namespace, JOB)
    return job if job is not None and job["metadata"]["uid"] != before else None


def _secret_of(cluster: ClusterClient, namespace: str, job: dict[str, Any]) -> Any:
    """The Secret that the Job's pod mounts, if it belongs to this Job."""
    volumes = job["spec"]["template"]["spec"]["volumes"]
    name = next(volume["secret"]["secretName"] for volume in volumes if volume["name"] == "key")
    secret = cluster.get("Secret", namespace, name)
    return secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]


def _reason(cluster: ClusterClient, namespace: str, type_: str, reason: str, name: str = "spots") -> Any:
    found = cluster.condition(ENRICHMENT, namespace, name, type_)
    assert found.get("reason") == reason, explained(cluster.get(ENRICHMENT, namespace, name))
    return found
