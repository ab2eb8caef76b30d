"""The way of an own node from a record to a cluster that takes pods, step by step.

Everything is started through the supervisor that is process 1 of the node, and until the last step the
node ends with the caller: a run that is killed leaves nothing that runs.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

from testbed import namespaces
from testbed.api_client import ApiClient, ApiError, wait_until
from testbed.apiserver import write_credentials
from testbed.control_plane import (
    DOMAIN,
    ControlPlane,
    apiserver_arguments,
    controller_manager_arguments,
    etcd_arguments,
)
from testbed.dns import answers
from testbed.errors import SetupError, tail
from testbed.image_register import Register
from testbed.image_store import ImageStore, take_store
from testbed.images import Which, image_layout
from testbed.network import (
    NodeNetwork,
    connect,
    machine_name_servers,
    uplink_mtu,
)
from testbed.node_config import (
    PAUSE_IMAGE,
    NodeConfig,
    cni_config,
    containerd_config,
    coredns_config,
    dns_objects,
    kubelet_arguments,
    kubelet_config,
    proxy_arguments,
    proxy_config,
    scheduler_arguments,
)
from testbed.oci import empty_config, write_files
from testbed.orders import SUPERVISOR, Orders
from testbed.packages import cni_plugins
from testbed.processes import Process, make_cgroups
from testbed.progress import Step
from testbed.record import Record
from testbed.volumes import make_pool, storage_class

PORT = 6443
READY_SECONDS = 240.0
MOST_RESTARTS = 3
PROJECT = Path(__file__).parent.parent


def client_of(record: Record) -> ApiClient:
    """With the administrator's rights."""
    url = f"https://{NodeNetwork(record.slot).node}:{PORT}"
    return ApiClient.of_administrator(url, record.folder / "certificates")


def _is_forgotten(name: str) -> bool:
    """Whether an image is one of ours that the cache has given up: nobody will ask for it again."""
    repository, _, tag = name.rpartition(":")
    which = repository.removeprefix("localhost/modelwarden/")
    return which in get_args(Which) and tag not in Register(image_layout()).keys(which)


def node_ready(record: Record) -> bool:
    node = f"{record.name}-node"
    try:
        status = client_of(record).get(f"/api/v1/nodes/{node}")["status"]
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))


def _exists(client: ApiClient, path: str) -> bool:
    try:
        client.get(path)
    except ApiError as error:
        if error.status == 404:
            return False
        raise
    return True


