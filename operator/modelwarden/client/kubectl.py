"""kubectl as a program: what it is given, what it says, how it fails.

What this module must not do: know what is applied, or the operator's objects.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwarden.client.errors import ClientError


class KubectlError(ClientError):
    """kubectl failed, or is not there; the message is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """One cluster, through one kubectl. `options` are kubectl's own, for example ("--context", "prod")."""

    program: Path | str = "kubectl"
    options: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        """The command line for a subprocess of one's own."""
        return [str(self.program), *self.options, *arguments]

    def run(self, *arguments: str, given: str | None = None, seconds: float = 60) -> str:
        """kubectl's standard output. Raises KubectlError with its standard error, or TimeoutExpired."""
        if shutil.which(self.program) is None:
            raise KubectlError(f"there is no {self.program} on this machine")
        command = self.command(*arguments)
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def apply(self, manifest: str | Path, *options: str, seconds: float = 60) -> None:
        """Server-side apply of a file or of a text, so that others may own other fields."""
        file, given = (str(manifest), None) if isinstance(manifest, Path) else ("-", manifest)
        self.run("apply", "--server-side", "-f", file, *options, given=given, seconds=seconds)

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """The object, or None if there is none."""
        where = ("--namespace", namespace) if namespace else ()
        shown = self.run("get", kind, name, *where, "--ignore-not-found", "--output", "json")
        return dict(json.loads(shown)) if shown.strip() else None

    def list(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        """All objects of a kind in a namespace."""
        shown = self.run("get", kind, "--namespace", namespace, "--output", "json")
        return list(json.loads(shown)["items"])


def condition_of(status: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition of a status; empty if it has none of that type."""
    return next((one for one in status.get("conditions", []) if one.get("type") == kind), {})
