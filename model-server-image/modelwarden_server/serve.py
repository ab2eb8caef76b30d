"""A furnished cell as a process: the HTTP server in our own event loop, settings re-read, an orderly end.

On SIGTERM rows are refused (503 with Retry-After, connections kept), requests inside are finished, the log
is brought into the tables, then the listener closes. A second signal ends the process at once: what is in
the log is safe, and the next start takes it from there.
"""

import asyncio
import logging
from collections.abc import Callable

from starlette.types import ASGIApp

from modelwarden_server.cell import Cell, Phase
from modelwarden_server.httpserver import Address, LastAnswers, check_free, serve_until_told, until_idle
from modelwarden_server.settings import POLL_SECONDS

log = logging.getLogger(__name__)
LINGER_SECONDS = 0.5


async def serve(cell: Cell, app: ASGIApp, address: Address, busy: Callable[[], int], grace: float) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 if nothing was left unfinished.

    `busy` tells how many requests are being worked on; `grace` is seconds for finishing them and for the
    tables together. Raises ConfigurationError if the address cannot be listened on.
    """
    check_free(address)
    cell.start()
    polling = asyncio.create_task(_poll(cell))
    try:
        return await serve_until_told(
            LastAnswers(app, lambda: cell.phase is Phase.DRAINING),
            address,
            lambda: _end(cell, busy, grace),
        )
    finally:
        polling.cancel()


async def _poll(cell: Cell) -> None:
    while True:
        await asyncio.sleep(POLL_SECONDS)
        cell.settings.poll()


async def _end(cell: Cell, busy: Callable[[], int], grace: float) -> int:
    """Finish what is inside, bring the log into the tables, and be there for those who still ask."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    deadline = begun + grace
    cell.drain()
    log.info("ending: %d requests inside", busy())
    await until_idle(busy, deadline - loop.time())
    left = max(1.0, deadline - loop.time())
    done = await asyncio.to_thread(cell.close, left)
    # Clients whose connection was idle learn from a 503 that this is the end, not from a broken connection.
    await asyncio.sleep(max(0.0, begun + LINGER_SECONDS - loop.time()))
    if not done:
        log.warning("rows stay in the log: the next start brings them into the tables")
    return 0 if done else 1
