"""A cluster by kind, where there is Docker; and the images handed to it. Drives the `kind` program."""

import json
import shutil
import subprocess
from pathlib import Path

from testbed.binaries import kubernetes
from testbed.cache import cache_folder, locked
from testbed.errors import SetupError
from testbed.images import ImageRef, docker_works
from testbed.node_config import STORAGE_CLASS
from testbed.port_forward import PortForwards
from testbed.progress import Reporter
from testbed.record import clusters_folder

# kind brings a provisioner of its own; our name for it lets charts and tests say the same everywhere.
STORAGE = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": STORAGE_CLASS},
    "provisioner": "rancher.io/local-path",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
}


def kind_works() -> bool:
    """Whether there is both Docker and kind."""
    return shutil.which("kind") is not None and docker_works()


def client_programs(reporter: Reporter) -> Path:
    """A folder with kubectl and helm: the machine's own, or else built."""
    found = {name: shutil.which(name) for name in ("kubectl", "helm")}
    if not all(found.values()):
        return kubernetes(reporter)
    folder = cache_folder() / "clients"
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in found.items():
        link = folder / name
        if not link.is_symlink() or str(link.readlink()) != program:
            link.unlink(missing_ok=True)
            link.symlink_to(str(program))
    return folder


class KindCluster:
    """A cluster in Docker containers."""

    kind = "kind"

    def __init__(self, name: str, reporter: Reporter) -> None:
        self.name, self._reporter = name, reporter
        self._kind_name = f"modelwarden-{name}"
        self._folder = clusters_folder() / f"{name}.kind"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self._folder / "kubeconfig"
        self.programs = client_programs(reporter)
        self._forwards = PortForwards(self.programs / "kubectl", self.kubeconfig, self._folder)

    @staticmethod
    def exists(name: str) -> bool:
        listed = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
        return f"modelwarden-{name}" in listed.stdout.split()

    def up(self) -> None:
        """Creates it if it is not there."""
        with locked(
            self._folder / ".lock", lambda: self._reporter.say(f"Waiting: another run holds {self.name} …")
        ):
            if not self.exists(self.name):
                with self._reporter.step(f"Create kind cluster {self._kind_name}"):
                    self._run("create", "cluster", "--wait=180s")
            self._run("export", "kubeconfig")
            self._kubectl("apply", "--server-side", "--filename=-", given=json.dumps(STORAGE))

    def load(self, image: ImageRef) -> str:
        with self._reporter.step(f"Load {image.name} into kind"):
            if image.image is None:
                self._run("load", "docker-image", image.name, kubeconfig=False)
            else:
                with image.archived() as archive:
                    self._run("load", "image-archive", str(archive), kubeconfig=False)
        return image.name

    def load_archive(self, archive: Path) -> None:
        with self._reporter.step(f"Load {archive} into kind"):
            self._run("load", "image-archive", str(archive), kubeconfig=False)

    def reach(self, namespace: str, service: str, port: int) -> str:
        return self._forwards.reach(namespace, service, port)

    def volume_folder(self, namespace: str, claim: str) -> Path | None:  # noqa: ARG002 - the protocol's
        """None: it is inside the node's container."""
        return None

    def healthy(self) -> bool:
        return self._kubectl("get", "--raw=/readyz", check=False) == "ok"

    def down(self) -> None:
        self._forwards.end()
        with self._reporter.step(f"Delete kind cluster {self._kind_name}"):
            self._run("delete", "cluster")
        shutil.rmtree(self._folder)

    def _run(self, *arguments: str, kubeconfig: bool = True) -> None:
        command = ["kind", *arguments, f"--name={self._kind_name}"]
        if kubeconfig:
            command.append(f"--kubeconfig={self.kubeconfig}")
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise SetupError(f"`kind {' '.join(arguments[:2])}` failed:\n{finished.stderr[-1500:]}")

    def _kubectl(self, *arguments: str, given: str | None = None, check: bool = True) -> str:
        command = [str(self.programs / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        finished = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if check and finished.returncode:
            raise SetupError(f"`kubectl {arguments[0]}` failed:\n{finished.stderr[-1500:]}")
        return finished.stdout
