"""Kill -9 after every write: the operator that comes back goes on, and ends where an undisturbed one ends.

What the papers call an intermediate-state test. Compared are the objects, their fields that do not vary, and
how often each was made: delete-and-make-again leaves the same end state and is still wrong.
"""

import os
import re
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster_client import ClusterClient
from model_factory import enrichment, monitored_model, reference_dataset
from operator_process import OperatorProcess, eventually
from recording_proxy import Call, RecordingProxy
from stub_cells import StubCell, StubCells

from testbed.apiserver import ApiServer

# Each kill costs the start of a process, and the undisturbed life counts with the first test.
pytestmark = [pytest.mark.api, pytest.mark.timeout(1800)]

KINDS = (
    "MonitoredModel", "ReferenceDataset", "Enrichment", "ServiceAccount", "Secret", "ConfigMap",
    "PersistentVolumeClaim", "NetworkPolicy", "Service", "Deployment", "Job",
)  # fmt: skip
EVERY = 0
_HOTSPOTS = {"kind": "hotspots", "type": "Hotspots", "wanted": "ab" * 32}
_DUE = _HOTSPOTS | {"state": "Training", "reason": "Training", "due": True}
_IN_USE = _HOTSPOTS | {"state": "Ready", "installed": "ab" * 32, "artefactHash": "ef" * 32}
# One life in which each write is followed by a kill covers every prefix; the long run adds one kill a life.
POINTS = [EVERY, *range(1, 20)] if os.environ.get("MODELWARDEN_LONG") else [EVERY]
_VARIES = {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}


class Life:
    """One namespace in which a model with a dataset and an Enrichment is brought up through a proxy, with a
    kill on the way.
    """

    def __init__(self, api: ApiServer, cluster: ClusterClient, cells: StubCells, folder: Path) -> None:
        self.namespace = cluster.make_namespace(f"life-{uuid.uuid4().hex[:8]}")
        self._own = cluster.make_namespace(f"mw-{uuid.uuid4().hex[:8]}")
        self._api, self._cluster, self._cells = api, cluster, cells
        self._folder = folder / self.namespace
        self._folder.mkdir()

    def run(self, kill: Callable[[int], bool]) -> tuple[dict[str, Any], Counter[str]]:
        """Objects at the end, and how often each was created. `kill(n)`: kill after the nth write?"""
        self._secret()
        with RecordingProxy(self._api) as proxy:
            settings = {
                "MODELWARDEN_NAMESPACE": self._own,
                "MODELWARDEN_WATCH_NAMESPACES": self.namespace,
                "MODELWARDEN_CELL_URL_TEMPLATE": self._cells.url_template,
            }
            kubeconfig = proxy.kubeconfig(self._folder / "kubeconfig")
            process = OperatorProcess(kubeconfig, self._folder / "operator.log", settings)
            proxy.after = _killing(proxy, process, kill)
            self._cluster.create(monitored_model(self.namespace))
            self._cluster.create(reference_dataset(self.namespace, closed=True))
            self._cluster.create(enrichment(self.namespace))
            process.start()
            try:
                self._come_up(process)
                assert not process.complaints(), process.complaints()
                return self._objects(), _creations(proxy)
            finally:
                if process.running:
                    process.stop()
                self._cluster.client.request("DELETE", f"/api/v1/namespaces/{self.namespace}")
                # Nobody runs who would take the finalizer off.
                self._cluster.patch(
                    "MonitoredModel", self.namespace, "census", {"metadata": {"finalizers": None}}
                )

    def _secret(self) -> None:
        """The same install secret for each life, so that the keys can be compared."""
        self._cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": self._own, "name": "modelwarden-install"},
                "data": {"secret": "c2FtZSBzZWNyZXQgZm9yIGVhY2ggbGlmZQ=="},
            }
        )

    def _come_up(self, process: OperatorProcess) -> None:
        def done() -> bool:
            if not process.running:
                process.start()
            self._answer()
            wanted = (
                ("MonitoredModel", "census", "Ready"),
                ("MonitoredModel", "census", "ReferenceLoaded"),
                ("ReferenceDataset", "train", "Ready"),
                ("Enrichment", "spots", "Ready"),
            )
            # Nothing is compared before the controllers of the cluster have caught up as well.
            settled = [(kind, name, "Reconciling") for kind, name, _ in wanted]
            found = [self._cluster.condition(kind, self.namespace, *rest) for kind, *rest in wanted]
            quiet = [self._cluster.condition(kind, self.namespace, *rest) for kind, *rest in settled]
            return all(condition.get("status") == "True" for condition in found) and all(
                condition.get("status") == "False" for condition in quiet
            )

        eventually(done, 800, lambda: process.log.read_text()[-3000:])

    def _answer(self) -> None:
        """A store comes up as soon as there is a Deployment; it has a profile, and then what is trained, as
        soon as the Job for it has a key.
        """
        at = (self.namespace, "census")
        if at not in self._cells.cells and self._cluster.get("Deployment", *at):
            key, model_id = self._cluster.key_of(*at)
            self._cells.cells[at] = StubCell(key, model_id, {"settingsGeneration": 1})
        keys = [secret["metadata"]["name"] for secret in self._cluster.all_of("Secret", self.namespace)]
        if any("-profile-" in name for name in keys):
            cell = self._cells.cells[at]
            cell.datasets["train"] |= {"state": "profiled", "profileHash": "cd" * 32}
            trained = any("-train-" in name for name in keys)
            cell.report |= {"activeReference": "train", "enrichments": [_IN_USE if trained else _DUE]}

    def _objects(self) -> dict[str, Any]:
        found = {}
        for kind in KINDS:
            for live in self._cluster.all_of(kind, self.namespace):
                if live["metadata"]["name"] in ("kube-root-ca.crt", "default"):
                    continue
                name = _without_hashes(live["metadata"]["name"])
                found[f"{kind}/{name}"] = _steady(live, (self.namespace, self._own))
        return found


