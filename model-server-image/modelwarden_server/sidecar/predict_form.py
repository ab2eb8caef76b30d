"""What a prediction's request holds: data points and files, as JSON or as a form.

    [point, …]                                     application/json
    {"data": [point, …], "webhook_endpoint": url}
    data=[point, …]  files=@…  files=@…            multipart/form-data

Pure: bytes in, parts out. Must not read a data point.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from modelwarden_server.web import Refusal

MOST_FILES: Final = 1000
MOST_POINTS: Final = 100_000
_FILE_PARTS = frozenset({"files", "files[]", "file"})
_EXAMPLE = "send a JSON list of data points, or a form with data='[…]' and files"


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file of the request."""

    name: str
    content_type: str
    content: bytes | bytearray


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to predict. `data` is the JSON list of `points` data points."""

    data: bytes | bytearray
    points: int
    files: tuple[GivenFile, ...] = ()
    webhook: str | None = None


class _Object(msgspec.Struct):
    data: msgspec.Raw
    webhook_endpoint: str | None = None


class RequestReader:
    """Takes the body piece by piece: of a form nothing is held twice. Raises Refusal (400, 413, 415)."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        self._body = bytearray()
        self._form: _Form | None = None
        if kind == b"multipart/form-data":
            if not options.get(b"boundary"):
                raise Refusal(400, f"the form has no boundary: {_EXAMPLE}")
            self._form = _Form(options[b"boundary"])
        # curl -d says that JSON is a form of names and values, unless it is told better.
        elif kind not in (b"application/json", b"", b"text/plain", b"application/x-www-form-urlencoded"):
            told = ascii(kind.decode("ascii", "replace")[:80])
            raise Refusal(415, f"{told} is not taken here: {_EXAMPLE}")

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        if self._form is None:
            self._body += piece
        else:
            self._form.feed(piece)

    def close(self) -> None:
        """Let go of everything that was not asked for."""
        if self._form is not None:
            self._form.close()

    def finish(self) -> Asked:
        """The request, once the body has ended."""
        if self._form is not None:
            return _asked_by(self._form)
        body = self._body
        if body.lstrip()[:1] != b"{":
            return _asked(body, (), None)
        try:
            given = msgspec.json.decode(body, type=_Object)
        except msgspec.DecodeError as error:
            raise Refusal(400, f"the body cannot be read ({error}): {_EXAMPLE}") from None
        return _asked(bytes(given.data), (), given.webhook_endpoint)


def _asked(data: bytes | bytearray, files: tuple[GivenFile, ...], webhook: str | None) -> Asked:
    try:
        points = len(msgspec.json.decode(data, type=list[msgspec.Raw]))
    except msgspec.DecodeError as error:
        raise Refusal(400, f"the data cannot be read ({error}): {_EXAMPLE}") from None
    if not points:
        raise Refusal(400, f"there is no data point: {_EXAMPLE}")
    if points > MOST_POINTS:
        raise Refusal(413, f"there are more than {MOST_POINTS} data points: send several requests")
    return Asked(data, points, files, webhook)


@dataclass
class _Part:
    headers: dict[str, bytearray] = field(default_factory=dict)
    name: str = ""
    filename: str = ""
    content: bytearray = field(default_factory=bytearray)


class _Form:
    """Parts of a form as the parser finds them."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._header = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self.begin,
                "on_header_begin": self.header_begin,
                "on_header_field": self.header_name,
                "on_header_value": self.header_value,
                "on_headers_finished": self.headers_finished,
                "on_part_data": self.data,
                "on_end": self.end,
            },
            max_header_count=16,
            max_header_size=8 << 10,
        )

    def close(self) -> None:
        """The parser calls back into this object: without this both would wait for the collector of cycles,
        files and all."""
        self._parser.callbacks = {}

    def feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise Refusal(400, f"the form cannot be read ({error}): {_EXAMPLE}") from None

    def begin(self) -> None:
        if len(self.parts) > MOST_FILES:
            raise Refusal(413, f"at most {MOST_FILES} files go into one request")
        self.parts.append(_Part())

    def header_begin(self) -> None:
        self._header = bytearray()

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        name = self._header.decode("latin-1").lower()
        self.parts[-1].headers.setdefault(name, bytearray()).extend(data[start:end])

    def headers_finished(self) -> None:
        part = self.parts[-1]
        _, options = parse_options_header(bytes(part.headers.get("content-disposition", b"")))
        part.name = options.get(b"name", b"").decode("utf-8", "replace")
        # A name, never a path: the user's code may write files by it.
        filename = options.get(b"filename", b"").decode("utf-8", "replace")
        part.filename = filename.replace("\\", "/").rpartition("/")[2][:255]

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += memoryview(data)[start:end]

    def end(self) -> None:
        self.ended = True


def _asked_by(form: _Form) -> Asked:
    if not form.ended:
        raise Refusal(400, "the form ends in the middle of a part: send it again as a whole")
    fields = {part.name: part.content for part in form.parts if part.name not in _FILE_PARTS}
    unknown = fields.keys() - {"data", "webhook_endpoint"}
    if unknown or "data" not in fields:
        told = f"the part {min(unknown)[:80]!r} is not taken" if unknown else "there is no part data"
        raise Refusal(400, f"{told}: {_EXAMPLE}")
    files = tuple(
        GivenFile(
            part.filename or f"file-{number}",
            bytes(part.headers.get("content-type", b"")).decode("latin-1")[:255],
            part.content,
        )
        for number, part in enumerate(one for one in form.parts if one.name in _FILE_PARTS)
    )
    webhook = fields.get("webhook_endpoint")
    return _asked(bytes(fields["data"]), files, webhook.decode("utf-8", "replace") if webhook else None)
