"""The namespace that a flow is deployed to, through kubectl: apply, status, read the key, a way to the cell.

What this module must not do: know what is applied.
"""

import base64
import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from modelwarden.client.conduit.errors import ConduitError
from modelwarden.client.kubectl import Kubectl, KubectlError

KIND = "monitoredmodels.modelwarden.dev"
SECONDS = 120.0
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Namespace:
    """A namespace of the cluster that `kubectl` speaks to. Everything here raises ConduitError with what it
    says.
    """

    name: str
    kubectl: Kubectl

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Server-side apply in deploying's own name."""
        with self._told():
            self._own.apply(json.dumps(manifest), "--field-manager=modelwarden-conduit", seconds=SECONDS)

    def status(self, name: str) -> dict[str, Any]:
        """The status of a MonitoredModel; empty as long as there is none."""
        found: dict[str, Any] = json.loads(self._run("get", KIND, name, "--output", "json"))
        current = found.get("metadata", {}).get("generation")
        status: dict[str, Any] = found.get("status") or {}
        return status if status.get("observedGeneration") == current else {}

    def key(self, name: str) -> str:
        """The key of the model's cell."""
        return base64.b64decode(
            self._run("get", "secret", f"{name}-key", "--output", "jsonpath={.data.key}")
        ).decode()

    @contextlib.contextmanager
    def forwarded(self, service: str) -> Iterator[str]:
        """The address of a service on this machine, while the block lasts."""
        command = self._own.command("port-forward", f"service/{service}", ":8080", "--address", "127.0.0.1")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                found = _FORWARDED.search(said)
                if found is None:
                    raise ConduitError(
                        f"kubectl port-forward service/{service}: {said.strip() or 'it ended'}"
                    )
                yield f"http://127.0.0.1:{found[1]}"
            finally:
                process.terminate()

    @property
    def _own(self) -> Kubectl:
        return Kubectl(self.kubectl.program, (*self.kubectl.options, "--namespace", self.name))

    def _run(self, *arguments: str) -> str:
        with self._told():
            return self._own.run(*arguments, seconds=SECONDS)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        if shutil.which(self.kubectl.program) is None:
            raise ConduitError("there is no kubectl: deploy(out=folder) writes what is to be applied instead")
        try:
            yield
        except KubectlError as error:
            raise ConduitError(str(error)) from None
