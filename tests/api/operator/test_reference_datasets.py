"""A ReferenceDataset: declared in its model's store, closed, profiled by one Job, and mirrored as it is."""

from typing import Any

import pytest
from cluster_client import COLLECTED, ClusterClient, explained
from ended_jobs import finish
from model_factory import monitored_model, reference_dataset
from operator_process import eventually
from stub_cells import StubCell

from modelwarden.resources.keys import verify_job_key

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

DATASET = "ReferenceDataset"
HASH = "ab" * 32


@pytest.fixture
def store(cluster: ClusterClient, namespace: str, answer: Any) -> StubCell:
    """The store of a model `census`."""
    cluster.create(monitored_model(namespace))
    cell: StubCell = answer(namespace)
    return cell


def test_a_dataset_whose_model_is_missing_says_so_and_wakes_when_it_comes(
    cluster: ClusterClient, namespace: str, answer: Any
) -> None:
    cluster.create(reference_dataset(namespace))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "ModelMissing"))
    assert "census" in stalled["message"]
    cluster.create(monitored_model(namespace))
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "StoreNotReady"))
    answer(namespace)
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "WaitingForData"))


def test_an_open_dataset_is_declared_once_and_waits_for_data(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace))
    eventually(lambda: _reason(cluster, namespace, "Ready", "WaitingForData"))
    assert store.declared[0] == ("train", {"closed": False, "totalRecordCount": None})
    assert cluster.get(DATASET, namespace, "train")["status"]["state"] == "Open"
    assert cluster.all_of("Job", namespace) == []


def test_a_count_that_does_not_fit_stalls_with_the_store_s_own_words(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, closed=True, totalRecordCount=10))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "CountMismatch"))
    assert "10" in stalled["message"]
    store.datasets["train"]["records"] = 10
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "Closed"))


def test_a_closed_dataset_gets_one_job_named_by_its_content_with_a_key_for_that_alone(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, closed=True))
    job = eventually(lambda: cluster.get("Job", namespace, f"train-profile-{HASH[:10]}"))
    assert "--content-hash=" + HASH in job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert job["metadata"]["labels"]["modelwarden.dev/model"] == "census"
    secret = eventually(lambda: cluster.get("Secret", namespace, job["metadata"]["name"]))
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"]
    claim = verify_job_key(store.key, _decoded(secret["data"]["key"]))
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("profile", HASH)
    eventually(lambda: cluster.get(DATASET, namespace, "train").get("status", {}).get("job"))
    assert len(cluster.all_of("Job", namespace)) == 1


def test_only_the_profile_in_the_store_makes_a_dataset_ready(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, closed=True))
    job = eventually(lambda: cluster.get("Job", namespace, f"train-profile-{HASH[:10]}"))
    finish(cluster, namespace, job["metadata"]["name"], "Complete")
    eventually(lambda: _reason(cluster, namespace, "Profiled", "Profiling"))
    store.datasets["train"] |= {"state": "profiled", "profileHash": "cd" * 32, "records": 7}
    eventually(lambda: _reason(cluster, namespace, "Ready", "Profiled"))
    status = cluster.get(DATASET, namespace, "train")["status"]
    assert (status["state"], status["records"], status["profileHash"]) == ("Profiled", 7, "cd" * 32)
    assert (status["contentHash"], status["job"]) == (HASH, job["metadata"]["name"])


def test_a_job_that_gave_up_stalls_the_dataset_until_it_is_deleted(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, closed=True))
    job = eventually(lambda: cluster.get("Job", namespace, f"train-profile-{HASH[:10]}"))
    finish(cluster, namespace, job["metadata"]["name"], "Failed")
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "ProfileFailed"))
    assert "BackoffLimitExceeded" in stalled["message"]
    cluster.delete("Job", namespace, job["metadata"]["name"], propagationPolicy="Background")

    def again() -> bool:
        live = cluster.get("Job", namespace, job["metadata"]["name"])
        return live is not None and live["metadata"]["uid"] != job["metadata"]["uid"]

    eventually(again)
    eventually(lambda: _reason(cluster, namespace, "Profiled", "Profiling"))


def test_a_source_that_this_version_does_not_read_is_named(cluster: ClusterClient, namespace: str) -> None:
    cluster.create(reference_dataset(namespace, source={"objectStore": {"uri": "gs://bucket/x"}}))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "NotSupportedYet"))
    assert "spec.source.objectStore.uri" in stalled["message"]


