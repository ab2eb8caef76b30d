"""Files of a multipart request, streamed to the cell's own volume while they arrive: never held in memory,
never spooled to the pod's temporary folder.

A file has no name on the volume: when its last reader closes it, or the process ends in whatever way, its
bytes are gone. Must not look into the files. What a part is called decides whether it is kept; its
`filename` is not trusted for anything.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from io import BufferedRandom
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from modelwarden_server.door.bodies import drain
from modelwarden_server.door.space import RESERVE, RESERVE_SHARE, check_space

_IDLE_SECONDS = 120.0
_PIECE = 1 << 20
_SMALL_FIELD = 64 << 10
_SMALL_PARTS = 32
_HEAD = 64
_HEADERS = 16
_HEADER_BYTES = 8 << 10


class MultipartError(ValueError):
    """The body is not the form it should be: a 400. The message says what to send."""


class TooLargeError(ValueError):
    """The body is larger than this door takes: a 413."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """What one request and each of its files may hold, and what must stay free on the volume: `reserve` bytes
    or that share of it, whichever is less.
    """

    body_bytes: int
    files: int
    reserve: int = RESERVE
    reserve_share: float = RESERVE_SHARE
    file_bytes: int = 1 << 62
    fewest: int = 1
    """Files that must be there: none where small fields alone make sense."""
    advice: str = "(ingest.limits.maxFileSize): send several smaller"
    """What to do about a file that is too large."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One part of the form on the disk. Whoever asked for it closes it, and then it is gone."""

    part: str
    content: BufferedRandom
    size: int
    head: bytes
    """The first bytes, which tell the format."""

    def sha256(self) -> str:
        """The hash of the bytes as they came, in hex."""
        self.content.seek(0)
        return hashlib.file_digest(self.content, "sha256").hexdigest()


@dataclass
class _Part:
    name: str = ""
    headers: dict[str, bytearray] = field(default_factory=dict)
    field: bytearray = field(default_factory=bytearray)
    out: BufferedRandom | None = None
    size: int = 0
    head: bytes = b""


class FormReceiver:
    """Takes the body piece by piece. `wanted` are the names of the parts that are files to keep; what other
    small parts hold is in `fields`.
    """

    def __init__(self, content_type: str, folder: Path, wanted: Sequence[str], limits: FormLimits) -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise MultipartError(f"send multipart/form-data with the file in the part {wanted[0]}")
        self._folder, self._wanted, self._limits = folder, tuple(wanted), limits
        self.files: list[ReceivedFile] = []
        self.fields: dict[str, bytes] = {}
        self._part = _Part()
        self._header = bytearray()
        self._seen = 0
        self._small = 0
        self._parts = 0
        self._ended = False
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_begin": self._header_begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all_read,
            },
            max_header_count=_HEADERS,
            max_header_size=_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises MultipartError, TooLargeError, OSError (a full disk)."""
        self._seen += len(piece)
        if self._seen > self._limits.body_bytes:
            raise TooLargeError(
                f"the request is larger than {self._limits.body_bytes} bytes: send several smaller"
            )
        check_space(self._folder, len(piece), self._limits.reserve, self._limits.reserve_share)
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise MultipartError(f"the form cannot be read: {error}") from None

    def finish(self) -> list[ReceivedFile]:
        """The files, once the body has ended. Raises MultipartError if it ended too early or held no file."""
        if not self._ended:
            raise MultipartError("the form ends in the middle of a part: send it again as a whole")
        if len(self.files) < self._limits.fewest:
            raise MultipartError(f"there is no part {' or '.join(self._wanted)} with a file in the form")
        return self.files

    def discard(self) -> None:
        """Remove everything that was received."""
        for content in [self._part.out, *(file.content for file in self.files)]:
            if content is not None:
                content.close()

    def _begin(self) -> None:
        self._part = _Part()
        self._parts += 1
        if self._parts > self._limits.files + _SMALL_PARTS:
            raise TooLargeError(f"the form has more than {self._limits.files + _SMALL_PARTS} parts")

    def _header_begin(self) -> None:
        self._header = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        name = self._header.decode("latin-1").lower()
        self._part.headers.setdefault(name, bytearray()).extend(data[start:end])

    def _headers_finished(self) -> None:
        _, options = parse_options_header(bytes(self._part.headers.get("content-disposition", b"")))
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part.name not in self._wanted:
            return
        if len(self.files) == self._limits.files:
            raise TooLargeError(
                f"at most {self._limits.files} files go into one request: send the rest in another"
            )
        self._part.out = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by its reader

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        if part.out is None:
            self._small += end - start
            if self._small > _SMALL_FIELD:
                raise MultipartError(
                    f"the part {part.name[:80]!r} is not taken here: send {' or '.join(self._wanted)}"
                )
            part.field += data[start:end]
            return
        if part.size > self._limits.file_bytes:
            raise TooLargeError(
                f"the part {part.name} is larger than {self._limits.file_bytes} bytes {self._limits.advice}"
            )
        piece = memoryview(data)[start:end]
        if len(part.head) < _HEAD:
            part.head += bytes(piece[: _HEAD - len(part.head)])
        part.out.write(piece)

    def _end(self) -> None:
        part, self._part = self._part, _Part()
        if part.out is None:
            self.fields[part.name] = bytes(part.field)
            return
        # Listed first: a flush that finds the disk full must not leave a file that nobody closes.
        self.files.append(ReceivedFile(part.name, part.out, part.size, part.head))
        part.out.flush()

    def _all_read(self) -> None:
        self._ended = True


async def receive(receiver: FormReceiver, body: AsyncIterator[bytes], most: int) -> list[ReceivedFile]:
    """Read the whole body; writing happens in a thread. On any error everything received is removed.

    When it is refused in the middle, up to `most` more bytes are read: who is answered while sending may
    see a broken connection instead of the answer.
    """
    try:
        return await _received(receiver, body)
    except (MultipartError, TooLargeError, OSError):
        await drain(body, most)
        raise


async def _received(receiver: FormReceiver, body: AsyncIterator[bytes]) -> list[ReceivedFile]:
    waiting = bytearray()
    try:
        while True:
            async with asyncio.timeout(_IDLE_SECONDS):
                piece = await anext(body, None)
            waiting += piece or b""
            if piece is None or len(waiting) >= _PIECE:
                ready, waiting = bytes(waiting), bytearray()
                await asyncio.to_thread(receiver.feed, ready)
            if piece is None:
                return receiver.finish()
    except BaseException:
        receiver.discard()
        raise
