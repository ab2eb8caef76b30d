"""Ways out of a cell: which ports lead to an address, and the rule that opens them. Pure.

Where an address leads cannot be said by a NetworkPolicy: its port can.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.sources import Source

WEB_PORTS = frozenset({80, 443})
# Where clouds hand out the credentials of the node.
_NOT_THERE_4 = ["169.254.0.0/16"]
_NOT_THERE_6 = ["fe80::/10", "fd00:ec2::254/128"]
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def way_out(ports: Iterable[int]) -> Manifest:
    """The egress rule of a NetworkPolicy that lets its pods reach these ports anywhere but on the node."""
    anywhere = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": _NOT_THERE_4}},
        {"ipBlock": {"cidr": "::/0", "except": _NOT_THERE_6}},
        # Some networks do not count pods among addresses.
        {"namespaceSelector": {}},
    ]
    return {"to": anywhere, "ports": [{"port": port, "protocol": "TCP"} for port in sorted(ports)]}


def ports_to_source(source: Source, pod: PodSpec) -> frozenset[int]:
    """Ports that a Job needs to read the source, through the pod's proxies if any; none for a mount."""
    if source.http is not None:
        return ports_to([source.http.url], pod)
    if source.object_store is not None:
        return ports_to([source.object_store.endpoint], pod)
    return frozenset()


def ports_to(addresses: Iterable[str | None], pod: PodSpec) -> frozenset[int]:
    """Ports of these addresses, of the pod's proxies, and of the web: a redirect may lead there."""
    proxies = [entry.value for entry in pod.env if entry.name.lower() in _PROXIES]
    named = {_port(url) for url in (*addresses, *proxies) if url}
    return WEB_PORTS | {port for port in named if port is not None}


def _port(url: str) -> int | None:
    try:
        parts = urlsplit(url)
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
