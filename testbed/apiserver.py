"""A real Kubernetes API for tests: etcd, API server and controller manager, no node, no root.

Objects are validated, stored, owned, collected as in any cluster; pods stay Pending. Several can run
side by side; each ends with the process that started it.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Self

from testbed.api_client import ApiClient, ApiError, certificate_user, wait_until, write_kubeconfig
from testbed.binaries import kubernetes
from testbed.control_plane import (
    AUDIT_POLICY,
    ControlPlane,
    apiserver_arguments,
    certificate_request,
    controller_manager_arguments,
    etcd_arguments,
)
from testbed.errors import SetupError, tail
from testbed.orders import Orders
from testbed.progress import ConsoleReporter, Reporter

READY_SECONDS = 180.0
LOOPBACK = IPv4Address("127.0.0.1")


class ApiServer:
    """One API server with its own etcd and controller manager, on a free port of the loopback.

    `audit=True` writes every request (who, verb, resource, answer) to `audit_log`, a JSON object a line.
    """

    def __init__(self, *, audit: bool = False, reporter: Reporter | None = None) -> None:
        self._reporter = reporter or ConsoleReporter()
        self._audit = audit
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Ready when it returns: RBAC bootstrapped, service accounts made. About three seconds."""
        programs = kubernetes(self._reporter)
        with contextlib.ExitStack() as undo:
            # /tmp and not a test's own folder: a socket's path may not be longer than 107 bytes.
            self.folder = Path(tempfile.mkdtemp(prefix="modelwarden-api-"))
            undo.callback(shutil.rmtree, self.folder, ignore_errors=True)
            holder = undo.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            # Bound, never listening: nobody else gets this port while the API server is down.
            holder.bind((str(LOOPBACK), 0))
            self._plane = ControlPlane(
                programs, self.folder, LOOPBACK, holder.getsockname()[1], audit=self._audit
            )
            self._orders = Orders()
            undo.callback(self._orders.close)
            self._orders.remove_at_the_end(self.folder)
            write_credentials(self._plane)
            if self._audit:
                (self.folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
            self._start("etcd")
            self.start_apiserver()
            self.start_controller_manager()
            wait_until(
                self._service_accounts_made, READY_SECONDS, lambda: self._trouble("kube-controller-manager")
            )
            self._cleanup = undo.pop_all()
        return self

    def stop(self) -> None:
        """Ends every process and removes the folder. May be called twice."""
        self._cleanup.close()

    @property
    def url(self) -> str:
        return self._plane.url

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    @property
    def ca_certificate(self) -> Path:
        return self._plane.certificate("ca")

    @property
    def client_certificate(self) -> Path:
        """The administrator's."""
        return self._plane.certificate("admin")

    @property
    def client_key(self) -> Path:
        """The administrator's."""
        return self._plane.key("admin")

    @property
    def programs(self) -> Path:
        """The folder with `kubectl` and `helm`."""
        return self._plane.programs

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def client(self) -> ApiClient:
        """A small client with the administrator's rights."""
        return ApiClient.of_administrator(self.url, self._plane.certificates)

    def stop_apiserver(self, signal: int = SIGKILL) -> None:
        """The API goes away at once; what is stored stays. With SIGTERM it takes seconds to say goodbye."""
        self._orders.stop("kube-apiserver", signal)

    def start_apiserver(self) -> None:
        """(Again) on the same port; returns when it is ready."""
        self._start("kube-apiserver")
        wait_until(self._ready, READY_SECONDS, lambda: self._trouble("kube-apiserver"))

    def restart_apiserver(self) -> None:
        """Stop and start: every watch breaks, nothing is lost."""
        self.stop_apiserver()
        self.start_apiserver()

    def stop_controller_manager(self) -> None:
        """Owners are no longer garbage-collected, deployments no longer followed."""
        self._orders.stop("kube-controller-manager")

    def start_controller_manager(self) -> None:
        """(Again); it takes about a second to work."""
        self._start("kube-controller-manager")

    def service_account_kubeconfig(self, namespace: str, name: str, *, seconds: int = 86400) -> Path:
        """A kubeconfig that speaks as a ServiceAccount (which must exist), with exactly its rights."""
        path = self.folder / f"{namespace}.{name}.kubeconfig"
        user = {"token": self.service_account_token(namespace, name, seconds=seconds)}
        write_kubeconfig(path, self.url, self.ca_certificate, user, namespace)
        return path

    def service_account_token(
        self, namespace: str, name: str, *, seconds: int = 86400, audiences: tuple[str, ...] = ()
    ) -> str:
        """A token as a pod would get it; without audiences it is the API server's own."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds, "audiences": list(audiences)},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return str(self.client.request("POST", path, request)["status"]["token"])

    def _start(self, name: str) -> None:
        arguments = {
            "etcd": etcd_arguments,
            "kube-apiserver": apiserver_arguments,
            "kube-controller-manager": controller_manager_arguments,
        }[name](self._plane)
        self._orders.start(name, arguments, self.folder / f"{name}.log")

    def _ready(self) -> bool:
        ended = {name: code for name, code in self._orders.state().items() if code is not None}
        for name in ("etcd", "kube-apiserver"):
            if name in ended:
                raise SetupError(self._trouble(name))
        return self.client.is_ready()

    def _service_accounts_made(self) -> bool:
        try:
            self.client.get("/api/v1/namespaces/default/serviceaccounts/default")
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def _trouble(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return f"{name} did not get ready. The end of its log:\n{tail(log)}"


def write_credentials(plane: ControlPlane, node: str | None = None) -> None:
    """Certificates, and a kubeconfig for each program and the administrator, into the plane's folder."""
    plane.certificates.mkdir(parents=True, mode=0o700)
    subprocess.run(
        [plane.programs / "certificates", plane.certificates],
        input=json.dumps(certificate_request(plane, node)),
        text=True,
        check=True,
        timeout=120,
    )
    users = ["admin", "kube-controller-manager", "kube-scheduler", "kube-proxy"] + (
        ["kubelet"] if node else []
    )
    for name in users:
        user = certificate_user(plane.certificate(name), plane.key(name))
        write_kubeconfig(plane.folder / f"{name}.kubeconfig", plane.url, plane.certificate("ca"), user)
