"""A model's server through a real API server: made, fed, changed by what concerns it, taken away."""

import base64
import json
from typing import Any

import pytest
from cluster_client import ClusterClient
from ended_jobs import finish
from model_factory import binary_attributes, enrichment, monitored_model
from operator_process import eventually
from server_worlds import HASH, SEED, SERVING, code
from stub_cells import StubCell

from modelwarden.resources.keys import verify_job_key

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

MODEL, ENRICHMENT = "MonitoredModel", "Enrichment"
KINDS = ("Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy")
EXPLAINS = {"kind": "explainability", "type": "Explainability"}
READY = EXPLAINS | {"state": "Ready", "reason": "Explaining", "message": "by linear: it was verified"}
POD = {"pod": "census-server-0", "planHash": "p"}


def pod_said(**of: Any) -> dict[str, Any]:
    return POD | {"codes": [{"role": "explain", "state": "Ready", "codeHash": "c"} | of]}


def test_explanations_are_turned_on_sized_fed_and_turned_off_without_touching_the_store(
    cluster: ClusterClient, namespace: str, answer: Any
) -> None:
    cluster.create(monitored_model(namespace))
    store: StubCell = answer(namespace)
    eventually(lambda: _is(cluster, namespace, "Ready", "True"))
    generation = cluster.get("Deployment", namespace, "census")["metadata"]["generation"]
    body = SEED | {"requirements": {"configMap": {"name": "reqs", "key": "r.txt"}}, "project": {"upload": {}}}
    cluster.create(enrichment(namespace, "reasons", type="Explainability", explainability=body))
    server = eventually(lambda: cluster.get("Deployment", namespace, "census-server"))
    assert server["spec"]["replicas"] == 1  # the API server's own default: nobody has sent it
    scale = cluster.get("HorizontalPodAutoscaler", namespace, "census-server")
    assert scale["spec"]["maxReplicas"] == 30
    told = _settings(cluster, namespace)["server"]
    assert told["url"] == f"http://census-server.{namespace}.svc:8080"
    assert told["assets"]["explain-project"] == "upload"

    # Its files and packages: a Job each, with a key for that alone; then the failure of one, told.
    asset = {
        "slot": "explain-requirements",
        "sourceHash": told["assets"]["explain-requirements"],
        "due": True,
    }
    packages = {"hash": HASH, "roles": ["explain"], "state": "Due", "due": True}
    store.report |= {
        "server": {"assets": [asset], "environments": [packages], "waitingFor": ["packages"]},
        "enrichments": [EXPLAINS | {"state": "Pending", "reason": "Waiting"}],
    }
    installs = f"census-environment-{HASH[:8]}"
    key = eventually(lambda: cluster.get("Secret", namespace, installs))["data"]["key"]
    claim = verify_job_key(store.key, base64.b64decode(key).decode())
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("environment", HASH)
    eventually(lambda: [j for j in _jobs(cluster, namespace) if j.startswith("census-assets-explain-req")])
    finish(cluster, namespace, installs, "Failed")
    packages |= {"state": "Failed", "message": "pip says:\nERROR: ResolutionImpossible"}

    def says_why() -> bool:
        """The Job's end may be seen before what the store says of it."""
        failed = _is(cluster, namespace, "EnvironmentReady", "False", "InstallFailed")
        return "ERROR: ResolutionImpossible" in failed["message"]

    eventually(says_why)
    eventually(lambda: cluster.get(ENRICHMENT, namespace, "reasons")["status"]["state"] == "Failed")

    # All is there: rows are explained, and the Python that runs is another one than asked for.
    asset |= {"due": False, "state": "Present"}
    packages |= {"due": False, "state": "Ready", "message": ""}
    store.report["server"] |= {"pods": [pod_said()], "waitingFor": []}
    store.report["enrichments"] = [READY]
    eventually(lambda: _is(cluster, namespace, "ExplainerReady", "True", "Explaining"))
    assert "3.8" in eventually(lambda: _is(cluster, namespace, "EnvironmentReady", "True"))["message"]
    eventually(
        lambda: cluster.condition(ENRICHMENT, namespace, "reasons", "ExplainerReady").get("status") == "True"
    )

    # What sizes the pods is the server's business, what is edited by hand is mended, the scaler's is kept.
    smaller = {"spec": {"explainability": {"modelServerMaxReplicas": 4}}}
    cluster.patch(ENRICHMENT, namespace, "reasons", smaller)
    eventually(
        lambda: cluster.get("HorizontalPodAutoscaler", namespace, "census-server")["spec"]["maxReplicas"] == 4
    )
    template = cluster.get("Deployment", namespace, "census-server")["spec"]["template"]
    assert template == server["spec"]["template"]
    cluster.patch("Deployment", namespace, "census-server", {"spec": {"replicas": 3}})
    cluster.delete("Service", namespace, "census-server")
    eventually(lambda: cluster.get("Service", namespace, "census-server"))
    assert cluster.get("Deployment", namespace, "census-server")["spec"]["replicas"] == 3

    cluster.patch(ENRICHMENT, namespace, "reasons", {"spec": {"enabled": False}})
    eventually(lambda: all(cluster.get(kind, namespace, "census-server") is None for kind in KINDS))
    eventually(lambda: "url" not in _settings(cluster, namespace)["server"])
    assert cluster.get("Deployment", namespace, "census")["metadata"]["generation"] == generation


