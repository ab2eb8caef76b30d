"""kubectl, as far as deploying needs it: apply, get, read the key, a way to the cell.

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

KIND = "monitoredmodels.modelwarden.dev"
_FORWARDED = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Kubectl:
    """A cluster and a namespace in it. `options` are kubectl's own, for example ("--context", "prod")."""

    namespace: str
    options: tuple[str, ...] = ()

    def run(self, *arguments: str, given: str | None = None) -> str:
        """Its output. Raises ConduitError with what it says."""
        if shutil.which("kubectl") is None:
            raise ConduitError("there is no kubectl: deploy(out=folder) writes what is to be applied instead")
        command = ["kubectl", *self.options, "--namespace", self.namespace, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise ConduitError(f"kubectl {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Server-side apply, so that others may own other fields."""
        self.run(
            "apply",
            "--server-side",
            "--field-manager=modelwarden-conduit",
            "-f",
            "-",
            given=json.dumps(manifest),
        )

    def status(self, name: str) -> dict[str, Any]:
        """The status of a MonitoredModel; empty as long as there is none."""
        found: dict[str, Any] = json.loads(self.run("get", KIND, name, "--output", "json"))
        current = found.get("metadata", {}).get("generation")
        status: dict[str, Any] = found.get("status") or {}
        return status if status.get("observedGeneration") == current else {}

    def key(self, name: str) -> str:
        """The key of the model's cell."""
        return base64.b64decode(
            self.run("get", "secret", f"{name}-key", "--output", "jsonpath={.data.key}")
        ).decode()

    @contextlib.contextmanager
    def forwarded(self, service: str) -> Iterator[str]:
        """The address of a service on this machine, while the block lasts."""
        command = ["kubectl", *self.options, "--namespace", self.namespace]
        command += ["port-forward", f"service/{service}", ":8080", "--address", "127.0.0.1"]
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


def condition(status: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a status; empty if it has none of that type."""
    return next((one for one in status.get("conditions", []) if one.get("type") == kind), {})
