"""The own node as a Cluster: what node.py started, used."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from testbed import node
from testbed.api_client import ApiError
from testbed.errors import SetupError
from testbed.image_store import ImageStore
from testbed.images import ImageRef
from testbed.node_start import client_of
from testbed.progress import Reporter
from testbed.record import Record, checked_name
from testbed.volumes import recycle


class OwnNode:
    """A cluster made here, without Docker."""

    kind = "own node"

    def __init__(self, record: Record, reporter: Reporter) -> None:
        self.name = record.name
        self.kubeconfig = record.folder / "admin.kubeconfig"
        self.programs = Path(record.programs)
        self.record, self._reporter = record, reporter
        self.client = client_of(record)

    def load(self, image: ImageRef) -> str:
        store = self._store()
        if image.name not in store.images():
            with self._reporter.step(f"Import {image.name}"):
                if image.image is not None:
                    store.load(image.layout, image.image)
                else:
                    with image.archived() as archive:
                        store.load_archive(archive)
        return image.name

    def load_archive(self, archive: Path) -> None:
        with self._reporter.step(f"Import {archive}"):
            self._store().load_archive(archive)

    def reach(self, namespace: str, service: str, port: int) -> str:
        """The Service's own address: it is routed to the node."""
        self._running()
        try:
            spec = self.client.get(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]
        except ApiError as error:
            raise SetupError(f"No Service {service} in namespace {namespace}: {error}") from None
        known = [each["port"] for each in spec.get("ports", [])]
        if port not in known:
            raise SetupError(f"Service {namespace}/{service} has no port {port}; it has {known}.")
        if spec.get("clusterIP", "None") == "None":
            raise SetupError(f"Service {namespace}/{service} is headless: it has no address of its own.")
        return f"http://{spec['clusterIP']}:{port}"

    def volume_folder(self, namespace: str, claim: str) -> Path | None:
        self._running()
        try:
            found = self.client.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        except ApiError:
            return None
        volume = found["spec"].get("volumeName")
        return self.record.folder / "volumes" / volume if volume else None

    def recycle_volumes(self) -> Sequence[str]:
        """Empties volumes whose claims are gone, now; the node does it every two seconds anyway."""
        self._running()
        return recycle(self.client, self.record.folder / "volumes", f"{self.name}-node")

    def healthy(self) -> bool:
        return node.is_healthy(self.record)

    def volumes(self) -> Iterator[str]:
        """A line for each volume of the pool: its name, size, state and claim."""
        self._running()
        for volume in self.client.get("/api/v1/persistentvolumes")["items"]:
            claim = volume["spec"].get("claimRef", {})
            holder = f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""
            size, phase = volume["spec"]["capacity"]["storage"], volume["status"].get("phase", "")
            yield f"{volume['metadata']['name']:<12}{size:<8}{phase:<12}{holder}".rstrip()

    def down(self) -> None:
        self.remove(self.name, self._reporter)

    @staticmethod
    def remove(name: str, reporter: Reporter) -> bool:
        """Removes whatever there is of a cluster of this name; False if there was nothing."""
        return node.remove(checked_name(name), reporter)

    def _store(self) -> ImageStore:
        return ImageStore(self._running())

    def _running(self) -> int:
        """Process 1 of the node. Without it, its addresses lead out of the machine to who knows whom."""
        if self.record.init is None or not self.record.init.alive():
            raise SetupError(
                f"Cluster {self.name} does not run; start it with `python -m testbed up --name {self.name}`."
            )
        return self.record.init.pid
