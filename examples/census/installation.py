"""Installs the chart as a user would, makes the demo's namespace afresh, and removes what the demo installed.

What this module must not do: touch a namespace or a release that the demo did not make.
"""

import json
import shutil
import subprocess
from pathlib import Path

from examples.census.kubectl import Kubectl, kubectl_of
from testbed import images
from testbed.cluster import Cluster
from testbed.errors import SetupError
from testbed.kind import KindCluster
from testbed.own_node import OwnNode
from testbed.package_index import IndexForPods, index_for_pods
from testbed.progress import Reporter

CHART = Path(__file__).parent.parent.parent / "charts" / "modelwarden"
SYSTEM_NAMESPACE = "modelwarden-system"
RELEASE = "modelwarden"
OURS = "modelwarden.dev/demo"
INSTALL_SECONDS, DELETE_SECONDS = 180, 180
# Shorter than the chart's defaults: whoever watches a demo wants to see the status move.
STATUS_SECONDS, POLL_SECONDS = 10, 3


def install(cluster: Cluster, reporter: Reporter) -> None:
    """Builds both images, hands them to the cluster, and installs or upgrades the chart.

    Raises:
        SetupError: the release or its namespace is there and not the demo's, or helm failed.
    """
    operator = cluster.load(images.build("operator", reporter))
    server = cluster.load(images.build("model-server", reporter))
    kubectl = kubectl_of(cluster)
    _refuse_foreign(kubectl, SYSTEM_NAMESPACE)
    kubectl.apply(_namespace(SYSTEM_NAMESPACE))
    with reporter.step("helm upgrade --install modelwarden charts/modelwarden"):
        values = [*_image("operator", operator), *_image("server", server)]
        values += [f"--set=dataFactsInterval={STATUS_SECONDS}", f"--set=pollInterval={POLL_SECONDS}"]
        index = index_of(cluster)
        values += index.helm
        for sentence in index.left_out:
            reporter.say(f"The package index of this machine: {sentence}.")
        waiting = ["--wait", f"--timeout={INSTALL_SECONDS}s"]
        _helm(cluster, "upgrade", "--install", RELEASE, str(CHART), *values, *waiting)


def fresh_namespace(cluster: Cluster, namespace: str, reporter: Reporter) -> None:
    """An empty namespace for the model; what an earlier demo left in it is deleted first, its rows
    included.
    """
    kubectl = kubectl_of(cluster)
    _refuse_foreign(kubectl, namespace)
    if kubectl.get("namespace", namespace):
        with reporter.step(f"Delete namespace {namespace}, which an earlier demo left"):
            _delete_namespace(kubectl, namespace)
    kubectl.apply(_namespace(namespace))
    for thing in index_of(cluster).objects(namespace):
        kubectl.apply(json.dumps(thing))


def index_of(cluster: Cluster) -> IndexForPods:
    """Where the Jobs that install packages find them: this machine's own package index, in clusters that were
    made here; another one's administrator has his own.
    """
    return IndexForPods() if cluster.kind == "existing" else index_for_pods()


def remove(cluster: Cluster, namespace: str, reporter: Reporter) -> None:
    """Removes the cluster, or from a cluster that is not the demo's own what the demo put there."""
    if cluster.kind == "existing":
        kubectl = kubectl_of(cluster)
        with reporter.step(f"Remove the demo from {cluster.name}"):
            for name in (namespace, SYSTEM_NAMESPACE):
                _refuse_foreign(kubectl, name)
            # The model first: the operator that takes off its finalizer must still be there.
            _delete_namespace(kubectl, namespace)
            _helm(cluster, "uninstall", RELEASE, "--ignore-not-found", "--wait")
            _delete_namespace(kubectl, SYSTEM_NAMESPACE)
    cluster.down()


def remove_left(name: str, reporter: Reporter) -> bool:
    """Removes the demo's own cluster of this name, whole or half made; False if there is none."""
    if shutil.which("kind") and KindCluster.exists(name):
        KindCluster(name, reporter).down()
        return True
    return OwnNode.remove(name, reporter)


def _refuse_foreign(kubectl: Kubectl, namespace: str) -> None:
    found = kubectl.get("namespace", namespace)
    if found and OURS not in found["metadata"].get("labels", {}):
        raise SetupError(
            f"Namespace {namespace} is there and was not made by the demo (no label {OURS}): "
            "remove it, or name another cluster with DEMO_CONTEXT."
        )


def _namespace(name: str) -> str:
    labels = {
        OURS: "true",
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def _delete_namespace(kubectl: Kubectl, namespace: str) -> None:
    limit = f"--timeout={DELETE_SECONDS}s"
    kubectl.run("delete", "namespace", namespace, "--ignore-not-found", limit, seconds=DELETE_SECONDS + 10)


def _image(which: str, name: str) -> list[str]:
    repository, _, tag = name.rpartition(":")
    return [f"--set=image.{which}.repository={repository}", f"--set-string=image.{which}.tag={tag}"]


def _helm(cluster: Cluster, *arguments: str) -> None:
    where = ["--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM_NAMESPACE]
    done = subprocess.run(
        [str(cluster.programs / "helm"), *where, *arguments],
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS + 60,
        check=False,
    )
    if done.returncode:
        raise SetupError(f"helm {arguments[0]} failed: {done.stderr.strip()[-1500:]}")
