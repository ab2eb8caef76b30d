"""The two that a sidecar talks to: the store with the cell's key, the model server over the pod's socket.

Every call has a time limit. Must not know what is asked for, and never hands the key to the model server.
"""

from collections.abc import Callable
from pathlib import Path

import httpx

CONNECT_SECONDS = 5.0
STORE_SECONDS = 60.0
MODEL_SERVER_SECONDS = 200.0
"""Longer than any one piece of work may take: whoever waits has a limit of his own."""


def store_link(url: str, key: Callable[[], str]) -> httpx.AsyncClient:
    """The cell's store; the key is read for each request, because it may change."""

    async def sign(request: httpx.Request) -> None:
        request.headers["Authorization"] = key()

    return httpx.AsyncClient(
        base_url=url,
        timeout=httpx.Timeout(STORE_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
        event_hooks={"request": [sign]},
        trust_env=False,
    )


def model_server_link(socket: Path) -> httpx.AsyncClient:
    """The pod's model server."""
    return httpx.AsyncClient(
        base_url="http://model-server",
        transport=httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=64)),
        timeout=httpx.Timeout(MODEL_SERVER_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    )
