"""The chart grants exactly what the operator does: no verb too few, none too many.

An API server with an audit log watches a whole life (made, edited, mended, profiled, deleted with its data);
what it saw is compared with the rules of the rendered chart.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chart_install import Installed, install
from cluster_client import ClusterClient
from model_factory import enrichment, monitored_model, reference_dataset
from operator_process import eventually, operator
from stub_cells import StubCell, StubCells

from testbed.apiserver import ApiServer

pytestmark = pytest.mark.api

SYSTEM = "mw-system"
SHOP = "shop"
MODEL = "MonitoredModel"
Right = tuple[str, str, str]  # group, resource (with subresource), verb


@pytest.fixture(scope="module", params=["cluster", "namespaced"])
def audited(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What the operator was granted and what it did, for each scope of the chart's rights."""
    values = [f'rbac.scope="{request.param}"', "rbac.aggregate=false"]
    if request.param == "namespaced":
        values.append(f'watchNamespaces=["{SHOP}"]')
    with ApiServer(audit=True) as api, StubCells() as cells:
        cluster = ClusterClient(api.client)
        cluster.make_namespace(SYSTEM)
        cluster.make_namespace(SHOP)
        installed = install(api, SYSTEM, *values)
        _live(api, cluster, cells, installed, tmp_path_factory.mktemp("rights"))
        yield installed, _seen(api.audit_log, installed.account), request.param


def test_every_request_was_allowed(audited: Any) -> None:
    _, seen, _ = audited
    assert [entry for entry in seen if entry["code"] in (401, 403)] == []


def test_granted_and_used_are_the_same(audited: Any) -> None:
    installed, seen, _ = audited
    used = {(entry["group"], entry["resource"], entry["verb"]) for entry in seen if entry["resource"]}
    assert used == _granted(installed)


def test_no_wildcards_and_no_secret_is_ever_listed(audited: Any) -> None:
    installed, _, scope = audited
    for group, resource, verb in _granted(installed):
        assert "*" not in (group, resource, verb)
        assert resource != "secrets" or verb not in ("list", "watch", "delete"), scope


def test_a_namespaced_install_has_no_rights_outside_its_namespaces(audited: Any) -> None:
    _, seen, scope = audited
    if scope == "cluster":
        return
    assert {entry["namespace"] for entry in seen if entry["resource"]} == {SHOP, SYSTEM}


def _live(
    api: ApiServer, cluster: ClusterClient, cells: StubCells, installed: Installed, folder: Path
) -> None:
    """Everything that can happen to a model, once."""
    quick = {
        "MODELWARDEN_CELL_URL_TEMPLATE": cells.url_template,
        "MODELWARDEN_POLL_INTERVAL": "0.5",
        "MODELWARDEN_RESYNC": "5",
        "MODELWARDEN_DATA_FACTS_INTERVAL": "0",
    }
    with operator(installed.kubeconfig, folder, **(installed.environment | quick)):
        cluster.create(enrichment(SHOP))
        storage = {"persistentVolumeClaim": {"size": "1Gi"}, "deletionPolicy": "Delete"}
        cluster.create(monitored_model(SHOP, storage=storage))
        key, model_id = eventually(lambda: cluster.key_of(SHOP, "census"))
        cells.cells[SHOP, "census"] = StubCell(key, model_id, {"settingsGeneration": 99})
        cluster.create(reference_dataset(SHOP, closed=True))
        eventually(lambda: cluster.condition(MODEL, SHOP, "census", "Ready").get("status") == "True")
        eventually(
            lambda: [s for s in cluster.all_of("Secret", SHOP) if "-profile-" in s["metadata"]["name"]]
        )
        # A training that is due, and then is not any more.
        due = {"kind": "hotspots", "type": "Hotspots", "state": "Training", "due": True, "wanted": "ab" * 32}
        cells.cells[SHOP, "census"].report["enrichments"] = [due]
        name = f"census-train-hotspots-{'ab' * 4}"
        eventually(lambda: cluster.get("Secret", SHOP, name))
        eventually(lambda: cluster.get("Enrichment", SHOP, "spots")["status"]["state"] == "Training")
        cells.cells[SHOP, "census"].report["enrichments"] = [due | {"due": False, "wanted": None}]
        eventually(lambda: cluster.get("Job", SHOP, name) is None)
        # New settings, which the store's pod is to read at once.
        eventually(lambda: cluster.all_of("Pod", SHOP, "app.kubernetes.io/component=store"))
        cluster.patch(MODEL, SHOP, "census", {"spec": {"monitoring": {"driftThreshold": 0.5}}})
        eventually(lambda: "settings-hash" in str(cluster.all_of("Pod", SHOP)))
        # A server with everything that belongs to it, which then nobody asks for.
        cluster.create(enrichment(SHOP, "reasons", type="Explainability"))
        eventually(lambda: cluster.get("HorizontalPodAutoscaler", SHOP, "census-server"))
        cluster.patch("Enrichment", SHOP, "reasons", {"spec": {"enabled": False}})
        kinds = ("Deployment", "Service", "HorizontalPodAutoscaler", "NetworkPolicy")
        eventually(lambda: all(cluster.get(kind, SHOP, "census-server") is None for kind in kinds))
        # An identity that no pod reads any more, as an upgrade leaves one behind.
        _leave_an_old_identity(cluster)
        cluster.patch("Deployment", SHOP, "census", {"spec": {"replicas": 3}})
        eventually(lambda: cluster.get("Deployment", SHOP, "census")["spec"]["replicas"] == 1)
        eventually(lambda: cluster.get("ConfigMap", SHOP, "census-identity-0123456789") is None)
        cluster.delete(MODEL, SHOP, "census")
        eventually(lambda: cluster.get(MODEL, SHOP, "census") is None)


def _leave_an_old_identity(cluster: ClusterClient) -> None:
    current = next(
        config for config in cluster.all_of("ConfigMap", SHOP) if "-identity-" in config["metadata"]["name"]
    )
    meta = current["metadata"]
    kept = {name: meta[name] for name in ("namespace", "labels", "ownerReferences")}
    old = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": kept | {"name": "census-identity-0123456789"}}
    cluster.create(old | {"data": {"identity.json": "{}"}})


def _seen(log: Path, account: str) -> list[dict[str, Any]]:
    """The operator's requests, from the audit log."""
    user = "system:serviceaccount:" + account
    found = []
    # Others' requests are still written: what has no end yet is none of the operator's, which has ended.
    for line in log.read_text().rpartition("\n")[0].splitlines():
        event = json.loads(line)
        if event["user"]["username"] != user:
            continue
        about = event.get("objectRef") or {}
        resource = about.get("resource", "")
        if about.get("subresource"):
            resource += f"/{about['subresource']}"
        code = (event.get("responseStatus") or {}).get("code")
        verb = event["verb"]
        entry = {
            "group": about.get("apiGroup", ""),
            "resource": resource,
            "verb": verb,
            "namespace": about.get("namespace", ""),
            "code": code,
        }
        found.append(entry)
        # A server-side apply that makes the object needs `create` as well.
        if verb == "patch" and code == 201:
            found.append(entry | {"verb": "create"})
    return found


def _granted(installed: Installed) -> set[Right]:
    return {
        (group, resource, verb)
        for rule in installed.rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