def test_a_source_is_loaded_by_one_job_and_only_then_closed_and_profiled(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    source = {"http": {"url": "https://example.org:8443/x.parquet", "sha256": "0" * 64}}
    cluster.create(reference_dataset(namespace, source=source, closed=True))
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "LoadingSource"))
    (job,) = eventually(lambda: cluster.all_of("Job", namespace))
    assert job["metadata"]["name"].startswith("train-load-")
    asked = store.declared[-1][1]
    assert f"--source-hash={asked['sourceHash']}" in job["spec"]["template"]["spec"]["containers"][0]["args"]
    secret = eventually(lambda: cluster.get("Secret", namespace, job["metadata"]["name"]))
    claim = verify_job_key(store.key, _decoded(secret["data"]["key"]))
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("reference", f"train_{asked['sourceHash']}")
    policy = cluster.get("NetworkPolicy", namespace, "train-load")
    assert 8443 in [port["port"] for port in policy["spec"]["egress"][0]["ports"]]
    assert store.datasets["train"]["state"] == "open"
    store.datasets["train"] |= {"loaded": True, "records": 7}
    eventually(lambda: cluster.get("Job", namespace, f"train-profile-{HASH[:10]}"))
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "Closed"))


def test_a_source_that_cannot_be_read_stalls_with_the_reader_s_own_words(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, source={"configMap": {"name": "small", "key": "x"}}))
    (job,) = eventually(lambda: cluster.all_of("Job", namespace))
    assert cluster.get("NetworkPolicy", namespace, "train-load") is None
    store.datasets["train"]["message"] = "x: 1 of 3 rows are not good"
    finish(cluster, namespace, job["metadata"]["name"], "Failed")
    # The operator may have asked the store before it said so, and looked at the Job after it ended.
    eventually(lambda: "1 of 3 rows" in _reason(cluster, namespace, "Stalled", "SourceFailed")["message"])
    # Another source is another Job, at once.
    cluster.patch(
        DATASET, namespace, "train", {"spec": {"source": {"configMap": {"name": "mended", "key": "x"}}}}
    )
    eventually(lambda: len(cluster.all_of("Job", namespace)) == 2)
    store.datasets["train"] |= {"loaded": True, "records": 3, "message": None}
    eventually(lambda: _reason(cluster, namespace, "Uploaded", "SourceLoaded"))


def test_a_secret_is_given_to_a_job_only_with_its_owner_s_consent(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "stringData": {"AWS_ACCESS_KEY_ID": "k"}}
    secret["metadata"] = {"namespace": namespace, "name": "keys"}
    cluster.create(secret)
    bucket = {"uri": "s3://bucket/x", "credentialsSecretRef": {"name": "keys"}}
    cluster.create(reference_dataset(namespace, source={"objectStore": bucket}))
    stalled = eventually(lambda: _reason(cluster, namespace, "Stalled", "CredentialsNotUsable"))
    assert "modelwarden.dev/usable-by-models" in stalled["message"]
    assert cluster.all_of("Job", namespace) == []
    cluster.patch(
        "Secret", namespace, "keys", {"metadata": {"labels": {"modelwarden.dev/usable-by-models": "true"}}}
    )
    cluster.patch(DATASET, namespace, "train", {"spec": {"totalRecordCount": 3}})
    (job,) = eventually(lambda: cluster.all_of("Job", namespace))
    volumes = job["spec"]["template"]["spec"]["volumes"]
    assert next(v for v in volumes if v["name"] == "credentials")["secret"]["secretName"] == "keys"


def test_deleting_a_dataset_takes_its_job_and_leaves_the_store_alone(
    cluster: ClusterClient, namespace: str, store: StubCell
) -> None:
    cluster.create(reference_dataset(namespace, closed=True))
    name = f"train-profile-{HASH[:10]}"
    eventually(lambda: cluster.get("Secret", namespace, name))
    cluster.delete(DATASET, namespace, "train")
    eventually(lambda: cluster.get(DATASET, namespace, "train") is None)
    eventually(lambda: cluster.get("Job", namespace, name) is None, COLLECTED)
    eventually(lambda: cluster.get("Secret", namespace, name) is None, COLLECTED)
    assert store.datasets["train"]["state"] == "closed"


def _decoded(text: str) -> str:
    import base64

    return base64.b64decode(text).decode()


def _reason(cluster: ClusterClient, namespace: str, type_: str, reason: str) -> Any:
    found = cluster.condition(DATASET, namespace, "train", type_)
    assert found.get("reason") == reason, explained(cluster.get(DATASET, namespace, "train"))
    return found
