"""An own node, as a person uses it: up, pods, volumes, names, and away without a trace.

Needs root on Linux; one cluster for all tests but those that break one.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from testbed import node
from testbed.api_client import wait_until
from testbed.image_store import ImageStore
from testbed.images import build
from testbed.network import NodeNetwork
from testbed.own_node import OwnNode
from testbed.processes import Process, cgroups, folders_below, members
from testbed.progress import SilentReporter, Step
from testbed.record import clusters_folder, read_record

pytestmark = pytest.mark.e2e
PROJECT = Path(__file__).parents[2]
NAME, VICTIM = "testbed-test", "testbed-victim"
NAMESPACE = "restricted"
REPORTER = SilentReporter()


def machine() -> set[str]:
    """All a node could leave behind: mounts, devices, routes, firewall rules, cgroups, folders, settings."""

    def ask(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    folders = {path for parent in ("/run", "/var/lib", "/var/log", "/etc") for path in Path(parent).iterdir()}
    groups = {path for path in folders_below(Path("/sys/fs/cgroup")) if path.parent.name == "modelwarden"}
    devices = {f"device {each['ifname']}" for each in json.loads("".join(ask("ip", "-json", "link")))}
    told = {*ask("ip", "route", "show", "table", "all"), *ask("nft", "list", "tables")}
    told |= {*ask("sysctl", "net.ipv4.ip_forward")}
    return {str(each) for each in (*mounts, *folders, *groups)} | devices | told


def namespaces_of(pid: int) -> set[str]:
    """The namespaces a process is in, as the kernel numbers them."""
    names = ("pid", "mnt", "net", "cgroup", "uts", "ipc")
    return {str(Path(f"/proc/{pid}/ns/{name}").readlink()) for name in names}


def processes_in(namespaces: set[str]) -> set[int]:
    """Every process of the machine that is in one of these namespaces."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            within = {str(each.readlink()) for each in (process / "ns").iterdir()}
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or the machine's own
            continue
        if within & namespaces:
            found.add(int(process.name))
    return found


def start(name: str) -> OwnNode:
    return OwnNode(node.start(name, REPORTER), REPORTER)


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnNode]:
    cluster = start(NAME)
    yield cluster
    cluster.down()


@pytest.fixture(scope="module")
def image(cluster: OwnNode) -> str:
    """The operator's image: it has a Python to answer with."""
    return cluster.load(build("operator", REPORTER))


@pytest.fixture
def victim() -> Iterator[str]:
    """A name for a cluster that is to suffer."""
    yield VICTIM
    node.remove(VICTIM, REPORTER)


def kubectl(cluster: OwnNode, *arguments: str, given: str | None = None) -> str:
    command = [str(cluster.programs / "kubectl"), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    finished = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=240)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


SERVER = """
import http.server, os
open('/data/kept', 'a').write('written\\n')
os.link('/data/kept', f'/data/link-{os.getpid()}')
print('serving', flush=True)
os.chdir('/data')
http.server.ThreadingHTTPServer(('', 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def web(image: str) -> str:
    """A claim, a pod of the restricted kind that writes to it and serves it, and a Service."""
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SERVER],
        "readinessProbe": {"httpGet": {"path": "/kept", "port": 8080}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532}
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespaced = {"name": "web", "namespace": NAMESPACE}
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": namespaced,
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "15Gi"}}},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": namespaced | {"labels": {"app": "web"}},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "securityContext": security | {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "web"}}],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "front", "namespace": NAMESPACE},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


@pytest.fixture(scope="module")
def pod(cluster: OwnNode, image: str) -> OwnNode:
    """The cluster, with the pod ready in it."""
    kubectl(cluster, "apply", "--filename=-", given=web(image))
    kubectl(cluster, "wait", f"--namespace={NAMESPACE}", "--for=condition=Ready", "pod/web", "--timeout=200s")

    def served() -> bool:  # the Service learns of a ready pod a moment later
        try:
            return fetched(f"{cluster.reach(NAMESPACE, 'front', 80)}/kept") == b"written\n"
        except OSError:
            return False

    wait_until(served, 200, lambda: "the Service does not answer")
    return cluster


def fetched(url: str) -> bytes:
    """Straight from there: a proxy of the machine has no business in the cluster."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def in_pod(cluster: OwnNode, program: str) -> str:
    return kubectl(cluster, "exec", f"--namespace={NAMESPACE}", "web", "--", "python", "-c", program)


