"""One HTTP request to a cell, with patience: waits and tries again where that is safe, and only for so long.

A request is tried again after 429 and 503 (the cell took nothing), and after a broken connection if sending
it twice does no harm: inferences carry ids, so they count once; reference rows have none, so they are never
sent twice. Files are opened anew for each try and go out as they are read.

What this module must not do: know about rows or tables.
"""

import io
import random
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, TypeAlias

import httpx

from modelwarden.client.errors import CellError

TOOK_NOTHING = (429, 503)
PERHAPS_TOOK_IT = (502, 504)


@dataclass(frozen=True)
class Patience:
    """How long to go on trying: `total_seconds` from the end of a request's first try; pauses double up to
    `longest_pause`.
    """

    total_seconds: float = 120.0
    first_pause: float = 0.25
    longest_pause: float = 15.0


@dataclass(frozen=True)
class Clock:
    """Time and chance, so that tests need neither."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True)
class Upload:
    """Files of this machine as parts of a form, and small fields beside them; nothing is held in memory.

    `heard` is told how many bytes of the files have been sent, and how many there are; from nothing again
    when the request is tried again.
    """

    parts: Mapping[str, Path]
    fields: Mapping[str, str] = field(default_factory=dict)
    heard: Callable[[int, int], None] = lambda _sent, _of: None


FormPart: TypeAlias = tuple[str | None, bytes | IO[bytes], str | None]


@dataclass(frozen=True)
class Request:
    """What to send. `repeatable`: may be sent again although the first may have arrived. `answer_seconds`:
    how long the answer may let itself be waited for, if longer than usual.
    """

    method: str
    path: str
    repeatable: bool
    params: dict[str, str] | None = None
    content: bytes | None = None
    json: Any = None
    files: Mapping[str, FormPart] | None = None
    upload: Upload | None = None
    answer_seconds: float | None = None


def http_client(url: str, key: str) -> httpx.Client:
    """The connections to one cell, with its key on every request."""
    # Long reads: an answer means "on disk", and a busy disk may take its time. Never without a limit.
    timeout = httpx.Timeout(connect=10, read=120, write=60, pool=60)
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {key}"},
        timeout=timeout,
        verify=trusted(url),
    )


def trusted(url: str) -> ssl.SSLContext:
    """What certificates are believed: those that this machine trusts. For plain HTTP, which shows none, none
    are read, as that takes longer than many a question; a context without any refuses all.
    """
    if url.lower().startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context()


class Wire:
    """An HTTP connection pool to one cell; safe to use from several threads."""

    def __init__(self, http: httpx.Client, patience: Patience, clock: Clock) -> None:
        self._http = http
        self._patience = patience
        self._clock = clock

    def ask(self, request: Request) -> httpx.Response:
        """The cell's answer below 400.

        Raises:
            CellError: an error answer, no answer, or patience ran out; the message is the cell's own where
            it gave one.
        """
        deadline: float | None = None
        attempt = 0
        while True:
            answer, fault = self._once(request)
            if answer is not None and answer.status_code < 400:
                return answer
            if deadline is None:  # sending a large file may by itself take longer than all patience
                deadline = self._clock.now() + self._patience.total_seconds
            pause = self._pause(attempt, answer)
            if not _again(request, answer, fault) or self._clock.now() + pause > deadline:
                raise _error(request, answer, fault)
            self._clock.sleep(pause)
            attempt += 1

    def close(self) -> None:
        """Gives the connections back."""
        self._http.close()

    def _once(self, request: Request) -> tuple[httpx.Response | None, httpx.TransportError | None]:
        headers = {"Content-Type": "application/json"} if request.content is not None else None
        timeout: Any = httpx.USE_CLIENT_DEFAULT
        if request.answer_seconds is not None:
            usual = self._http.timeout
            timeout = httpx.Timeout(
                connect=usual.connect, read=request.answer_seconds, write=usual.write, pool=usual.pool
            )
        with ExitStack() as opened:
            files = request.files if request.upload is None else _form(request.upload, opened)
            try:
                answer = self._http.request(
                    request.method,
                    request.path,
                    params=request.params,
                    content=request.content,
                    json=request.json,
                    files=files,
                    headers=headers,
                    timeout=timeout,
                )
            except httpx.TransportError as fault:
                return None, fault
        return answer, None

    def _pause(self, attempt: int, answer: httpx.Response | None) -> float:
        asked = _retry_after(answer, self._clock.wall()) if answer is not None else None
        if asked is not None:
            return asked
        longest = min(self._patience.longest_pause, self._patience.first_pause * 2.0 ** min(attempt, 30))
        # Between half and all of it: clients that were refused together do not come back together.
        return longest * (0.5 + self._clock.jitter() / 2)


class _TellingFile(io.FileIO):
    """A file that tells how far it was read."""

    def __init__(self, path: Path, told: Callable[[int], None]) -> None:
        super().__init__(path, "rb")
        self._told = told

    def read(self, size: int | None = -1, /) -> Any:
        """See FileIO."""
        piece = super().read(-1 if size is None else size)
        self._told(self.tell())
        return piece


def _form(upload: Upload, opened: ExitStack) -> dict[str, FormPart]:
    sizes = {name: path.stat().st_size for name, path in upload.parts.items()}
    read = dict.fromkeys(sizes, 0)
    form: dict[str, FormPart] = {name: (None, text.encode(), None) for name, text in upload.fields.items()}

    def teller(name: str) -> Callable[[int], None]:
        def told(position: int) -> None:
            read[name] = position
            upload.heard(sum(read.values()), sum(sizes.values()))

        return told

    for name, path in upload.parts.items():
        file = opened.enter_context(_TellingFile(path, teller(name)))
        form[name] = (path.name, file, "application/octet-stream")
    return form


def _again(request: Request, answer: httpx.Response | None, fault: httpx.TransportError | None) -> bool:
    if answer is not None:
        return answer.status_code in TOOK_NOTHING or (
            request.repeatable and answer.status_code in PERHAPS_TOOK_IT
        )
    return request.repeatable or isinstance(
        fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout
    )


def _retry_after(answer: httpx.Response, now: datetime) -> float | None:
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())


def _error(request: Request, answer: httpx.Response | None, fault: httpx.TransportError | None) -> CellError:
    where = f"{request.method} {request.path}"
    if answer is None:
        doubt = (
            "" if request.repeatable else "; it may or may not have been taken, look before sending it again"
        )
        return CellError(f"{where}: no answer ({type(fault).__name__}: {fault}){doubt}")
    return CellError(f"{where}: {answer.status_code}: {reason_of(answer)}", answer.status_code)


def reason_of(answer: httpx.Response) -> str:
    """Why the cell refused, in its own sentence; without one, what the status means."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and isinstance(body.get("error"), str):
        return str(body["error"])
    return answer.reason_phrase or "no reason given"
