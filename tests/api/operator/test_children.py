"""Children stay what the model says: deleted ones come back, edited ones are mended, foreign ones stay."""

from typing import Any

import pytest
from cluster_client import COLLECTED, ClusterClient, explained
from model_factory import monitored_model
from operator_process import OperatorProcess, eventually

from modelwarden.resources.cell import short_hash

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("running")]

MODEL = "MonitoredModel"
CHILDREN = [
    ("ServiceAccount", "census"),
    ("Secret", "census-key"),
    ("ConfigMap", "census-settings"),
    ("PersistentVolumeClaim", "census-data"),
    ("NetworkPolicy", "census"),
    ("Service", "census"),
    ("Deployment", "census"),
]


@pytest.fixture
def model(cluster: ClusterClient, namespace: str, answer: Any) -> str:
    """A model whose store answers; its namespace."""
    cluster.create(monitored_model(namespace))
    answer(namespace)
    eventually(lambda: cluster.condition(MODEL, namespace, "census", "Ready").get("status") == "True")
    return namespace


def test_every_child_has_our_labels_and_only_the_claim_has_no_owner(
    cluster: ClusterClient, model: str
) -> None:
    uid = cluster.get(MODEL, model, "census")["metadata"]["uid"]
    for kind, name in CHILDREN:
        meta = cluster.get(kind, model, name)["metadata"]
        assert meta["labels"]["modelwarden.dev/model"] == "census", kind
        owners = [owner["uid"] for owner in meta.get("ownerReferences", [])]
        assert owners == ([] if kind == "PersistentVolumeClaim" else [uid]), kind


@pytest.mark.parametrize(("kind", "name"), CHILDREN)
def test_a_child_that_is_deleted_by_hand_comes_back(
    cluster: ClusterClient, model: str, kind: str, name: str
) -> None:
    before = cluster.get(kind, model, name)["metadata"]["uid"]
    cluster.delete(kind, model, name)

    def back() -> bool:
        live = cluster.get(kind, model, name)
        return live is not None and live["metadata"]["uid"] != before

    if kind == "PersistentVolumeClaim":
        # The claim is in use by a pod, so the API server only marks it; it goes when the pod goes.
        cluster.delete("Deployment", model, "census")
    eventually(back, COLLECTED)