class Watched(SilentReporter):
    """Notes what is begun."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def step(self, title: str) -> AbstractContextManager[Step]:
        self.titles.append(title)
        return super().step(title)


def test_a_second_start_finds_the_cluster_and_begins_nothing(cluster: OwnNode) -> None:
    watched = Watched()
    assert node.start(NAME, watched) == cluster.record
    assert watched.titles == []


def test_a_service_is_reached_from_the_machine(pod: OwnNode) -> None:
    assert fetched(f"{pod.reach(NAMESPACE, 'front', 80)}/kept") == b"written\n"


def test_a_pod_finds_a_service_by_its_name_and_reaches_itself_through_it(pod: OwnNode) -> None:
    program = "import urllib.request; print(urllib.request.urlopen('http://front/kept', timeout=60).read())"
    assert "written" in in_pod(pod, program)


def test_what_a_pod_writes_belongs_to_its_group_and_is_seen_on_the_machine(pod: OwnNode) -> None:
    folder = pod.volume_folder(NAMESPACE, "web")
    assert folder is not None
    kept = (folder / "kept").stat()
    assert (kept.st_uid, kept.st_gid, kept.st_nlink) == (65532, 65532, 2)


def test_a_pods_log_can_be_read(pod: OwnNode) -> None:
    assert "serving" in kubectl(pod, "logs", f"--namespace={NAMESPACE}", "web")


def test_a_pods_port_can_be_forwarded(pod: OwnNode) -> None:
    command = [str(pod.programs / "kubectl"), f"--kubeconfig={pod.kubeconfig}", f"--namespace={NAMESPACE}"]
    with subprocess.Popen(
        [*command, "port-forward", "web", ":8080"], stdout=subprocess.PIPE, text=True
    ) as forward:
        assert forward.stdout is not None
        try:
            address = forward.stdout.readline().split()[2]
            assert fetched(f"http://{address}/kept") == b"written\n"
        finally:
            forward.terminate()


def test_a_pod_that_is_not_restricted_is_refused(pod: OwnNode, image: str) -> None:
    command = [str(pod.programs / "kubectl"), f"--kubeconfig={pod.kubeconfig}", f"--namespace={NAMESPACE}"]
    refused = subprocess.run(
        [*command, "run", "loose", f"--image={image}"], capture_output=True, text=True, check=False
    )
    assert "violates PodSecurity" in refused.stderr


def test_a_volume_whose_claim_is_gone_is_emptied_and_offered_again(pod: OwnNode) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "short-lived"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "90Gi"}},
            "volumeName": "local-24",
        },
    }
    folder = pod.record.folder / "volumes" / "local-24"
    (folder / "left").write_text("over")
    kubectl(pod, "apply", "--filename=-", given=json.dumps(claim))
    kubectl(pod, "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/short-lived", "--timeout=200s")
    kubectl(pod, "delete", "pvc", "short-lived")

    def offered() -> bool:
        return any(line.split()[:3] == ["local-24", "100Gi", "Available"] for line in pod.volumes())

    wait_until(offered, 200, lambda: "\n".join(pod.volumes()))
    assert list(folder.iterdir()) == []


def test_only_what_the_node_lacks_is_sent_to_it(cluster: OwnNode, image: str) -> None:
    ref = build("operator", REPORTER)
    assert ref.image is not None
    _, config, *layers = ref.layout.contents(ref.image)
    changed = ref.layout.read(config) | {"author": f"changed at {time.time()}"}
    other = ref.layout.write_image(f"{ref.repository}:changed", changed, layers)
    assert cluster.record.init is not None
    store = ImageStore(cluster.record.init.pid)
    assert store.load(ref.layout, other) < 100_000 < sum(layer.size for layer in layers)
    assert {image, other.name} <= store.images()


def test_down_leaves_nothing_behind(victim: str) -> None:
    before = machine()
    record = start(victim).record
    assert record.init is not None
    namespaces = namespaces_of(record.init.pid) - namespaces_of(os.getpid())
    assert len(processes_in(namespaces)) >= 9
    made = machine() - before
    network = NodeNetwork(record.slot)
    assert {f"device {network.device}", f"table ip {network.table}"} <= made
    assert node.remove(victim, REPORTER)
    # The machine's process 1 may take a moment to collect the dead.
    wait_until(lambda: not processes_in(namespaces), 120, lambda: f"left: {processes_in(namespaces)}")
    assert not record.folder.exists()
    assert made & machine() == set()


def test_a_node_that_was_killed_is_made_anew(victim: str) -> None:
    record = start(victim).record
    assert record.init is not None
    record.init.kill()
    wait_until(lambda: not members(record.cgroup), 120, lambda: f"left: {members(record.cgroup)}")
    again = start(victim)
    assert again.healthy()
    assert again.record.slot == record.slot
    assert again.record.init != record.init


CALLER = f"""
import sys; sys.path.insert(0, {str(PROJECT)!r})
from testbed import node
from contextlib import contextmanager
from testbed.progress import SilentReporter

class Halting(SilentReporter):
    @contextmanager
    def step(self, title):
        yield self
    def advance(self, done, total=None, detail=""):
        if detail == sys.argv[1]:
            print("half way", flush=True)
            sys.stdin.readline()

node.start({VICTIM!r}, Halting())
"""


@pytest.mark.parametrize("where", ["starting etcd and the API server", "waiting for the node"])
def test_a_start_that_is_killed_half_way_leaves_nothing_running(victim: str, where: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starting:
        assert starting.stdout is not None
        assert starting.stdout.readline() == b"half way\n"
        record = read_record(victim)
        assert record is not None
        assert record.init is not None
        assert not record.ready
        starting.kill()
    wait_until(lambda: not members(record.cgroup), 120, lambda: f"left: {members(record.cgroup)}")
    assert node.remove(victim, REPORTER)
    assert not (clusters_folder() / victim).exists()
    assert not any(group.exists() for group in cgroups(record.cgroup))
    assert not Path(f"/sys/class/net/{NodeNetwork(record.slot).device}").exists()


def test_what_is_removed_twice_was_not_there_the_second_time(victim: str) -> None:
    assert not node.remove(victim, REPORTER)


def test_a_process_id_in_an_old_record_is_not_trusted(cluster: OwnNode) -> None:
    """After the machine was started again, the number belongs to somebody else."""
    init = cluster.record.init
    assert init is not None
    assert not Process(init.pid, 1).alive()
