"""Waiting until rows are durable, and refusing while there is no room for them. Belongs to one event loop."""

import asyncio
from collections.abc import Collection
from concurrent.futures import Future

from modelwarden.resources.cell import CellSettings
from modelwarden_server.log.protocol import LogFailedError, LogFullError
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal


def check_room(store: Store, settings: CellSettings) -> None:
    """Refuse (503) while too much waits in the log for the tables."""
    limit = settings.ingest.limits.max_log_bytes
    if store.log.waiting >= limit:
        raise Refusal(
            503,
            f"{limit} bytes wait in the log for the tables (ingest.limits.maxLogSize): send again later",
            retry_after=5,
        )


async def until_durable(waits: "Collection[Future[int]]") -> None:
    """Wait for all; a failed one means that nothing can be promised. Raises Refusal (503)."""
    try:
        for done in waits:
            await asyncio.wrap_future(done)
    except LogFullError as error:
        raise Refusal(
            503, f"{error}: nothing of this request was taken in, send it again later", retry_after=5
        ) from None
    except LogFailedError as error:
        raise Refusal(503, f"{error}: send the request again later", retry_after=10) from None
