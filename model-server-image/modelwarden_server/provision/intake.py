"""Files on their way in: received onto the volume, checked, kept, one after the other.

Whether or not the client waits for the answer, what was begun is finished. Must not know a path of the API.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request

from modelwarden.resources.server import AssetSlot
from modelwarden_server.archives import ArchiveTooLargeError
from modelwarden_server.provision.assets import NAMES, Asset
from modelwarden_server.provision.checks import check, most_bytes
from modelwarden_server.provision.incoming import received
from modelwarden_server.provision.stock import Stock
from modelwarden_server.web import Refusal

_WAITING = 16
Found = TypeVar("Found")


@dataclass
class Intake:
    """`stock` refuses (503) as long as there is none; `uploads` is the folder of what is still arriving."""

    stock: Callable[[], Stock]
    uploads: Path
    inside: int = 0
    """Files that are being taken in."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _tasks: "set[asyncio.Task[object]]" = field(default_factory=set)

    async def raw(self, request: Request, slot: AssetSlot, source: str, admit: Callable[[], None]) -> Asset:
        """Take the body in as the file of the slot. `admit` refuses once more, when it has arrived."""
        content = await self.received(request, most_bytes(slot), NAMES[slot])
        with content:
            admit()
            return await self.keep(slot, source, content)

    async def received(self, request: Request, most: int, name: str) -> BufferedRandom:
        """The body as an open file (see `incoming`). Refuses (503) where too many are arriving."""
        self.stock()
        if self.inside >= _WAITING:
            raise Refusal(503, "too many uploads at once: send this one again later", retry_after=5)
        self.inside += 1
        try:
            return await received(request, self.uploads, most, name)
        finally:
            self.inside -= 1

    async def keep(self, slot: AssetSlot, source: str, content: BufferedRandom) -> Asset:
        """Check a file and keep it as that of the slot. Refuses (400, 413) what cannot be it."""
        return await self.finished(asyncio.to_thread(self._kept, slot, source, content))

    async def finished(self, work: Awaitable[Found]) -> Found:
        """Do this after what was begun before, to its end."""
        task = asyncio.ensure_future(self._in_turn(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, work: Awaitable[Found]) -> Found:
        self.inside += 1
        try:
            async with self._turn:
                return await work
        finally:
            self.inside -= 1

    def _kept(self, slot: AssetSlot, source: str, content: BufferedRandom) -> Asset:
        stock = self.stock()
        try:
            check(slot, content, stock.settings())
            asset = stock.assets.take(slot, source, content)
            stock.tidy()
        except ArchiveTooLargeError as error:
            raise Refusal(413, f"{NAMES[slot]} {error}") from None
        except ValueError as error:
            raise Refusal(400, f"{NAMES[slot]}: {error}") from None
        except OSError as error:
            raise Refusal(503, f"{NAMES[slot]} could not be stored: {error}", retry_after=10) from None
        return asset
