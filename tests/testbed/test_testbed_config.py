"""The node's configuration files, read back by parsers of their formats."""

import json
import tomllib
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from testbed.control_plane import ControlPlane, apiserver_arguments, certificate_request, etcd_arguments
from testbed.namespaces import hierarchies
from testbed.network import NodeNetwork
from testbed.node_config import (
    NodeConfig,
    cni_config,
    containerd_config,
    coredns_config,
    kubelet_config,
    proxy_config,
)
from testbed.volumes import persistent_volume, pool

FOLDER = Path("/cache/clusters/demo")
NETWORK = NodeNetwork(9)


@pytest.fixture
def config() -> NodeConfig:
    plane = ControlPlane(
        Path("/programs"), FOLDER, NETWORK.node, 6443, NETWORK.services, advertise=NETWORK.node
    )
    return NodeConfig(
        name="demo",
        folder=FOLDER,
        plane=plane,
        network=NETWORK,
        cni_plugins=Path("/usr/lib/cni"),
        upstream=["192.0.2.53"],
        mtu=1400,
    )


def test_containerd_keeps_its_data_in_the_clusters_folder(config: NodeConfig) -> None:
    parsed = tomllib.loads(containerd_config(config))
    cri = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert parsed["root"] == f"{FOLDER}/containerd"
    assert cri["restrict_oom_score_adj"] is True
    assert cri["disable_apparmor"] is True
    assert cri["cni"]["conf_dir"] == f"{FOLDER}/cni"


def test_the_store_is_tidied_without_the_part_that_runs_pods(config: NodeConfig) -> None:
    with_pods = tomllib.loads(containerd_config(config))["disabled_plugins"]
    without = tomllib.loads(containerd_config(config, pods=False))["disabled_plugins"]
    assert set(without) - set(with_pods) == {"io.containerd.grpc.v1.cri"}


def test_pods_get_addresses_of_the_clusters_own_network(config: NodeConfig) -> None:
    (plugin,) = cni_config(config)["plugins"]
    assert IPv4Network(plugin["ipam"]["ranges"][0][0]["subnet"]) == NETWORK.pods
    assert plugin["mtu"] == 1400


def test_pods_ask_the_dns_service_and_images_are_never_thrown_away(config: NodeConfig) -> None:
    kubelet = kubelet_config(config)
    assert kubelet["clusterDNS"] == [str(NETWORK.dns)]
    assert kubelet["imageGCHighThresholdPercent"] == 100
    assert kubelet["failCgroupV1"] is False
    assert json.loads(json.dumps(kubelet)) == kubelet


def test_the_dns_service_and_the_api_are_inside_the_service_network() -> None:
    assert NETWORK.dns in NETWORK.services
    assert NETWORK.services[1] != NETWORK.dns


def test_the_proxy_leaves_the_machines_connection_table_alone(config: NodeConfig) -> None:
    assert proxy_config(config)["conntrack"]["maxPerCore"] == 0


def test_names_outside_the_cluster_go_to_the_machines_name_servers(config: NodeConfig) -> None:
    assert "forward . 192.0.2.53" in coredns_config(config)


def test_a_machine_without_name_servers_forwards_nothing(config: NodeConfig) -> None:
    alone = NodeConfig(**{**vars(config), "upstream": []})
    assert "forward" not in coredns_config(alone)


def test_the_api_server_reaches_kubelet_by_address(config: NodeConfig) -> None:
    arguments = apiserver_arguments(config.plane)
    assert "--kubelet-preferred-address-types=InternalIP" in arguments
    assert f"--advertise-address={NETWORK.node}" in arguments


def test_etcd_listens_on_no_port(config: NodeConfig) -> None:
    listening = [each for each in etcd_arguments(config.plane) if each.startswith("--listen")]
    assert listening
    assert all("=unix://" in each for each in listening)


def test_the_api_servers_certificate_names_all_its_addresses(config: NodeConfig) -> None:
    leaves = {
        leaf["name"]: leaf for leaf in certificate_request(config.plane, "demo-node")[0]["certificates"]
    }
    assert {str(NETWORK.node), str(NETWORK.services[1]), "kubernetes.default.svc"} <= set(
        leaves["apiserver"]["hosts"]
    )
    assert leaves["kubelet"]["common_name"] == "system:node:demo-node"


def test_volumes_stay_in_their_folder_on_their_node() -> None:
    volume = persistent_volume("local-01", "10Gi", FOLDER / "volumes", "demo-node")
    assert volume["spec"]["local"]["path"] == f"{FOLDER}/volumes/local-01"
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["demo-node"]


def test_the_pool_has_a_name_for_each_volume() -> None:
    assert len(pool()) == 24
    assert set(pool().values()) == {"10Gi", "20Gi", "100Gi"}


MOUNTS_V1 = """\
20 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 25 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 30 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 20 0:34 / /mnt/other rw - cgroup cgroup rw,memory
"""


def test_every_cgroup_hierarchy_is_found_with_what_it_takes_to_mount_it_again() -> None:
    found = [(str(each.path), each.kind, each.options) for each in hierarchies(MOUNTS_V1)]
    assert found == [
        ("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ("/sys/fs/cgroup/systemd", "cgroup", "name=systemd"),
        ("/sys/fs/cgroup/unified", "cgroup2", ""),
    ]


def test_a_machine_with_the_unified_hierarchy_alone_has_one() -> None:
    line = "30 25 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
    assert [(str(each.path), each.kind) for each in hierarchies(line)] == [("/sys/fs/cgroup", "cgroup2")]
