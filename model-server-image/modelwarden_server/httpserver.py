"""An ASGI application as a process: the HTTP server in our own event loop, and an orderly end on a signal.

For the store, the sidecar and the model server alike. Must not know which application it serves.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelwarden_server.settings import ConfigurationError

log = logging.getLogger(__name__)
WAITING_REQUESTS = 4096
CLOSE_SECONDS = 5.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


class LastAnswers:
    """While the process is ending, tells clients not to send another request on the same connection."""

    def __init__(self, app: ASGIApp, ending: Callable[[], bool]) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._ending():
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)


async def serve_until_told(app: ASGIApp, where: Address | Path, end: Callable[[], Awaitable[int]]) -> int:
    """Serve until SIGTERM or SIGINT, then `end`, whose exit code is returned, and close the listener.

    While `end` runs requests are still answered; a second signal ends the process at once. `where` may be a
    unix socket. Raises ConfigurationError if it cannot be listened there.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    server = _server(app, where)
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    code = await end()
    server.stop()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await serving
    except TimeoutError:
        log.warning("connections were still open at the end")
    return code


async def until_idle(busy: Callable[[], int], seconds: float) -> None:
    """Wait until nothing is being worked on, at most so long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while busy() and loop.time() < deadline:  # noqa: ASYNC110 - once in the life of a process
        await asyncio.sleep(0.02)


def _server(app: ASGIApp, where: Address | Path) -> Any:
    if isinstance(where, Path):
        place: dict[str, Any] = {"uds": where}
        try:
            where.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {where} ({error.strerror})") from error
    else:
        check_free(where)
        place = {"address": where.host, "port": where.port}
    return Server(
        app,
        **place,
        interface=Interfaces.ASGINL,
        backlog=1024,
        backpressure=WAITING_REQUESTS,
        http1_settings=HTTP1Settings(header_read_timeout=30_000, keep_alive=True),
        websockets=False,
        log_enabled=False,
    )


def check_free(address: Address) -> None:
    """Raise ConfigurationError if somebody listens there: the server shares a port with whoever allows it,
    and would so halve the traffic of another cell."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror}): choose another --port"
        ) from error
