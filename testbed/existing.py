"""A cluster that is there already, named by a kubeconfig context. Never created or removed by us.

Images reach it by the loader its context's name calls for (kind, k3d, minikube), because its Docker is
the machine's own (docker-desktop, rancher-desktop), or through a registry both sides can reach.
"""

import os
import subprocess
from pathlib import Path

from testbed.cache import content_key, write_atomically
from testbed.errors import SetupError
from testbed.images import ImageRef
from testbed.kind import client_programs
from testbed.port_forward import PortForwards
from testbed.progress import Reporter
from testbed.record import clusters_folder

REGISTRY = "MODELWARDEN_REGISTRY"
SHARES_DOCKER = ("docker-desktop", "rancher-desktop", "orbstack")


def loader(context: str, image: str) -> list[str] | None:
    """The command that gives a Docker image to the cluster of this context; None if there is none."""
    if context.startswith("kind-"):
        return ["kind", "load", "docker-image", image, f"--name={context.removeprefix('kind-')}"]
    if context.startswith("k3d-"):
        return ["k3d", "image", "import", image, f"--cluster={context.removeprefix('k3d-')}"]
    if context == "minikube":
        return ["minikube", "image", "load", image]
    return None


class ExistingCluster:
    """The cluster of a context of the user's kubeconfig."""

    kind = "existing"

    def __init__(self, context: str, reporter: Reporter) -> None:
        self.name, self._reporter = context, reporter
        self.programs = client_programs(reporter)
        self._folder = clusters_folder() / f"{content_key(context)}.context"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = self._folder / "kubeconfig"
        # A kubeconfig of this context alone: nothing that is run with it can hit another cluster.
        minified = self._kubectl("config", "view", "--minify", "--flatten", f"--context={context}")
        write_atomically(self.kubeconfig, minified, 0o600)
        self._forwards = PortForwards(self.programs / "kubectl", self.kubeconfig, self._folder)

    def load(self, image: ImageRef) -> str:
        if registry := os.environ.get(REGISTRY):
            return self._push(image, f"{registry.rstrip('/')}/{image.name.removeprefix('localhost/')}")
        command = loader(self.name, image.name)
        if image.image is not None:
            raise SetupError(
                f"Without Docker an image reaches context {self.name} only through a registry: "
                f"set {REGISTRY}, such as registry.example.com/team."
            )
        if command is None and self.name not in SHARES_DOCKER:
            raise SetupError(f"Set {REGISTRY} to a registry that context {self.name} can pull from.")
        if command:
            with self._reporter.step(f"Load {image.name} into {self.name}"):
                _run(command)
        return image.name

    def load_archive(self, archive: Path) -> None:
        raise SetupError(f"{archive}: only an own node or a kind cluster takes archives.")

    def reach(self, namespace: str, service: str, port: int) -> str:
        return self._forwards.reach(namespace, service, port)

    def volume_folder(self, namespace: str, claim: str) -> Path | None:  # noqa: ARG002 - the protocol's
        """None: it is somewhere else."""
        return None

    def healthy(self) -> bool:
        return self._kubectl("get", "--raw=/readyz", f"--context={self.name}") == "ok"

    def down(self) -> None:
        """Ends what we opened to it. The cluster is its owner's."""
        self._forwards.end()
        self.kubeconfig.unlink(missing_ok=True)

    def _push(self, image: ImageRef, name: str) -> str:
        with self._reporter.step(f"Push {name}"):
            if image.image is None:
                _run(["docker", "tag", image.name, name])
                _run(["docker", "push", name])
            else:
                with image.archived() as archive:
                    _run(["buildah", "push", f"oci-archive:{archive}", f"docker://{name}"])
        return name

    def _kubectl(self, *arguments: str) -> str:
        finished = subprocess.run(
            [str(self.programs / "kubectl"), *arguments], capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise SetupError(f"Context {self.name} cannot be used: {finished.stderr.strip()[-800:]}")
        return finished.stdout


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SetupError(f"`{' '.join(command[:3])}` failed:\n{finished.stderr[-1500:]}")
