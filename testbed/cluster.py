"""A Kubernetes to install into, whatever stands behind it: an own node, kind, or one that exists.

`open_cluster` decides which. Callers use the protocol and never ask which it is.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from testbed import node
from testbed.api_client import ApiError
from testbed.binaries import kubernetes
from testbed.errors import SetupError
from testbed.image_store import ImageStore
from testbed.images import ImageRef, docker_works
from testbed.processes import Process
from testbed.progress import Reporter
from testbed.record import Record, checked_name, clusters_folder, read_record
from testbed.volumes import recycle


class Cluster(Protocol):
    """What the demo and the tests need of a cluster."""

    name: str
    kubeconfig: Path
    programs: Path  # the folder with kubectl and helm

    def load(self, image: ImageRef) -> None:
        """Makes the image known to the nodes under its name, so that pods need not pull it."""

    def reach(self, namespace: str, service: str, port: int) -> str:
        """A URL that leads from this machine to a port of a Service."""

    def volume_folder(self, namespace: str, claim: str) -> Path | None:
        """The folder on this machine behind a bound claim; None if it is not to be reached as one."""

    def down(self) -> None:
        """Removes the cluster, if we made it."""


class OwnNode:
    """A cluster made here, without Docker."""

    def __init__(self, record: Record, reporter: Reporter) -> None:
        self.name = record.name
        self.kubeconfig = record.folder / "admin.kubeconfig"
        self.programs = Path(record.programs)
        self.record, self._reporter = record, reporter
        self.client = node.client_of(record)

    def load(self, image: ImageRef) -> None:
        if image.image is None:
            raise SetupError(
                f"{image.name} was built by Docker; without Docker run `python -m testbed images` again."
            )
        assert self.record.init is not None
        store = ImageStore(self.record.init.pid)
        if image.name in store.images():
            return
        with self._reporter.step(f"Import {image.name}"):
            store.load(image.layout, image.image)

    def reach(self, namespace: str, service: str, port: int) -> str:
        """Services' addresses are routed to the node, so the Service's own address does."""
        try:
            spec = self.client.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]
        except ApiError as error:
            raise SetupError(f"No Service {service} in namespace {namespace}: {error}") from None
        known = [each["port"] for each in spec["ports"]]
        if port not in known:
            raise SetupError(f"Service {namespace}/{service} has no port {port}; it has {known}.")
        if spec["clusterIP"] == "None":
            raise SetupError(f"Service {namespace}/{service} is headless: it has no address of its own.")
        return f"http://{spec['clusterIP']}:{port}"

    def volume_folder(self, namespace: str, claim: str) -> Path | None:
        found = self.client.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        volume = found["spec"].get("volumeName")
        return self.record.folder / "volumes" / volume if volume else None

    def recycle_volumes(self) -> Sequence[str]:
        """Empties volumes whose claims are gone, now; the node does it every two seconds anyway."""
        return recycle(self.client, self.record.folder / "volumes", f"{self.name}-node")

    def down(self) -> None:
        node.remove(self.name, self._reporter)
