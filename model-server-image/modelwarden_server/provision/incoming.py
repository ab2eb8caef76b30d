"""Large bodies that are one file, streamed to the cell's own volume while they arrive: no form, no memory.

As in a form (`door.multipart`) the file has no name on the volume until somebody keeps it. Must not look
into it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from io import BufferedRandom
from pathlib import Path

from starlette.requests import ClientDisconnect, Request

from modelwarden_server.door.bodies import drain
from modelwarden_server.door.space import check_space
from modelwarden_server.web import Refusal

_IDLE_SECONDS = 120.0
_PIECE = 1 << 20


async def received(request: Request, folder: Path, most: int, name: str) -> BufferedRandom:
    """The body as an open file; whoever asked for it closes it. Refuses one of more than `most` bytes (413),
    one that stalls (408), breaks off (400) or finds the volume nearly full (503).
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > most:
        await drain(request.stream(), most)
        raise _too_large(name, most)
    content = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by whoever asked for it
    try:
        await _written(request.stream(), content, folder, most, name)
    except BaseException as error:
        content.close()
        match error:
            case TimeoutError():
                raise Refusal(408, f"{name} did not arrive in time: send it again") from None
            case ClientDisconnect():
                raise Refusal(400, "the upload broke off: send it again") from None
            case OSError():
                raise Refusal(503, f"{name} could not be stored: {error}", retry_after=10) from None
            case _:
                raise
    return content


async def _written(
    body: AsyncIterator[bytes], content: BufferedRandom, folder: Path, most: int, name: str
) -> None:
    waiting, seen = bytearray(), 0
    while True:
        async with asyncio.timeout(_IDLE_SECONDS):
            piece = await anext(body, None)
        waiting += piece or b""
        seen += len(piece or b"")
        if seen > most:
            await drain(body, most)
            raise _too_large(name, most)
        if piece is None or len(waiting) >= _PIECE:
            ready, waiting = bytes(waiting), bytearray()
            await asyncio.to_thread(_write, content, ready, folder)
        if piece is None:
            await asyncio.to_thread(content.flush)
            return


def _write(content: BufferedRandom, piece: bytes, folder: Path) -> None:
    check_space(folder, len(piece))
    content.write(piece)


def _too_large(name: str, most: int) -> Refusal:
    return Refusal(413, f"{name} is larger than {most} bytes: send a smaller one")
