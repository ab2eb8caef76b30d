"""The programs that make an API: etcd, kube-apiserver, kube-controller-manager. Pure: arguments only.

Shared by the API-only mode and the node. Starts nothing, reads nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

DOMAIN = "cluster.local"
ISSUER = f"https://kubernetes.default.svc.{DOMAIN}"

DEFAULT_SERVICES = IPv4Network("10.96.0.0/24")


@dataclass(frozen=True)
class ControlPlane:
    """Where everything is: one folder for certificates and data, one address for the API server."""

    programs: Path
    folder: Path
    address: IPv4Address
    port: int
    services: IPv4Network = DEFAULT_SERVICES
    advertise: IPv4Address | None = None  # None: no node will ever look for the API server
    audit: bool = False

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.port}"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    def certificate(self, name: str) -> Path:
        return self.certificates / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.certificates / f"{name}.key"

    @property
    def etcd_url(self) -> str:
        # A socket file: no port to collide with, and nobody else on the machine may open it.
        return f"unix://{self.folder}/etcd.sock"


def certificate_request(plane: ControlPlane, node: str | None = None) -> list[dict[str, Any]]:
    """What `kubernetes certificates` is to sign: clients and servers of the cluster, and the front proxy."""

    def client(name: str, common_name: str, *organizations: str) -> dict[str, Any]:
        return {"name": name, "common_name": common_name, "organizations": organizations, "hosts": []}

    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{DOMAIN}"]
    hosts = [*names, "localhost", "127.0.0.1", str(plane.address), str(plane.services[1])]
    leaves = [
        client("apiserver", "kube-apiserver") | {"hosts": sorted(set(hosts))},
        client("admin", "testbed-admin", "system:masters"),
        client("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        # Administrator, so that it need not make an account for each of its thirty controllers first.
        client("kube-controller-manager", "system:kube-controller-manager", "system:masters"),
        client("kube-scheduler", "system:kube-scheduler"),
        client("kube-proxy", "system:kube-proxy"),
    ]
    if node:
        leaves.append(client("kubelet", f"system:node:{node}", "system:nodes"))
        leaves.append(client("kubelet-server", node) | {"hosts": [node, str(plane.address)]})
    return [
        {"name": "ca", "certificates": leaves},
        {"name": "front-proxy-ca", "certificates": [client("front-proxy-client", "front-proxy-client")]},
    ]


def etcd_arguments(plane: ControlPlane) -> Sequence[str]:
    peer = "http://127.0.0.1:2380"  # must be a host and a port; it has no peers, so nobody ever asks there
    return [
        str(plane.programs / "etcd"),
        "--name=testbed",
        f"--data-dir={plane.folder}/etcd",
        f"--listen-client-urls={plane.etcd_url}",
        "--advertise-client-urls=http://127.0.0.1:2379",
        f"--listen-peer-urls=unix://{plane.folder}/etcd-peer.sock",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=testbed={peer}",
        "--unsafe-no-fsync",  # the cluster does not outlive a power cut, and a test waits for every write
        "--snapshot-count=10000",
        "--quota-backend-bytes=2147483648",
        "--log-level=warn",
    ]


def apiserver_arguments(plane: ControlPlane) -> Sequence[str]:
    arguments = [
        str(plane.programs / "kube-apiserver"),
        f"--etcd-servers={plane.etcd_url}",
        f"--bind-address={plane.address}",
        f"--secure-port={plane.port}",
        f"--service-cluster-ip-range={plane.services}",
        f"--tls-cert-file={plane.certificate('apiserver')}",
        f"--tls-private-key-file={plane.key('apiserver')}",
        f"--client-ca-file={plane.certificate('ca')}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-signing-key-file={plane.key('service-account')}",
        f"--service-account-key-file={plane.key('service-account')}",
        f"--kubelet-certificate-authority={plane.certificate('ca')}",
        f"--kubelet-client-certificate={plane.certificate('kubelet-client')}",
        f"--kubelet-client-key={plane.key('kubelet-client')}",
        # The node's name cannot be resolved by anybody; without this `exec` and `logs` try to.
        "--kubelet-preferred-address-types=InternalIP",
        f"--requestheader-client-ca-file={plane.certificate('front-proxy-ca')}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={plane.certificate('front-proxy-client')}",
        f"--proxy-client-key-file={plane.key('front-proxy-client')}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--enable-aggregator-routing=true",
        "--allow-privileged=true",
        "--permit-port-sharing=true",  # the caller holds the port while the API server is down
        "--profiling=false",
        "--v=1",
    ]
    if plane.advertise:
        arguments.append(f"--advertise-address={plane.advertise}")
    else:
        # Loopback may not be advertised, and a machine without a network has nothing else.
        arguments += ["--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none"]
    if plane.audit:
        arguments += [f"--audit-policy-file={plane.folder}/audit-policy.json"]
        arguments += [f"--audit-log-path={plane.folder}/audit.log", "--audit-log-mode=blocking"]
    return arguments


def controller_manager_arguments(plane: ControlPlane) -> Sequence[str]:
    kubeconfig = plane.folder / "kube-controller-manager.kubeconfig"
    return [
        str(plane.programs / "kube-controller-manager"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--leader-elect=false",
        f"--service-account-private-key-file={plane.key('service-account')}",
        f"--root-ca-file={plane.certificate('ca')}",
        f"--cluster-signing-cert-file={plane.certificate('ca')}",
        f"--cluster-signing-key-file={plane.key('ca')}",
        "--profiling=false",
        "--v=1",
    ]


AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
