"""No more than needed: no write without a reason, one instance at a time, and a word when it is ill."""

import json
from pathlib import Path
from typing import Any

import pytest
from cluster_client import ClusterClient
from model_factory import enrichment, monitored_model, reference_dataset
from operator_process import OperatorProcess, eventually, operator
from recording_proxy import Call, RecordingProxy, harmless
from stub_cells import StubCell, StubCells

from testbed.apiserver import ApiServer

pytestmark = pytest.mark.api

MODEL = "MonitoredModel"


@pytest.fixture
def api_server(apart_server: ApiServer) -> ApiServer:
    """The one without the common operator."""
    return apart_server


@pytest.fixture
def cluster(apart: ClusterClient) -> ClusterClient:
    return apart


def test_ten_rounds_without_a_change_write_nothing(
    cluster: ClusterClient, cells: StubCells, namespace: str, own: str, folder: Path, proxy: RecordingProxy
) -> None:
    settings = {
        "MODELWARDEN_NAMESPACE": own,
        "MODELWARDEN_WATCH_NAMESPACES": namespace,
        "MODELWARDEN_CELL_URL_TEMPLATE": cells.url_template,
        "MODELWARDEN_RESYNC": "0.5",
    }
    with operator(proxy.kubeconfig(folder / "kubeconfig"), folder, **settings) as process:
        cluster.create(monitored_model(namespace))
        cluster.create(reference_dataset(namespace))
        cluster.create(enrichment(namespace))
        key, model_id = eventually(lambda: cluster.key_of(namespace, "census"))
        due = {"kind": "hotspots", "type": "Hotspots", "state": "Training", "due": True, "wanted": "ab" * 32}
        report = {"settingsGeneration": 1, "enrichments": [due]}
        cells.cells[namespace, "census"] = StubCell(key, model_id, report)
        eventually(lambda: cluster.condition(MODEL, namespace, "census", "Ready").get("status") == "True")
        eventually(lambda: _reconciles(process, "ReferenceDataset") >= 5)
        # What the controllers say of what was made arrives when they get to it, and is a reason to write.
        eventually(lambda: cluster.condition(MODEL, namespace, "census", "Reconciling")["status"] == "False")
        eventually(lambda: [job["status"]["active"] for job in cluster.all_of("Job", namespace)] == [1])
        eventually(lambda: _quiet_for(process, proxy, 3))
        before = cluster.get(MODEL, namespace, "census")["metadata"]["resourceVersion"]
        writes, looks = len(proxy.writes()), _reconciles(process, MODEL)
        eventually(lambda: _reconciles(process, MODEL) >= looks + 10)
        assert proxy.writes()[writes:] == []
        assert cluster.get(MODEL, namespace, "census")["metadata"]["resourceVersion"] == before


def test_an_enrichment_is_in_its_model_s_settings_without_waiting_for_a_resync(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, own: str, folder: Path
) -> None:
    settings = {"MODELWARDEN_NAMESPACE": own, "MODELWARDEN_WATCH_NAMESPACES": namespace}
    settings["MODELWARDEN_RESYNC"] = "600"  # far longer than anything is waited for
    with operator(api_server.kubeconfig, folder, **settings):
        cluster.create(monitored_model(namespace))
        eventually(lambda: _hotspots(cluster, namespace)["enabled"] is False)
        cluster.create(enrichment(namespace))
        eventually(lambda: _hotspots(cluster, namespace)["enabled"] is True)
        cluster.patch("Enrichment", namespace, "spots", {"spec": {"enabled": False}})
        eventually(lambda: _hotspots(cluster, namespace)["enabled"] is False)
        cluster.patch("Enrichment", namespace, "spots", {"spec": {"enabled": True}})
        eventually(lambda: _hotspots(cluster, namespace)["enabled"] is True)
        cluster.delete("Enrichment", namespace, "spots")
        eventually(lambda: _hotspots(cluster, namespace)["enabled"] is False)


