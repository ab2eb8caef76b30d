"""How many requests with rows are inside at once, and how many bytes of bodies they may hold together.

A client that comes when the house is full waits at the gate for a while, its body unread, because the
documented client never repeats a refused request; only then is it told to come again (429). Memory is
bounded: bodies in hand by `BODY_BYTES` or one largest body, those at the gate by their number alone.
Belongs to one event loop.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from modelwarden_server.web import Refusal

BODY_BYTES = 64 << 20
HOLD_SECONDS = 30.0
RETRY_AFTER = 2


@dataclass(slots=True, eq=False)
class _Waiting:
    size: int
    turn: "asyncio.Future[None]"


class Gate:
    """Admits requests in the order of their coming."""

    def __init__(self, hold_seconds: float = HOLD_SECONDS) -> None:
        self.hold_seconds = hold_seconds
        self._inside = 0
        self._bytes = 0
        self._most = 1
        self._largest = 0
        self._queue: deque[_Waiting] = deque()

    @property
    def inside(self) -> int:
        """Requests that were admitted and have not left."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Requests at the gate."""
        return len(self._queue)

    @asynccontextmanager
    async def admit(self, size: int, most: int, largest: int) -> AsyncIterator[None]:
        """Be inside with a body of up to `size` bytes, where `most` requests may be and bodies of `largest`.

        Raises Refusal (429) when the wait is too long or too many wait already.
        """
        self._most, self._largest = most, largest
        await self._enter(size)
        try:
            yield
        finally:
            self._inside -= 1
            self._bytes -= size
            self._let_in()

    async def _enter(self, size: int) -> None:
        if not self._queue and self._room_for(size):
            self._count(size)
            return
        if len(self._queue) >= 4 * self._most:
            raise self._refusal()
        waiting = _Waiting(size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        try:
            async with asyncio.timeout(self.hold_seconds):
                await waiting.turn
        except TimeoutError:
            self._leave_queue(waiting)
            raise self._refusal() from None
        except asyncio.CancelledError:
            self._leave_queue(waiting)
            raise

    def _leave_queue(self, waiting: _Waiting) -> None:
        """Give up waiting; the place goes to the next one if the turn had come at that very moment."""
        if waiting.turn.done() and not waiting.turn.cancelled():
            self._inside -= 1
            self._bytes -= waiting.size
        elif waiting in self._queue:
            self._queue.remove(waiting)
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._room_for(self._queue[0].size):
            waiting = self._queue.popleft()
            if waiting.turn.cancelled():
                continue  # it has given up at this very moment, and is about to say so
            self._count(waiting.size)
            waiting.turn.set_result(None)

    def _room_for(self, size: int) -> bool:
        if self._inside >= self._most:
            return False
        return self._inside == 0 or self._bytes + size <= max(BODY_BYTES, self._largest)

    def _count(self, size: int) -> None:
        self._inside += 1
        self._bytes += size

    def _refusal(self) -> Refusal:
        return Refusal(
            429,
            f"{self._inside} requests of {self._bytes >> 20} MiB are inside and {len(self._queue)} wait:"
            " send this one again in a moment, or fewer and smaller ones at a time"
            " (ingest.limits.maxRequestsInFlight, maxBodySize)",
            retry_after=RETRY_AFTER,
        )
