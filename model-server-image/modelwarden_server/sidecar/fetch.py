"""Files of the store brought to the pod's disk: streamed, no longer than announced, compared by their hash.

Must not know what is in them.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import httpx

from modelwarden.resources.server import ServerFile
from modelwarden_server.innerwire import SERVER

_PIECE = 1 << 20
_SILENCE_SECONDS = 60.0


class NotFetchedError(Exception):
    """A file could not be brought, in a sentence; it may be there later."""


async def fetch(store: httpx.AsyncClient, file: ServerFile, into: Path) -> None:
    """Bring `file` to the path `into`, which appears when it is whole. Raises NotFetchedError, OSError."""
    if await asyncio.to_thread(_is_there, into):
        return
    part = into.with_name(f".{into.name}.part")
    try:
        await _stream(store, file, part)
        part.replace(into)
    except httpx.HTTPError as error:
        told = type(error).__name__
        raise NotFetchedError(f"{file.name} cannot be fetched from the store ({told})") from None
    finally:
        part.unlink(missing_ok=True)


async def _stream(store: httpx.AsyncClient, file: ServerFile, part: Path) -> None:
    digest, seen = hashlib.sha256(), 0
    path = f"{SERVER}/files/{file.sha256}"
    timeout = httpx.Timeout(_SILENCE_SECONDS, connect=5.0)
    async with store.stream("GET", path, timeout=timeout) as response:
        if response.status_code != 200:
            raise NotFetchedError(f"{file.name} is not to be had: the store answers {response.status_code}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as out:
            async for piece in response.aiter_bytes(_PIECE):
                seen += len(piece)
                if seen > file.bytes:
                    break
                await asyncio.to_thread(_take, piece, digest, out)
    if seen != file.bytes or digest.hexdigest() != file.sha256:
        raise NotFetchedError(f"{file.name} arrived with {seen} bytes or other content than the store says")


def _is_there(path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.exists()


def _take(piece: bytes, digest: "hashlib._Hash", out: BinaryIO) -> None:
    digest.update(piece)
    out.write(piece)
