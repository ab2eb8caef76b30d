"""A result sent to where its caller wants it: one address outside, tried a few times.

The address is looked up once and connected to as it was checked, so that a name cannot lead to this pod or
to the node's metadata after the check. Must not follow redirects, nor send the cell's key.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httpx

from modelwarden_server.web import Refusal

log = logging.getLogger(__name__)
SECONDS: Final = 15.0
TRIES: Final = 4
FIRST_PAUSE: Final = 1.0
LONGEST_URL: Final = 2048
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def outside(address: Address) -> bool:
    """Whether an address may be sent to: not this pod, not the node's own services."""
    inner = getattr(address, "ipv4_mapped", None) or address
    return not (inner.is_loopback or inner.is_link_local or inner.is_multicast or inner.is_unspecified)


def check_url(url: str) -> SplitResult:
    """The parts of a URL that may be sent to. Raises Refusal (400)."""
    try:
        parts = urlsplit(url)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        ) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > LONGEST_URL or not url.isprintable() or " " in url:
        raise Refusal(400, "webhook_endpoint must be an http or https address without credentials")
    return parts


async def resolved(parts: SplitResult, allowed: Callable[[Address], bool]) -> str:
    """An address of the host that may be sent to. Raises Refusal (400)."""
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        raise Refusal(400, "webhook_endpoint: its host is not known here") from None
    addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    if not addresses or not all(allowed(address) for address in addresses):
        raise Refusal(400, "webhook_endpoint: its host is inside of this pod or its node")
    return str(addresses[0])


async def deliver(
    client: httpx.AsyncClient, parts: SplitResult, address: str, content: bytes, pause: float = FIRST_PAUSE
) -> bool:
    """Send it; False, and a line in the log without the address's path, when nobody took it."""
    host = f"[{address}]" if ":" in address else address
    port = "" if parts.port is None else f":{parts.port}"
    target = parts._replace(netloc=f"{host}{port}", fragment="").geturl()
    headers = {"Host": parts.netloc, "Content-Type": "application/json"}
    why = ""
    for attempt in range(TRIES):
        try:
            answer = await client.post(
                target,
                content=content,
                headers=headers,
                timeout=SECONDS,
                follow_redirects=False,
                extensions={"sni_hostname": parts.hostname},
            )
        except httpx.HTTPError as error:
            why = type(error).__name__
        else:
            if answer.is_success:
                return True
            why = f"status {answer.status_code}"
            if answer.status_code < 500 and answer.status_code != 429:
                break
        if attempt + 1 < TRIES:
            await asyncio.sleep(pause * 2**attempt)
    log.warning("a webhook at %s was not taken: %s", parts.hostname, why)
    return False
