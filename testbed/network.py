"""Addresses of an own node, and the little the machine outside its network namespace must know of it.

A cluster's slot (0 to 255) gives it three networks of its own. Outside there is one device, two routes
through it, and one nftables table that lets pods out; removing them is always safe to repeat.
"""

import hashlib
import json
import subprocess
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from testbed.errors import SetupError

SLOTS = 256
# Three blocks of the private range that few networks use; the slot is the third byte.
LINKS, PODS, SERVICES = (IPv4Network(f"10.{second}.0.0/16") for second in (213, 214, 215))


@dataclass(frozen=True)
class NodeNetwork:
    """What a slot stands for."""

    slot: int

    @property
    def link(self) -> IPv4Network:
        """Between the machine and the node: two addresses."""
        return IPv4Network((int(LINKS[0]) + self.slot * 256, 30))

    @property
    def machine(self) -> IPv4Address:
        return self.link[1]

    @property
    def node(self) -> IPv4Address:
        return self.link[2]

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network((int(PODS[0]) + self.slot * 256, 24))

    @property
    def services(self) -> IPv4Network:
        return IPv4Network((int(SERVICES[0]) + self.slot * 256, 24))

    @property
    def dns(self) -> IPv4Address:
        """The Service that pods ask for names."""
        return self.services[10]

    @property
    def device(self) -> str:
        """The machine's end of the pair."""
        return f"mw-{self.slot}"

    @property
    def table(self) -> str:
        """Of nftables, on the machine."""
        return f"modelwarden-{self.slot}"

    @property
    def all(self) -> tuple[IPv4Network, IPv4Network, IPv4Network]:
        return self.link, self.pods, self.services


def choose_slot(name: str, taken: Collection[int], foreign: Iterable[IPv4Network]) -> int:
    """A slot nobody has: the hash of the name, or the next free one.

    `foreign` are networks the machine routes already. A wide route (a VPN's 10.0.0.0/8) is no
    obstacle, since ours are narrower and win; one as narrow as a /12 would lose something to us.
    """
    narrow = [network for network in foreign if network.prefixlen >= 12]
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for offset in range(SLOTS):
        slot = (first + offset) % SLOTS
        ours = NodeNetwork(slot).all
        if slot not in taken and not any(mine.overlaps(theirs) for mine in ours for theirs in narrow):
            return slot
    raise SetupError(
        "All networks in 10.213.0.0/16, 10.214.0.0/16 and 10.215.0.0/16 are in use on this machine; "
        "remove clusters with `python -m testbed down --all`."
    )


def routed_networks() -> list[IPv4Network]:
    """What this machine routes, the default route left out."""
    routes = json.loads(_run("ip", "-json", "-4", "route", "show", "table", "all"))
    found = []
    for route in routes:
        destination = route.get("dst", "default")
        if destination != "default" and route.get("type", "unicast") in ("unicast", "local"):
            found.append(IPv4Network(destination, strict=False))
    return found


def connect(network: NodeNetwork, init: int) -> None:
    """A wire between the machine and the network namespace of process `init`, and the way in and out."""
    device, prefix = network.device, network.link.prefixlen
    mtu = str(uplink_mtu())
    inside = ("nsenter", f"--target={init}", "--net", "ip")
    _run(
        "ip",
        "link",
        "add",
        device,
        "mtu",
        mtu,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "mtu",
        mtu,
        "netns",
        str(init),
    )
    _run("ip", "address", "add", f"{network.machine}/{prefix}", "dev", device)
    _run("ip", "link", "set", device, "up")
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"{network.node}/{prefix}", "dev", "eth0")
    _run(*inside, "link", "set", "eth0", "up")
    _run(*inside, "route", "add", "default", "via", str(network.machine))
    for reachable in (network.pods, network.services):
        _run("ip", "route", "add", str(reachable), "via", str(network.node), "dev", device)
    _run("nft", "-f", "-", given=masquerade_rules(network))


def disconnect(network: NodeNetwork) -> None:
    """Removes what `connect` made on the machine, as far as it is there."""
    subprocess.run(["ip", "link", "delete", network.device], capture_output=True, check=False)
    subprocess.run(["nft", "delete", "table", "ip", network.table], capture_output=True, check=False)


def disconnect_unknown(known: Collection[int]) -> None:
    """Removes what clusters made whose records are lost: all of ours but the known slots'."""
    tables = json.loads(_run("nft", "--json", "list", "tables"))["nftables"]
    names = [each["table"]["name"] for each in tables if "table" in each]
    for slot in range(SLOTS):
        if slot not in known and NodeNetwork(slot).table in names:
            disconnect(NodeNetwork(slot))


def masquerade_rules(network: NodeNetwork) -> str:
    """nftables input: what leaves the machine from this node or its pods carries the machine's address."""
    return f"""
table ip {network.table} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname != "{network.device}" ip saddr {{ {network.pods}, {network.node} }} masquerade
    }}
}}
"""


def set_forwarding(wanted: bool) -> bool:
    """Whether the machine passes packets on; gives what it was before."""
    setting = Path("/proc/sys/net/ipv4/ip_forward")
    before = setting.read_text().strip() == "1"
    if before != wanted:
        setting.write_text("1" if wanted else "0")
    return before


def name_servers(resolv_conf: str) -> list[str]:
    """Name servers a node can reach: those on the machine's loopback it cannot."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and not words[1].startswith(("127.", "::1", "fe80:")):
            found.append(words[1])
    return found


def machine_name_servers() -> list[str]:
    """The machine's own, behind systemd-resolved too."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.is_file() and (found := name_servers(path.read_text())):
            return found
    return []


def uplink_mtu() -> int:
    """Of the device with the default route: a larger one inside would lose packets at a tunnel."""
    routes = json.loads(_run("ip", "-json", "-4", "route", "show", "default"))
    if not routes:
        return 1500
    links = json.loads(_run("ip", "-json", "link", "show", "dev", routes[0]["dev"]))
    return int(links[0]["mtu"])


def _run(*command: str, given: str | None = None) -> str:
    finished = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=30)
    if finished.returncode:
        raise SetupError(f"`{' '.join(command)}` failed: {finished.stderr.strip()}")
    return finished.stdout
