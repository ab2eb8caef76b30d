"""What requests with rows share before their rows are looked at: the gate, the body, the thread that parses.

One for all doors of a cell, so that together they stay within one bound of memory.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from modelwarden.resources.cell import CellSettings
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import drain, read_on
from modelwarden_server.door.gate import Gate
from modelwarden_server.schema.parsed import BodyError, Limits, TooManyRowsError
from modelwarden_server.web import Refusal, check_model

INLINE_BYTES = 64 << 10
BEGINNING_BYTES = 256 << 10
"""So much of a body whose length nobody has said is counted at first: many are small, and one that comes
slowly must not hold the room of a largest one meanwhile."""
Parsed = TypeVar("Parsed")


@dataclass(slots=True)
class Observed:
    """The answer of a request that is being observed."""

    answer: Response | None = None


def check_open(cell: Cell, what: str = "rows") -> None:
    """Refuse while the cell takes in nothing: 503 if it will again, 409 if it is archived."""
    unready = cell.unready()
    if unready is not None:
        raise Refusal(503, f"no {what} are taken in now ({unready}): send them again later", retry_after=5)
    if cell.settings.current.archived:
        raise Refusal(409, f"the model is archived (lifecycle: Archived): it takes in no {what}")


def row_limits(cell: Cell, settings: CellSettings) -> Limits:
    """What the settings say of rows that come now."""
    return Limits(
        rows=settings.ingest.limits.max_rows,
        string_length=settings.ingest.limits.max_string_length,
        latest=int((cell.clock() + settings.ingest.max_future_seconds) * 1e6),
    )


class Admission:
    """The way of a request to its rows."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self.gate = Gate()
        cell.metrics.in_flight.set_function(lambda: self.gate.inside)
        # One at a time: a large body takes several times its size while it is parsed.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parser")

    @property
    def busy(self) -> int:
        """Requests inside and at the gate."""
        return self.gate.inside + self.gate.waiting

    def close(self) -> None:
        """Parse no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def observed(self) -> AsyncIterator[Observed]:
        """Count the request by the status of its answer. Refuses (400) when its client went away."""
        started = time.perf_counter()
        status = 500
        seen = Observed()
        try:
            yield seen
            status = status if seen.answer is None else seen.answer.status_code
        except Refusal as refusal:
            status = refusal.status
            raise
        except ClientDisconnect:
            status = 499
            raise Refusal(400, "the request broke off: send it again") from None
        finally:
            self._cell.metrics.requests.labels(str(status)).observe(time.perf_counter() - started)

    async def body(self, request: Request, settings: CellSettings, inside: AsyncExitStack) -> bytearray:
        """The body, read after the gate has admitted it; `inside` leaves the gate."""
        check_model(request, self._cell.identity)
        body, pieces = bytearray(), request.stream()
        try:
            check_open(self._cell)
            await self._admit(body, pieces, _declared_length(request), settings, inside)
        except Refusal:
            body.clear()
            await inside.aclose()  # nobody waits for the rest of what is refused
            # Who is answered while still sending may see a broken connection instead of the answer.
            await drain(pieces, settings.ingest.limits.max_body_bytes)
            raise
        check_open(self._cell)
        return body

    def limits(self, settings: CellSettings) -> Limits:
        """What the settings say of one request."""
        return row_limits(self._cell, settings)

    async def parsed(self, body: bytearray, parse: Callable[[bytearray], Parsed]) -> Parsed:
        """What `parse` makes of the body, on a thread if it is large. Refuses (400, 413) what it raises."""
        try:
            if len(body) <= INLINE_BYTES:
                return parse(body)
            return await asyncio.get_running_loop().run_in_executor(self._thread, parse, body)
        except BodyError as error:
            raise Refusal(400, str(error)) from None
        except TooManyRowsError as error:
            raise Refusal(413, f"{error} (ingest.limits.maxRows)") from None

    async def _admit(
        self,
        body: bytearray,
        pieces: AsyncIterator[bytes],
        declared: int | None,
        settings: CellSettings,
        inside: AsyncExitStack,
    ) -> None:
        most = settings.ingest.limits.max_body_bytes
        if declared is not None and declared > most:
            raise Refusal(413, _too_large(most))
        size, pause_after = (BEGINNING_BYTES, BEGINNING_BYTES) if declared is None else (declared, None)
        await self._enter(size, settings, inside)
        if not await read_on(pieces, body, most, pause_after):
            # Its place goes back before it asks for a larger one: nobody waits inside for others to leave.
            await inside.aclose()
            await self._enter(most, settings, inside)
            await read_on(pieces, body, most)
        if declared is not None and len(body) != declared:
            raise Refusal(400, "the body is shorter than its Content-Length: send it again")

    async def _enter(self, size: int, settings: CellSettings, inside: AsyncExitStack) -> None:
        limits = settings.ingest.limits
        gate = self.gate.admit(size, limits.max_requests_in_flight, limits.max_body_bytes)
        await inside.enter_async_context(gate)


def _declared_length(request: Request) -> int | None:
    """The body's size according to its header, None if it is chunked. Refuses nonsense (400)."""
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise Refusal(400, "Content-Length must be a number")
    return int(text)


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes (ingest.limits.maxBodySize): send fewer rows at a time"