@pytest.fixture(scope="module")
def undisturbed(
    apart_server: ApiServer, apart: ClusterClient, cells: StubCells, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Counter[str]]:
    """Where a life ends in which nothing happens."""
    life = Life(apart_server, apart, cells, tmp_path_factory.mktemp("undisturbed"))
    return life.run(_never)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: f"write-{point}" if point else "every-write")
def test_an_operator_killed_after_a_write_ends_where_an_undisturbed_one_does(
    apart_server: ApiServer,
    apart: ClusterClient,
    cells: StubCells,
    tmp_path: Path,
    undisturbed: Any,
    point: int,
) -> None:
    kills = []

    def kill(number: int) -> bool:
        if point not in (EVERY, number):
            return False
        kills.append(number)
        return True

    lived = Life(apart_server, apart, cells, tmp_path).run(kill)
    assert len(kills) >= (12 if point == EVERY else 1)
    _same(lived, undisturbed)


def _never(number: int) -> bool:
    return False


def _same(lived: Any, undisturbed: Any) -> None:
    objects, made = lived
    expected_objects, expected_made = undisturbed
    assert objects.keys() == expected_objects.keys()
    for name, live in objects.items():
        assert live == expected_objects[name], name
    assert made == expected_made


def _killing(
    proxy: RecordingProxy, process: OperatorProcess, kill: Callable[[int], bool]
) -> Callable[[Call], None]:
    """Kill the operator when the API server has carried out a write, before it hears of it."""

    def maybe(call: Call) -> None:
        if process.running and kill(len(proxy.writes())):
            process.kill()

    return maybe


def _creations(proxy: RecordingProxy) -> Counter[str]:
    """How often Jobs and Secrets of Jobs were made; what is applied is made at most once by nature."""
    posts = [call.path for call in proxy.writes() if call.method == "POST" and "/events" not in call.path]
    return Counter(path.partition("?")[0].rpartition("/")[2] for path in posts)


def _steady(live: dict[str, Any], namespaces: tuple[str, str]) -> Any:
    """An object without what differs between two equal lives."""
    kept = {key: value for key, value in live.items() if key != "status"}
    meta = {key: value for key, value in live["metadata"].items() if key not in _VARIES}
    meta["ownerReferences"] = [owner | {"uid": ""} for owner in meta.get("ownerReferences", [])]
    kept["metadata"] = meta
    conditions = (live.get("status") or {}).get("conditions") or []
    kept["conditions"] = sorted((c["type"], c["status"], c["reason"]) for c in conditions if "reason" in c)
    if "data" in kept:
        kept["data"] = sorted(
            kept["data"]
        )  # the model's id, and so the key, is another one in each namespace
    for field in ("clusterIP", "clusterIPs", "selector"):
        (kept.get("spec") or {}).pop(field, None)
    text = repr(kept)
    for name in namespaces:
        text = text.replace(name, "NAMESPACE")
    return _without_hashes(text)


def _without_hashes(text: str) -> str:
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    return re.sub(r"\b[0-9a-f]{10,16}\b", "HASH", text)