def test_a_served_model_is_ready_when_it_predicts_and_is_given_its_attributes_later(
    cluster: ClusterClient, namespace: str, answer: Any
) -> None:
    body = monitored_model(namespace, serving=SERVING)
    attributes = {name: body["spec"].pop(name) for name in ("attributes", "inputType", "outputType")}
    cluster.create(body)
    store: StubCell = answer(namespace, server={})
    eventually(lambda: _is(cluster, namespace, "Monitored", "False", "NoAttributes"))
    assert not _is(cluster, namespace, "Ready", "True")
    store.report["server"] = {"pods": [pod_said(role="serve", state="Failed", message="no such file")]}
    assert "no such file" in eventually(lambda: _is(cluster, namespace, "Stalled", "True"))["message"]
    store.report["server"] = {"pods": [pod_said(role="serve")]}
    eventually(lambda: _is(cluster, namespace, "Ready", "True"))
    url = cluster.get(MODEL, namespace, "census")["status"]["server"]["predictUrl"]
    assert url.endswith(f"/v1/{namespace}/census/predict")
    before = cluster.get("Deployment", namespace, "census")["metadata"]["generation"]
    cluster.patch(MODEL, namespace, "census", {"spec": attributes})
    eventually(lambda: _is(cluster, namespace, "Monitored", "True"))
    assert cluster.get("Deployment", namespace, "census")["metadata"]["generation"] > before


def test_attributes_that_do_not_fit_leave_what_serves_as_it_is(
    cluster: ClusterClient, namespace: str, answer: Any
) -> None:
    body = monitored_model(namespace, serving=SERVING)
    types = {name: body["spec"].pop(name) for name in ("attributes", "inputType", "outputType")}
    cluster.create(body)
    answer(namespace, server={"pods": [code(role="serve")]})
    eventually(lambda: _is(cluster, namespace, "StoreAvailable", "True"))
    names = ("census", "census-server")
    before = [cluster.get("Deployment", namespace, name)["metadata"] for name in names]
    broken = binary_attributes()
    broken[2]["attributeLink"] = "nobody"
    cluster.patch(MODEL, namespace, "census", {"spec": types | {"attributes": broken}})
    eventually(lambda: _is(cluster, namespace, "Stalled", "True", "InvalidAttributes"))
    assert _is(cluster, namespace, "StoreAvailable", "True")
    after = [cluster.get("Deployment", namespace, name)["metadata"] for name in names]
    assert [(m["uid"], m["generation"]) for m in after] == [(m["uid"], m["generation"]) for m in before]


def _is(
    cluster: ClusterClient, namespace: str, type_: str, status: str, reason: str | None = None
) -> dict[str, Any]:
    """The model's condition, if it is so."""
    found = cluster.condition(MODEL, namespace, "census", type_)
    fits = found.get("status") == status and reason in (None, found.get("reason"))
    return found if fits else {}


def _settings(cluster: ClusterClient, namespace: str) -> Any:
    config = cluster.get("ConfigMap", namespace, "census-settings")
    return json.loads(config["data"]["settings.json"])


def _jobs(cluster: ClusterClient, namespace: str) -> list[str]:
    return [job["metadata"]["name"] for job in cluster.all_of("Job", namespace)]