def test_an_operator_that_is_started_again_writes_nothing_about_what_is_as_it_should_be(
    cluster: ClusterClient, cells: StubCells, namespace: str, own: str, folder: Path, proxy: RecordingProxy
) -> None:
    settings = {
        "MODELWARDEN_NAMESPACE": own,
        "MODELWARDEN_WATCH_NAMESPACES": namespace,
        "MODELWARDEN_CELL_URL_TEMPLATE": cells.url_template,
    }
    kubeconfig = proxy.kubeconfig(folder / "kubeconfig")
    with operator(kubeconfig, folder, **settings):
        cluster.create(monitored_model(namespace))
        key, model_id = eventually(lambda: cluster.key_of(namespace, "census"))
        cells.cells[namespace, "census"] = StubCell(key, model_id, {"settingsGeneration": 1})
        eventually(lambda: cluster.condition(MODEL, namespace, "census", "Ready").get("status") == "True")
        eventually(lambda: cluster.condition(MODEL, namespace, "census", "Reconciling")["status"] == "False")
    written = len(proxy.writes())
    with operator(kubeconfig, folder, **settings) as process:
        eventually(lambda: _reconciles(process, MODEL) >= 3)
    assert proxy.writes()[written:] == []


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (409, {}, {"reason": "Conflict"}),
        (429, {"Retry-After": "1"}, {}),
        (500, {}, {}),
        (503, {}, {}),
    ],
)
def test_an_api_server_that_refuses_now_and_then_delays_and_does_not_confuse(
    cluster: ClusterClient,
    namespace: str,
    own: str,
    folder: Path,
    proxy: RecordingProxy,
    status: int,
    headers: dict[str, str],
    body: dict[str, str],
) -> None:
    refused: list[Call] = []

    def every_third(call: Call) -> tuple[int, dict[str, str], bytes] | None:
        if call.is_write and "/events" not in call.path and len(proxy.writes()) % 3 == 0 and len(refused) < 6:
            refused.append(call)
            return status, headers, json.dumps(body).encode()
        return None

    settings = {"MODELWARDEN_NAMESPACE": own, "MODELWARDEN_WATCH_NAMESPACES": namespace}
    with operator(proxy.kubeconfig(folder / "kubeconfig"), folder, **settings) as process:
        proxy.harm = every_third
        cluster.create(monitored_model(namespace))
        eventually(lambda: cluster.get("Deployment", namespace, "census"))
        eventually(lambda: len(refused) == 6 or _reconciles(process, MODEL) > 10)
        proxy.harm = harmless
        eventually(
            lambda: (
                cluster.condition(MODEL, namespace, "census", "Ready").get("reason")
                in ("Starting", "StoreUnreachable")
            )
        )
    assert len(refused) >= 3
    assert len(proxy.writes()) < 80
    if status == 409:
        told = json.dumps(cluster.get(MODEL, namespace, "census")["status"]) + json.dumps(
            cluster.events(MODEL, namespace, "census")
        )
        assert "Conflict" not in told


def test_an_api_server_that_restarts_is_found_again(
    folder: Path,
) -> None:
    # What is found again is found by a watch, or not at all.
    settings = {"MODELWARDEN_NAMESPACE": "mw", "MODELWARDEN_RESYNC": "600"}
    with ApiServer() as server:
        cluster = ClusterClient(server.client)
        cluster.install_crds()
        for namespace in ("mw", "shop"):
            cluster.make_namespace(namespace)
        with operator(server.kubeconfig, folder, **settings) as process:
            server.restart_apiserver()
            cluster.create(monitored_model("shop"))
            eventually(lambda: cluster.get("Deployment", "shop", "census"))
            cluster.delete("Service", "shop", "census")
            eventually(lambda: cluster.get("Service", "shop", "census"))
            assert process.running


