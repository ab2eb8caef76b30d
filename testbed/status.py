"""What a person asks of a cluster: does it run, where, how much does it take. Lines of text, nothing else."""

from collections.abc import Iterator

from testbed.api_client import ApiError
from testbed.cluster import find_cluster
from testbed.errors import SetupError
from testbed.network import NodeNetwork
from testbed.own_node import OwnNode
from testbed.processes import members, resident_bytes
from testbed.progress import Reporter

MEBIBYTE = 1 << 20


def describe(name: str, reporter: Reporter) -> Iterator[str]:
    """A line for each fact; one line if there is no such cluster."""
    try:
        cluster = find_cluster(name, reporter)
    except SetupError as error:
        yield str(error)
        return
    healthy = cluster.healthy()
    yield f"cluster         {cluster.name} ({cluster.kind})"
    yield f"healthy         {'yes' if healthy else 'no: `python -m testbed up` makes it anew'}"
    yield f"KUBECONFIG      {cluster.kubeconfig}"
    yield f"programs        {cluster.programs}"
    if isinstance(cluster, OwnNode):
        yield from _own_node(cluster, healthy)


def _own_node(cluster: OwnNode, healthy: bool) -> Iterator[str]:
    network = NodeNetwork(cluster.record.slot)
    yield f"logs            {cluster.record.folder / 'log'}"
    yield f"addresses       node {network.node}, pods {network.pods}, services {network.services}"
    system, all_processes = (members(f"{cluster.record.cgroup}{part}") for part in ("/system", ""))
    yield f"control plane   {len(system)} processes, {resident_bytes(system) // MEBIBYTE} MiB"
    yield f"pods            {_running_pods(cluster) if healthy else 'unknown'}"
    pods = all_processes - system
    yield f"  in them       {len(pods)} processes, {resident_bytes(pods) // MEBIBYTE} MiB"


def _running_pods(cluster: OwnNode) -> str:
    try:
        items = cluster.client.get("/api/v1/pods")["items"]
    except (OSError, ApiError) as error:
        return f"unknown ({error})"
    running = sum(each["status"].get("phase") == "Running" for each in items)
    return f"{running} running of {len(items)}"
