"""Small bodies of requests, read whole within a time and a size."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from modelwarden_server.web import Refusal

BODY_SECONDS = 60.0
Wanted = TypeVar("Wanted")


async def read_body(request: Request, most: int) -> bytes:
    """The body. Refuses one larger than `most` bytes (413), slower than BODY_SECONDS (408)
    or broken off (400).
    """
    return bytes(await read_large_body(request, most))


async def read_large_body(request: Request, most: int) -> bytearray:
    """As `read_body`, without a second copy."""
    body = bytearray()
    await read_on(request.stream(), body, most)
    return body


async def read_on(
    pieces: AsyncIterator[bytes], body: bytearray, most: int, pause_after: int | None = None
) -> bool:
    """Add to `body` what comes, in place; False if it paused behind `pause_after` bytes, and is to go on with
    the same iterator. Refuses as `read_body` does.
    """
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in pieces:
                body += piece
                if len(body) > most:
                    raise Refusal(413, f"the body is larger than {most} bytes")
                if pause_after is not None and len(body) > pause_after:
                    return False
    except TimeoutError:
        raise Refusal(408, "the body did not arrive in time: send it again") from None
    except ClientDisconnect:
        raise Refusal(400, "the request broke off: send it again") from None
    return True


async def read_json(request: Request, kind: type[Wanted], example: str) -> Wanted:
    """The body as `kind`, at most 64 KiB. Refuses (400) what is something else and shows `example`."""
    try:
        return msgspec.json.decode(await read_body(request, 64 << 10), type=kind)
    except msgspec.DecodeError as error:
        raise Refusal(400, f"send {example}: {error}") from None


async def drain(stream: AsyncIterator[bytes], most: int) -> None:
    """Read what a client still sends, up to `most` bytes: who is answered while sending may
    miss the answer.
    """
    seen = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in stream:
                seen += len(piece)
                if seen > most:
                    return
    except (TimeoutError, ClientDisconnect):
        return
