"""A furnished cell as a process: the HTTP server in our own event loop, settings re-read, an orderly end.

On SIGTERM rows are refused (503 with Retry-After, connections kept), requests inside are finished, the log
is brought into the tables, then the listener closes. A second signal ends the process at once: what is in
the log is safe, and the next start takes it from there.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelwarden_server.cell import Cell, Phase
from modelwarden_server.settings import POLL_SECONDS, ConfigurationError

log = logging.getLogger(__name__)
WAITING_REQUESTS = 4096
LINGER_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


class LastAnswers:
    """While the process is ending, tells clients not to send another request on the same connection."""

    def __init__(self, app: ASGIApp, cell: Cell) -> None:
        self._app = app
        self._cell = cell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._cell.phase is Phase.DRAINING:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last)


async def serve(cell: Cell, app: ASGIApp, address: Address, busy: Callable[[], int], grace: float) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 if nothing was left unfinished.

    `busy` tells how many requests are being worked on; `grace` is seconds for finishing them and for the
    tables together. Raises ConfigurationError if the address cannot be listened on.
    """
    _check_free(address)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(
        LastAnswers(app, cell),
        address=address.host,
        port=address.port,
        interface=Interfaces.ASGINL,
        backlog=1024,
        backpressure=WAITING_REQUESTS,
        http1_settings=HTTP1Settings(header_read_timeout=30_000, keep_alive=True),
        websockets=False,
        log_enabled=False,
    )
    cell.start()
    serving = asyncio.create_task(server.serve())
    polling = asyncio.create_task(_poll(cell))
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    code = await _end(cell, busy, grace)
    polling.cancel()
    server.stop()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(5):
            await serving
    except TimeoutError:
        log.warning("connections were still open at the end")
    return code


def _check_free(address: Address) -> None:
    """The server shares a port with whoever allows it, and would so halve the traffic of another cell."""
    try:
        family, kind, _, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror}): choose another --port"
        ) from error


async def _poll(cell: Cell) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        cell.settings.poll()


async def _end(cell: Cell, busy: Callable[[], int], grace: float) -> int:
    """Finish what is inside, bring the log into the tables, and be there for those who still ask."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    deadline = begun + grace
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_DFL)
    cell.drain()
    log.info("ending: %d requests inside", busy())
    while busy() and loop.time() < deadline:  # noqa: ASYNC110 - once in the life of a process
        await asyncio.sleep(0.02)
    left = max(1.0, deadline - loop.time())
    done = await asyncio.to_thread(cell.close, left)
    # Clients whose connection was idle learn from a 503 that this is the end, not from a broken connection.
    await asyncio.sleep(max(0.0, begun + LINGER_SECONDS - loop.time()))
    if not done:
        log.warning("rows stay in the log: the next start brings them into the tables")
    return 0 if done else 1
