"""However a spec came to be, the children are those of a fresh model with that spec.

Random walks A → B → A over everything that may change; the reconcile runs in this process, against a real
API server, so that defaulting, ownership of fields and removal of fields are the real ones.
"""

import asyncio
import os
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cluster_client import ClusterClient
from model_factory import monitored_model
from operator_process import PATIENCE

from modelwarden.cluster.client import KubernetesCluster
from modelwarden.cluster.connection import connect
from modelwarden.reconcile.collaborators import Collaborators, Install, Rhythm
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.monitoredmodel.reconcile import ReconcileModel
from modelwarden.reconcile.ports import KINDS, Key, Silence
from testbed.apiserver import ApiServer

pytestmark = pytest.mark.api

WALKS = 200 if os.environ.get("MODELWARDEN_LONG") else 50
CHILDREN = ("ServiceAccount", "ConfigMap", "NetworkPolicy", "Service", "Deployment", "PersistentVolumeClaim")
_VARIES = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences")


class NoCells:
    """No store ever answers: what is applied must not depend on that."""

    async def status(self, _key: Key, _cell_key: str) -> Silence:
        return Silence("StoreUnreachable", "nobody is there")

    async def declare(self, *_: object) -> Silence:
        return Silence("StoreUnreachable", "nobody is there")


def test_a_walk_from_a_to_b_and_back_ends_where_a_alone_ends() -> None:
    """On an API server of its own: the common one has an operator at work."""
    with ApiServer() as api:
        cluster = ClusterClient(api.client)
        cluster.install_crds()
        asyncio.run(_walks(cluster, str(api.kubeconfig)))


async def _walks(cluster: ClusterClient, kubeconfig: str) -> None:
    chance = random.Random(20261121)
    connection = await connect("test", kubeconfig)
    client = KubernetesCluster(connection.client(), PATIENCE)
    install = Install(namespace="mw", secret=b"x" * 32, cell_image="modelwarden/model-server:1")
    given = Collaborators(client, NoCells(), install, Rhythm(1, 0, 60), _endpoint, lambda: datetime.now(UTC))
    reconcile = ReconcileModel(given)
    cluster.make_namespace("walked")
    cluster.make_namespace("fresh")
    try:
        for number in range(WALKS):
            name = f"m{number}"
            a, b = _spec(chance), _spec(chance)
            for spec, looks in ((a, 1), (b, 1), (a, 2)):
                await _settle(reconcile, cluster.apply(monitored_model("walked", name, **spec)), looks)
            await _settle(reconcile, cluster.apply(monitored_model("fresh", name, **a)), 2)
            walked, fresh = await _children(client, "walked", name), await _children(client, "fresh", name)
            assert walked == fresh, (a, b)
    finally:
        await client.close()


def _endpoint(_: Key) -> str:
    return "http://cell"


async def _settle(reconcile: ReconcileModel, live: dict[str, Any], looks: int) -> None:
    """Reconcile so often; the second time writes nothing to the children."""
    meta, memory = live["metadata"], dict[str, Any]()
    for _ in range(looks):
        visit = Visit(Key(meta["namespace"], meta["name"]), meta["uid"], fresh=True, memory=memory)
        outcome = await reconcile(visit)
        assert outcome.trouble is None, outcome.trouble
    assert looks == 1 or not memory["stand"].changed


def _spec(chance: random.Random) -> dict[str, Any]:
    """A random legal spec over all that may change in a living model."""
    spec: dict[str, Any] = {}
    if chance.random() < 0.5:
        spec["displayName"] = chance.choice(["One", "Two"])
    if chance.random() < 0.5:
        spec["lifecycle"] = chance.choice(["Active", "Archived"])
    if chance.random() < 0.6:
        spec["monitoring"] = {
            "window": chance.choice(["5m", "1d"]),
            "driftThreshold": chance.choice([0.1, 0.3]),
        }
    if chance.random() < 0.6:
        spec["ingest"] = {"sampling": {"share": chance.choice([0.5, 1])}}
    if chance.random() < 0.6:
        cpu, memory = chance.choice(["250m", "1", "1500m"]), chance.choice(["512Mi", "1Gi"])
        spec["store"] = {"resources": {"requests": {"cpu": cpu, "memory": memory}}}
        if chance.random() < 0.5:
            spec["store"]["resources"]["limits"] = {"memory": "2Gi"}
    if chance.random() < 0.8:
        spec["pod"] = _pod(chance)
    return spec


_ANY = {"matchLabels": {"a": "b"}}


def _pod(chance: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {
        "nodeSelector": {chance.choice(["disk", "zone"]): chance.choice(["a", "b"])},
        "tolerations": [
            {"key": "gpu", "operator": "Exists"},
            {"key": "gpu", "operator": "Equal", "value": "x"},
        ],
        "imagePullSecrets": [{"name": chance.choice(["pull", "other"])}],
        "priorityClassName": None,
        "env": [
            {"name": "HTTPS_PROXY", "value": chance.choice(["http://p:1", "http://p:2"])},
            {"name": "NO_PROXY", "value": "x"},
        ][: chance.randint(1, 2)],
        "caBundleRef": {"name": "ca"},
        "labels": {"team": chance.choice(["a", "b"])},
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {
                            "topologyKey": "zone",
                            "labelSelector": {"matchLabels": {"a": "b"}},
                        },
                    }
                ]
            }
        },
    }
    return {name: value for name, value in options.items() if value is not None and chance.random() < 0.5}


async def _children(client: KubernetesCluster, namespace: str, model: str) -> dict[str, Any]:
    """Children without what differs between two equal ones, identities of the namespace included."""
    found = {}
    for kind in CHILDREN:
        for live in await client.list(KINDS[kind], namespace, labels=f"modelwarden.dev/model={model}"):
            meta = {key: value for key, value in live["metadata"].items() if key not in _VARIES}
            meta["annotations"] = {k: v for k, v in meta.get("annotations", {}).items() if k.startswith("pv")}
            spec = {
                key: value for key, value in live.get("spec", {}).items() if not key.startswith("clusterIP")
            }
            text = repr((kind, meta, spec, sorted(live.get("data", {}).items())))
            found[f"{kind} {meta['name']}"] = _neutral(text, namespace)
    return {_neutral(name, namespace): value for name, value in found.items()}


def _neutral(text: str, namespace: str) -> str:
    text = text.replace(namespace, "NAMESPACE")
    text = re.sub(r'"generation":\d+', "", text)  # a walked model has been edited more often
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    return re.sub(r"\b[0-9a-f]{10}\b", "HASH", text)