class NodeStart:
    """The way from a record to a ready cluster."""

    STEPS = 8

    def __init__(self, record: Record, step: Step) -> None:
        self.record, self._step, self._done = record, step, 0
        network = NodeNetwork(record.slot)
        plane = ControlPlane(
            Path(record.programs), record.folder, network.node, PORT, network.services, advertise=network.node
        )
        plugins = cni_plugins()
        assert plugins is not None, "installed before"
        self.config = NodeConfig(
            name=record.name,
            folder=record.folder,
            plane=plane,
            network=network,
            cni_plugins=plugins,
            upstream=machine_name_servers(),
            mtu=uplink_mtu(),
        )

    def run(self) -> Record:
        self._say("writing configuration")
        take_store(self.record.folder / "containerd")
        write_credentials(self.config.plane, self.config.node)
        self._write_files()
        self._say("making namespaces")
        with contextlib.closing(self._become_node()) as orders:
            connect(self.config.network, self._init)
            self._start_programs(orders)
            orders.detach()
        self.record = dataclasses.replace(self.record, ready=True)
        self.record.write()
        return self.record

    @property
    def _init(self) -> int:
        assert self.record.init is not None
        return self.record.init.pid

    def _say(self, doing: str) -> None:
        self._step.advance(self._done, self.STEPS, doing)
        self._done += 1

    def _write_files(self) -> None:
        config, folder = self.config, self.record.folder
        for each in ("cni", "log", "volumes", "kubelet"):
            (folder / each).mkdir(exist_ok=True)
        (folder / "containerd.toml").write_text(containerd_config(config))
        (folder / "containerd-tidy.toml").write_text(containerd_config(config, pods=False))
        (folder / "cni" / "10-pods.conflist").write_text(json.dumps(cni_config(config), indent=1))
        (folder / "kubelet.json").write_text(json.dumps(kubelet_config(config), indent=1))
        (folder / "kube-proxy.json").write_text(json.dumps(proxy_config(config), indent=1))
        (folder / "Corefile").write_text(coredns_config(config))
        (folder / "resolv.conf").write_text("".join(f"nameserver {each}\n" for each in config.upstream))
        spec = {
            "folder": str(folder),
            "cgroup": self.record.cgroup,
            "hostname": config.node,
            "pid_file": str(folder / "init.pid"),
            "supervisor": str(SUPERVISOR),
            "sysctls": {"net.ipv4.ip_forward": "1"},
        }
        (folder / "spec.json").write_text(json.dumps(spec, indent=1))

    def _become_node(self) -> Orders:
        folder = self.record.folder
        make_cgroups(self.record.cgroup)
        program = [sys.executable, "-I", "-S", namespaces.__file__, str(folder / "spec.json")]
        orders = Orders(program, folder / "log" / "init.log")
        try:
            orders.state()  # answered by the supervisor, when the namespaces are made
            init = Process.of(int((folder / "init.pid").read_text()))
            if init is None:
                raise SetupError("Process 1 of the node has ended.\n" + tail(folder / "log" / "init.log"))
        except BaseException:
            orders.close()
            raise
        self.record = dataclasses.replace(self.record, init=init)
        self.record.write()
        return orders

    def _start_programs(self, orders: Orders) -> None:
        config = self.config
        client = client_of(self.record)
        self._say("starting etcd and the API server")
        self._start(orders, "etcd", etcd_arguments(config.plane))
        self._start(orders, "kube-apiserver", apiserver_arguments(config.plane))
        self._say("starting containerd")
        self._start_containerd(orders)
        self._say("waiting for the API server")
        self._wait(orders, client.is_ready, "kube-apiserver")
        self._say("starting the rest")
        self._start(orders, "kube-controller-manager", controller_manager_arguments(config.plane))
        self._start(orders, "kube-scheduler", scheduler_arguments(config))
        self._start(orders, "kube-proxy", proxy_arguments(config))
        self._start(orders, "kubelet", kubelet_arguments(config))
        self._start(
            orders, "coredns", [str(config.plane.programs / "coredns"), "-conf", f"{config.folder}/Corefile"]
        )
        self._create_objects(client)
        watching = [
            sys.executable,
            "-m",
            "testbed.volumes",
            str(config.folder),
            config.node,
            config.plane.url,
        ]
        self._start(orders, "volumes", watching, {"PYTHONPATH": str(PROJECT)})
        self._say("waiting for the node")
        self._wait(orders, lambda: node_ready(self.record), "kubelet")
        self._say("waiting for names")
        name = f"kubernetes.default.svc.{DOMAIN}"
        self._wait(orders, lambda: answers(str(config.network.dns), name), "coredns")
        self._wait(
            orders,
            lambda: _exists(client, "/api/v1/namespaces/default/serviceaccounts/default"),
            "kube-controller-manager",
        )

    def _start_containerd(self, orders: Orders) -> None:
        """A store from an earlier cluster still knows that one's pods: they go before kubelet sees them."""
        folder, store = self.record.folder, ImageStore(self._init)
        if (folder / "containerd").exists():
            self._start(orders, "containerd", ["containerd", "--config", f"{folder}/containerd-tidy.toml"])
            self._wait(orders, store.answers, "containerd")
            store.forget_pods()
            store.remove(sorted(each for each in store.images() if _is_forgotten(each)))
            orders.stop("containerd")
        self._start(orders, "containerd", ["containerd", "--config", f"{folder}/containerd.toml"])
        self._wait(orders, store.answers, "containerd")
        if PAUSE_IMAGE not in store.images():
            layout = image_layout()
            pause = (self.config.plane.programs / "pause").read_bytes()
            layer = layout.write_layer(lambda file: write_files(file, {"pause": (pause, 0o755)}))
            image = empty_config() | {"config": {"Entrypoint": ["/pause"], "User": "65535:65535"}}
            store.load(layout, layout.write_image(PAUSE_IMAGE, image, [layer]))

    def _create_objects(self, client: ApiClient) -> None:
        objects = [("/apis/storage.k8s.io/v1/storageclasses", storage_class())]
        service, endpoints = dns_objects(self.config)
        objects.append(("/api/v1/namespaces/kube-system/services", service))
        objects.append(("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", endpoints))
        for path, body in objects:
            client.request("POST", path, body)
        make_pool(client, self.config.volumes, self.config.node)

    def _start(
        self, orders: Orders, name: str, command: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        log = self.record.folder / "log" / f"{name}.log"
        orders.start(name, command, log, environment=environment, restart=True)

    def _wait(self, orders: Orders, condition: Callable[[], bool], name: str) -> None:
        """Until the condition holds; not if a program ends again and again, since then it never will."""

        def log(of: str) -> str:
            path = self.record.folder / "log" / f"{of}.log"
            return f"The end of {path}:\n{tail(path)}"

        def holds() -> bool:
            for failing, times in orders.restarts().items():
                if times >= MOST_RESTARTS:
                    raise SetupError(f"{failing} ends as often as it is started. {log(failing)}")
            return condition()

        wait_until(holds, READY_SECONDS, lambda: f"{name} did not get ready. {log(name)}")
