"""A Kubernetes to install into, whatever stands behind it: kind, an own node, or one that exists.

Callers use the protocol and never ask which it is:

    cluster = open_cluster("demo", ConsoleReporter())
    name = cluster.load(images.build("operator", reporter))
"""

import shutil
from pathlib import Path
from typing import Protocol

from testbed import node
from testbed.errors import SetupError
from testbed.existing import ExistingCluster
from testbed.images import ImageRef
from testbed.kind import KindCluster, kind_works
from testbed.own_node import OwnNode
from testbed.progress import Reporter
from testbed.record import checked_name, read_record


class Cluster(Protocol):
    """What the demo and the tests need of a cluster."""

    kind: str  # for people: own node, kind, existing
    name: str
    kubeconfig: Path
    programs: Path  # the folder with kubectl and helm

    def load(self, image: ImageRef) -> str:
        """Makes the image known to the nodes; gives the name by which pods ask for it, IfNotPresent."""

    def load_archive(self, archive: Path) -> None:
        """The same for an archive made elsewhere, under the names that are in it."""

    def reach(self, namespace: str, service: str, port: int) -> str:
        """A URL that leads from this machine to a port of a Service."""

    def volume_folder(self, namespace: str, claim: str) -> Path | None:
        """The folder on this machine behind a bound claim; None if it is not to be reached as one."""

    def healthy(self) -> bool:
        """Whether it takes requests, and its node pods."""

    def down(self) -> None:
        """Removes the cluster, if it was made by us."""


def open_cluster(name: str, reporter: Reporter, *, context: str | None = None) -> Cluster:
    """The cluster of this name, started if it does not run; or the one a kubeconfig `context` names."""
    if context:
        return ExistingCluster(context, reporter)
    checked_name(name)
    if kind_works():
        cluster = KindCluster(name, reporter)
        cluster.up()
        return cluster
    if missing := node.missing_for_node():
        engine = (
            "Docker works but kind is missing" if shutil.which("docker") else "there is no Docker with kind"
        )
        raise SetupError(f"A cluster needs Docker and kind, or root on Linux: {engine}, and {missing}.")
    return OwnNode(node.start(name, reporter), reporter)


def remove_cluster(name: str, reporter: Reporter) -> bool:
    """Removes the cluster of this name, whole or half made; False if there is nothing of it."""
    if shutil.which("kind") and KindCluster.exists(name):
        KindCluster(name, reporter).down()
        return True
    return OwnNode.remove(name, reporter)


def find_cluster(name: str, reporter: Reporter) -> Cluster:
    """The cluster of this name, which must have been started."""
    if record := read_record(name):
        return OwnNode(record, reporter)
    if shutil.which("kind") and KindCluster.exists(name):
        return KindCluster(name, reporter)
    raise SetupError(f"There is no cluster {name}; start it with `python -m testbed up --name {name}`.")
