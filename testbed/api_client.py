"""As much of an API client as the testbed needs: JSON over HTTPS with a client certificate.

Not kubectl (a process a question is slow) and not the kubernetes package (the testbed needs only the
standard library). Watches, retries and discovery do not belong here.
"""

import base64
import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from testbed.cache import write_atomically
from testbed.errors import SetupError


class ApiError(Exception):
    """The API server refused: `status` is the HTTP code, `reason` the Kubernetes reason."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class ApiClient:
    """An API server and the certificate to ask it with."""

    url: str
    ca: Path
    certificate: Path
    key: Path
    timeout_seconds: float = 30.0

    @classmethod
    def of_administrator(cls, url: str, certificates: Path) -> Self:
        """With every right, from a cluster's folder of certificates."""
        return cls(url, certificates / "ca.crt", certificates / "admin.crt", certificates / "admin.key")

    def get(self, path: str) -> Any:
        """The object or list at `path`."""
        return self.request("GET", path)

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """The decoded answer. Raises ApiError for a refusal, OSError when nobody answers."""
        status, answer = self._exchange(method, path, body, content_type)
        if status >= 300:
            try:
                reason = json.loads(answer)
            except ValueError:
                reason = {"message": answer.decode(errors="replace")[:500]}
            raise ApiError(status, reason.get("reason", ""), reason.get("message", ""))
        return json.loads(answer)

    def is_ready(self) -> bool:
        """Whether `/readyz` says exactly ok: before that its RBAC rules may not be there yet."""
        try:
            return self._exchange("GET", "/readyz", None, "")[1] == b"ok"
        except (OSError, http.client.HTTPException):
            return False

    def _exchange(self, method: str, path: str, body: Any, content_type: str) -> tuple[int, bytes]:
        address = urlsplit(self.url)
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.certificate, self.key)
        connection = http.client.HTTPSConnection(
            address.hostname or "", address.port, timeout=self.timeout_seconds, context=context
        )
        try:
            headers = {"Content-Type": content_type} if body is not None else {}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def write_kubeconfig(
    path: Path, url: str, ca: Path, user: dict[str, str], namespace: str = "default"
) -> None:
    """A kubeconfig with everything in it, readable by its owner only. `user` is the user's entry.

    JSON is YAML too, and every client reads it.
    """
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca.read_bytes()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": "testbed", "user": user}],
        "contexts": [
            {"name": "testbed", "context": {"cluster": "testbed", "user": "testbed", "namespace": namespace}}
        ],
        "current-context": "testbed",
    }
    write_atomically(path, json.dumps(config, indent=1), 0o600)


def certificate_user(certificate: Path, key: Path) -> dict[str, str]:
    """The kubeconfig entry of a user known by a client certificate."""
    return {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }


def wait_until(
    condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str], pause: float = 0.05
) -> None:
    """Polls until `condition()` holds; after `seconds` raises SetupError with what `otherwise()` says."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SetupError(otherwise())
        time.sleep(pause)