def test_a_second_operator_waits_until_the_first_has_gone(
    api_server: ApiServer, cluster: ClusterClient, namespace: str, own: str, folder: Path
) -> None:
    common = {
        "MODELWARDEN_NAMESPACE": own,
        "MODELWARDEN_WATCH_NAMESPACES": namespace,
        "MODELWARDEN_LEASE_DURATION": "30",
    }
    (folder / "second").mkdir()
    with operator(api_server.kubeconfig, folder, **common, MODELWARDEN_IDENTITY="first") as first:
        log = folder / "second" / "operator.log"
        second = OperatorProcess(
            api_server.kubeconfig, log, common | {"MODELWARDEN_IDENTITY": "second"}
        ).start()
        try:
            eventually(lambda: second.probe("/readyz") == (503, "waiting for the lease\n"))
            cluster.create(monitored_model(namespace))
            eventually(lambda: cluster.get("Deployment", namespace, "census"))
            assert second.probe("/readyz")[0] == 503
            assert not any("applied" in str(line["message"]) for line in second.lines())
            assert first.stop() == 0  # a clean end gives the lease back: the second need not wait for it
            second.wait_ready()
            cluster.delete("Service", namespace, "census")
            eventually(lambda: cluster.get("Service", namespace, "census"))
        finally:
            second.stop()


def test_an_operator_that_loses_its_lease_ends_at_once(
    api_server: ApiServer, cluster: ClusterClient, own: str, namespace: str, folder: Path
) -> None:
    settings = {"MODELWARDEN_NAMESPACE": own, "MODELWARDEN_WATCH_NAMESPACES": namespace}
    with operator(api_server.kubeconfig, folder, **settings, MODELWARDEN_LEASE_DURATION="15") as process:
        thief = {"spec": {"holderIdentity": "somebody-else"}}
        cluster.patch("Lease", own, "modelwarden-operator", thief)
        eventually(lambda: not process.running)
        assert process.process is not None
        assert process.process.returncode == 1


def test_liveness_fails_while_the_loop_is_blocked_and_comes_back(
    api_server: ApiServer, own: str, namespace: str, folder: Path
) -> None:
    block = folder / "block"
    settings = {
        "MODELWARDEN_NAMESPACE": own,
        "MODELWARDEN_WATCH_NAMESPACES": namespace,
        "MODELWARDEN_STUCK_AFTER": "2",
        "LOOP_WATCH_BLOCK": str(block),
    }
    with operator(api_server.kubeconfig, folder, **settings) as process:
        eventually(lambda: process.probe("/healthz") == (200, "ok\n"))
        block.touch()
        ill = eventually(lambda: _unhealthy(process))
        assert "event loop" in ill
        block.unlink()
        eventually(lambda: process.probe("/healthz")[0] == 200)


def _unhealthy(process: OperatorProcess) -> str:
    status, body = process.probe("/healthz")
    return body if status == 503 else ""


def test_an_operator_without_its_custom_resources_waits_for_them(
    folder: Path,
) -> None:
    with ApiServer() as bare:
        client = ClusterClient(bare.client)
        client.make_namespace("mw")
        process = OperatorProcess(
            bare.kubeconfig, folder / "operator.log", {"MODELWARDEN_NAMESPACE": "mw"}
        ).start()
        try:
            waiting = "waiting for the custom resource definitions\n"
            eventually(lambda: process.probe("/readyz") == (503, waiting))
            client.install_crds()
            process.wait_ready()
            client.make_namespace("shop")
            client.create(monitored_model("shop"))
            eventually(lambda: client.get("Deployment", "shop", "census"))
        finally:
            process.stop()


def _hotspots(cluster: ClusterClient, namespace: str) -> Any:
    config = cluster.get("ConfigMap", namespace, "census-settings")
    return json.loads(config["data"]["settings.json"])["enrichments"]["hotspots"]


def _quiet_for(process: OperatorProcess, proxy: RecordingProxy, rounds: int) -> bool:
    """Whether the last rounds wrote nothing: what the start sets going has settled."""
    writes, looks = len(proxy.writes()), _reconciles(process, MODEL)
    eventually(lambda: _reconciles(process, MODEL) >= looks + rounds)
    return len(proxy.writes()) == writes


def _reconciles(process: OperatorProcess, kind: str) -> float:
    text = process.probe("/metrics")[1]
    counts = [
        line for line in text.splitlines() if line.startswith(f'modelwarden_reconcile_total{{kind="{kind}"')
    ]
    return sum(float(line.rpartition(" ")[2]) for line in counts)