@pytest.mark.parametrize(
    ("kind", "name", "edit", "restored"),
    [
        ("Deployment", "census", {"spec": {"replicas": 3}}, lambda o: o["spec"]["replicas"] == 1),
        (
            "Deployment",
            "census",
            {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
            lambda o: o["spec"]["template"]["spec"]["automountServiceAccountToken"] is False,
        ),
        ("Service", "census", {"spec": {"type": "NodePort"}}, lambda o: o["spec"]["type"] == "ClusterIP"),
        (
            "NetworkPolicy",
            "census",
            {"spec": {"ingress": [{}]}},
            lambda o: "from" in o["spec"]["ingress"][0],
        ),
        (
            "ConfigMap",
            "census-settings",
            {"data": {"settings.json": "{}"}},
            lambda o: o["data"]["settings.json"] != "{}",
        ),
        (
            "ServiceAccount",
            "census",
            {"automountServiceAccountToken": True},
            lambda o: o["automountServiceAccountToken"] is False,
        ),
        ("Secret", "census-key", {"data": {"key": "AAAA"}}, lambda o: o["data"]["key"] != "AAAA"),
        (
            "Service",
            "census",
            {"metadata": {"labels": {"modelwarden.dev/model": "other"}}},
            lambda o: o["metadata"]["labels"]["modelwarden.dev/model"] == "census",
        ),
    ],
)
def test_an_owned_field_that_is_edited_by_hand_is_restored(
    cluster: ClusterClient, model: str, kind: str, name: str, edit: dict[str, Any], restored: Any
) -> None:
    edited = cluster.patch(kind, model, name, edit)
    assert not restored(edited)
    eventually(lambda: restored(cluster.get(kind, model, name)))


def test_what_others_add_beside_our_fields_is_kept(
    cluster: ClusterClient, model: str, running: OperatorProcess
) -> None:
    theirs = {"metadata": {"annotations": {"other.example/note": "kept"}}, "spec": {"minReadySeconds": 7}}
    cluster.patch("Deployment", model, "census", theirs)
    # A change of ours makes an apply over the edited object certain.
    cluster.patch(MODEL, model, "census", {"spec": {"pod": {"nodeSelector": {"disk": "fast"}}}})
    live = eventually(lambda: _with_selector(cluster, model, {"disk": "fast"}))
    assert live["metadata"]["annotations"]["other.example/note"] == "kept"
    assert live["spec"]["minReadySeconds"] == 7


def test_removing_an_optional_field_of_the_spec_removes_its_effect(
    cluster: ClusterClient, model: str
) -> None:
    pod = {
        "nodeSelector": {"disk": "fast"},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "labels": {"team": "risk"},
    }
    cluster.patch(MODEL, model, "census", {"spec": {"pod": pod}})
    with_options = eventually(lambda: _with_selector(cluster, model, {"disk": "fast"}))
    template = with_options["spec"]["template"]
    assert template["spec"]["containers"][0]["env"][0]["name"] == "HTTPS_PROXY"
    assert template["metadata"]["labels"]["team"] == "risk"
    cluster.patch(MODEL, model, "census", {"spec": {"pod": None}})
    without = eventually(lambda: _with_selector(cluster, model, None))
    assert "env" not in without["spec"]["template"]["spec"]["containers"][0]
    assert "team" not in without["spec"]["template"]["metadata"]["labels"]


def test_labels_that_gitops_tools_put_on_the_model_do_not_reach_its_children(
    cluster: ClusterClient, namespace: str
) -> None:
    manifest = monitored_model(namespace)
    marks = {
        "app.kubernetes.io/instance": "argo-app",
        "kustomize.toolkit.fluxcd.io/name": "flux",
        "team": "risk",
    }
    manifest["metadata"] |= {"labels": marks, "annotations": {"argocd.argoproj.io/tracking-id": "x"}}
    cluster.create(manifest)
    eventually(lambda: cluster.get("Deployment", namespace, "census"))
    for kind, name in CHILDREN:
        meta = cluster.get(kind, namespace, name)["metadata"]
        assert not marks.keys() & meta["labels"].keys(), kind
        assert "argocd.argoproj.io/tracking-id" not in meta.get("annotations", {}), kind


@pytest.mark.parametrize(("kind", "name"), CHILDREN)
def test_an_object_that_is_not_ours_is_never_seized(
    cluster: ClusterClient, namespace: str, kind: str, name: str
) -> None:
    foreign = _foreign(kind, namespace, name)
    before = cluster.create(foreign)
    cluster.create(monitored_model(namespace))
    stalled = eventually(lambda: _stalled(cluster, namespace, "NameTaken"))
    assert f"{kind} {name}" in stalled["message"]
    after = cluster.get(kind, namespace, name)
    assert after["metadata"].get("labels") == before["metadata"].get("labels")
    if kind != "Service":
        # Whatever the store would mount or run behind is in doubt, so it is not started.
        assert kind == "Deployment" or cluster.get("Deployment", namespace, "census") is None
    cluster.delete(kind, namespace, name)
    eventually(lambda: cluster.get("Deployment", namespace, "census"), COLLECTED)
    eventually(lambda: cluster.condition(MODEL, namespace, "census", "Stalled")["status"] == "False")


def test_editing_a_threshold_changes_the_settings_and_restarts_nothing(
    cluster: ClusterClient, model: str
) -> None:
    before = cluster.get("Deployment", model, "census")["metadata"]["generation"]
    settings = cluster.get("ConfigMap", model, "census-settings")["data"]["settings.json"]
    cluster.patch(MODEL, model, "census", {"spec": {"monitoring": {"driftThreshold": 0.5}}})
    changed = eventually(lambda: _other_settings(cluster, model, settings))
    assert '"driftThreshold":0.5' in changed
    # Whatever the edit leads to has been applied when the status tells of it.
    generation = cluster.get(MODEL, model, "census")["metadata"]["generation"]
    eventually(lambda: cluster.get(MODEL, model, "census")["status"]["observedGeneration"] == generation)
    assert cluster.get("Deployment", model, "census")["metadata"]["generation"] == before


def test_a_pod_is_annotated_with_the_hash_of_new_settings_so_that_its_kubelet_looks_at_once(
    cluster: ClusterClient, model: str
) -> None:
    eventually(lambda: cluster.all_of("Pod", model, "app.kubernetes.io/component=store"))
    cluster.patch(MODEL, model, "census", {"spec": {"monitoring": {"driftThreshold": 0.5}}})

    def told() -> bool:
        pods = cluster.all_of("Pod", model, "app.kubernetes.io/component=store")
        written = cluster.get("ConfigMap", model, "census-settings")["data"]["settings.json"]
        assert '"driftThreshold":0.5' in written
        told = [pod["metadata"]["annotations"]["modelwarden.dev/settings-hash"] for pod in pods]
        return told == [short_hash(written.encode())]

    eventually(told)


def test_a_new_key_epoch_gives_a_new_key_and_restarts_the_store(cluster: ClusterClient, model: str) -> None:
    before, _ = cluster.key_of(model, "census")
    generation = cluster.get("Deployment", model, "census")["metadata"]["generation"]
    annotations = {"metadata": {"annotations": {"modelwarden.dev/key-epoch": "1"}}}
    cluster.patch(MODEL, model, "census", annotations)
    eventually(lambda: cluster.key_of(model, "census")[0] != before)
    eventually(lambda: cluster.get("Deployment", model, "census")["metadata"]["generation"] > generation)


def _other_settings(cluster: ClusterClient, namespace: str, before: str) -> str | None:
    now = cluster.get("ConfigMap", namespace, "census-settings")["data"]["settings.json"]
    return now if now != before else None


def _with_selector(cluster: ClusterClient, namespace: str, wanted: dict[str, str] | None) -> Any:
    live = cluster.get("Deployment", namespace, "census")
    return live if live["spec"]["template"]["spec"].get("nodeSelector") == wanted else None


def _stalled(cluster: ClusterClient, namespace: str, reason: str) -> Any:
    found = cluster.condition(MODEL, namespace, "census", "Stalled")
    assert found.get("status") == "True", explained(cluster.get(MODEL, namespace, "census"))
    assert found["reason"] == reason, found
    return found


def _foreign(kind: str, namespace: str, name: str) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "labels": {"made-by": "somebody"}}
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "x",
                "image": "x",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    bodies: dict[str, dict[str, Any]] = {
        "ServiceAccount": {"apiVersion": "v1"},
        "Secret": {"apiVersion": "v1"},
        "ConfigMap": {"apiVersion": "v1"},
        "PersistentVolumeClaim": {
            "apiVersion": "v1",
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
        "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}},
        "Deployment": {
            "apiVersion": "apps/v1",
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod},
            },
        },
    }
    return bodies[kind] | {"kind": kind, "metadata": meta}
