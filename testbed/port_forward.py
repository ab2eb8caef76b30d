"""`kubectl port-forward` in the background, for clusters whose Services this machine has no route to.

Each is written down with its process, found again while it lives, and ended with the cluster.
"""

import contextlib
import json
import re
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from testbed.api_client import wait_until
from testbed.cache import locked, write_atomically
from testbed.errors import SetupError, tail
from testbed.processes import Process

READY_SECONDS = 120.0


class PortForwards:
    """Of one cluster; `folder` holds the list and the logs."""

    def __init__(self, kubectl: Path, kubeconfig: Path, folder: Path) -> None:
        self._kubectl, self._kubeconfig, self._folder = kubectl, kubeconfig, folder
        self._list = folder / "forwards.json"

    def reach(self, namespace: str, service: str, port: int) -> str:
        """A URL of this machine. It breaks when the pod behind it goes: ask again then."""
        key = f"{namespace}/{service}:{port}"
        with locked(self._folder / ".forwards.lock"):
            known = self._read()
            if key in known and Process(**known[key]["process"]).alive():
                return str(known[key]["url"])
            known[key] = self._start(namespace, service, port)
            write_atomically(self._list, json.dumps(known, indent=1))
        return str(known[key]["url"])

    def end(self) -> None:
        """Ends all of them."""
        for entry in self._read().values():
            Process(**entry["process"]).kill()
        self._list.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            entries: dict[str, Any] = json.loads(self._list.read_text())
            return entries
        return {}

    def _start(self, namespace: str, service: str, port: int) -> dict[str, Any]:
        log = self._folder / f"forward-{namespace}-{service}-{port}.log"
        command = [str(self._kubectl), f"--kubeconfig={self._kubeconfig}", f"--namespace={namespace}"]
        command += ["port-forward", "--address=127.0.0.1", f"service/{service}", f":{port}"]
        with log.open("wb") as output:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        process = Process.of(started.pid)

        def listening() -> bool:
            if started.poll() is not None:
                raise SetupError(
                    f"Service {namespace}/{service} cannot be reached on port {port}:\n{tail(log)}"
                )
            return local_port(log.read_text()) is not None

        wait_until(listening, READY_SECONDS, lambda: f"kubectl port-forward does not answer:\n{tail(log)}")
        assert process is not None, "it listens"
        return {"url": f"http://127.0.0.1:{local_port(log.read_text())}", "process": asdict(process)}


def local_port(said: str) -> int | None:
    """The port in kubectl's `Forwarding from 127.0.0.1:40123 -> 8080`."""
    found = re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", said)
    return int(found[1]) if found else None
