"""The node's programs: their arguments and configuration files. Pure: renders, starts nothing.

Everything that only shows on a machine without Docker, and why, is written beside the line that cures it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.control_plane import DOMAIN, ControlPlane
from testbed.network import NodeNetwork

PAUSE_IMAGE = "localhost/modelwarden/pause:1"
SANDBOX = "/run/containerd/containerd.sock"  # in the node's own /run
STORAGE_CLASS = "modelwarden-local"
PROVISIONER = "modelwarden.dev/testbed"


@dataclass(frozen=True, kw_only=True)
class NodeConfig:
    """What the files are rendered from."""

    name: str
    folder: Path
    plane: ControlPlane
    network: NodeNetwork
    cni_plugins: Path
    upstream: Sequence[str]  # name servers of the machine
    mtu: int

    @property
    def node(self) -> str:
        return f"{self.name}-node"

    @property
    def volumes(self) -> Path:
        return self.folder / "volumes"


def containerd_config(config: NodeConfig, *, pods: bool = True) -> str:
    """`pods=False`: without the part that speaks to kubelet, to tidy up what it would remember."""
    disabled = ["io.containerd.snapshotter.v1." + each for each in ("aufs", "btrfs", "devmapper", "zfs")]
    disabled += ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]
    if not pods:
        disabled.append("io.containerd.grpc.v1.cri")
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{config.folder}/containerd"
state = "/run/containerd"
disabled_plugins = {json.dumps(disabled)}

[grpc]
  address = "{SANDBOX}"

[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE the sandbox's negative score cannot be set and runc dies of it.
  restrict_oom_score_adj = true
  # A profile would be loaded into the machine's kernel and stay there.
  disable_apparmor = true
  [{cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false
  [{cri}.cni]
    bin_dir = "{config.cni_plugins}"
    conf_dir = "{config.folder}/cni"
"""


def cni_config(config: NodeConfig) -> dict[str, Any]:
    """A wire for each pod, routed. No bridge: between two pods on one, answers would not pass the
    rules that gave a Service its address, unless the kernel has br_netfilter."""
    address = {
        "type": "host-local",
        "dataDir": f"{config.folder}/addresses",
        "ranges": [[{"subnet": str(config.network.pods)}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "mtu": config.mtu, "ipMasq": False, "ipam": address}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [plugin]}


def kubelet_config(config: NodeConfig) -> dict[str, Any]:
    tiny = dict.fromkeys(("nodefs.available", "imagefs.available", "nodefs.inodesFree"), "1%")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(config.plane.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(config.plane.certificate("kubelet-server")),
        "tlsPrivateKeyFile": str(config.plane.key("kubelet-server")),
        "address": str(config.network.node),
        "clusterDNS": [str(config.network.dns)],
        "clusterDomain": DOMAIN,
        "resolvConf": f"{config.folder}/resolv.conf",
        "containerRuntimeEndpoint": f"unix://{SANDBOX}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        # Images are imported and cannot be pulled again: none is ever thrown away.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # A laptop's disk is always nearly full.
        "evictionHard": {"memory.available": "100Mi"} | tiny,
        "syncFrequency": "10s",  # an edited ConfigMap shows in a pod six times sooner than by default
        "podLogsDir": "/var/log/pods",
        "shutdownGracePeriod": "0s",
    }


def kubelet_arguments(config: NodeConfig) -> Sequence[str]:
    return [
        str(config.plane.programs / "kubelet"),
        f"--config={config.folder}/kubelet.json",
        f"--kubeconfig={config.folder}/kubelet.kubeconfig",
        f"--root-dir={config.folder}/kubelet",
        f"--hostname-override={config.node}",
        f"--node-ip={config.network.node}",
        "--v=1",
    ]


def scheduler_arguments(config: NodeConfig) -> Sequence[str]:
    kubeconfig = config.folder / "kube-scheduler.kubeconfig"
    return [
        str(config.plane.programs / "kube-scheduler"),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--profiling=false",
        "--v=1",
    ]


def proxy_config(config: NodeConfig) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{config.folder}/kube-proxy.kubeconfig"},
        "hostnameOverride": config.node,
        "mode": "nftables",
        "clusterCIDR": str(config.network.pods),
        # The default of a second is a second's wait for every new pod.
        "nftables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
        # The table of connections is the machine's, not the namespace's: leave its limits alone.
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def proxy_arguments(config: NodeConfig) -> Sequence[str]:
    return [str(config.plane.programs / "kube-proxy"), f"--config={config.folder}/kube-proxy.json", "--v=1"]


def coredns_config(config: NodeConfig) -> str:
    """Served on the node's address; the Service that pods ask points here."""
    forward = f"    forward . {' '.join(config.upstream)}\n" if config.upstream else ""
    return f""".:53 {{
    bind {config.network.node}
    errors
    ready {config.network.node}:8181
    cache 5
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {config.folder}/admin.kubeconfig
        ttl 5
        fallthrough in-addr.arpa
    }}
{forward}}}
"""


def dns_objects(config: NodeConfig) -> list[dict[str, Any]]:
    """The Service `kube-dns`, as everywhere, with the node's CoreDNS behind it."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    metadata = {"name": "kube-dns", "namespace": "kube-system", "labels": labels}
    slice_labels = {
        "kubernetes.io/service-name": "kube-dns",
        "endpointslice.kubernetes.io/managed-by": "testbed",
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": str(config.network.dns), "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"name": "kube-dns-node", "labels": slice_labels},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [str(config.network.node)], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]
