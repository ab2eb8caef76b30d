"""The store as a Job sees it: small requests tried again while the store is away, files fetched and verified.

Must not know what the files are for.
"""

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from modelwarden_server.refused import sentence_of

Answer = TypeVar("Answer")

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_LONG = httpx.Timeout(1800.0, connect=10.0)
_PIECE = 1 << 20
_ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""Ends an Arrow IPC stream: a continuation mark and a length of nothing."""
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class StoreAwayError(Exception):
    """The store did not answer properly in all attempts: the Job may be started again later."""


class StoreRefusedError(Exception):
    """The store refused: trying the same again is of no use. The message is the store's."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(f"{status}: {sentence}")
        self.status = status
        self.sentence = sentence


@dataclass(frozen=True)
class Patience:
    """How often and how long is waited for the store. `sleep` and `jitter` are given by tests."""

    attempts: int = 10
    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def wait(self, attempt: int) -> None:
        """Wait before attempt number `attempt` + 1: twice as long each time, between half and all of it."""
        whole = min(self.longest_seconds, self.first_seconds * 2**attempt)
        self.sleep(whole * (0.5 + self.jitter() / 2))


@dataclass
class StoreClient:
    """One cell's store, with the key of one Job."""

    url: str
    key: str
    patience: Patience = Patience()
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=_TIMEOUT
        )

    def __enter__(self) -> "StoreClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str) -> Any:
        """The JSON at `path`. Raises StoreRefusedError, StoreAwayError."""
        return self._again(lambda: _good(self._http.get(path)).json())

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`. Raises StoreRefusedError (other than 404), StoreAwayError."""
        try:
            self._again(lambda: _good(self._http.get(path)))
        except StoreRefusedError as error:
            if error.status == 404:
                return False
            raise
        return True

    def put(self, path: str, content: bytes, kind: str = "application/json") -> Any:
        """Put bytes; the answer. Raises StoreRefusedError, StoreAwayError."""
        headers = {"Content-Type": kind}
        return self._again(lambda: _good(self._http.put(path, content=content, headers=headers)).json())

    def tell_failure(self, path: str, told: Mapping[str, Any]) -> None:
        """Say at `path`/failure why nothing comes. Where there is nobody to tell, the Job's exit code and its
        last line say it.
        """
        with contextlib.suppress(StoreRefusedError, StoreAwayError):
            self.put(f"{path}/failure", json.dumps(told).encode())

    def post(self, path: str) -> Any:
        """Post nothing to `path`; the answer. Raises StoreRefusedError, StoreAwayError."""
        return self._again(lambda: _good(self._http.post(path)).json())

    def post_file(self, path: str, part: str, file: Path) -> Any:
        """Post a form with one file, streamed; the answer. Raises as `post`. For doors that take the same
        bytes a second time without effect."""
        return self._again(lambda: self._post_file(path, part, file))

    def _post_file(self, path: str, part: str, file: Path) -> Any:
        with file.open("rb") as content:
            answer = self._http.post(path, files=[(part, ("file", content))], timeout=_LONG)
        return _good(answer).json()

    def put_file(self, path: str, file: Path, headers: Mapping[str, str] | None = None) -> Any:
        """Put a file as it is, streamed; the answer. Raises as `put`."""
        return self._again(lambda: self._put_file(path, file, headers or {}))

    def _put_file(self, path: str, file: Path, headers: Mapping[str, str]) -> Any:
        told = {"Content-Type": "application/octet-stream", "Content-Length": str(file.stat().st_size)}
        with file.open("rb") as content:
            pieces = iter(lambda: content.read(_PIECE), b"")
            answer = self._http.put(path, content=pieces, headers={**told, **headers}, timeout=_LONG)
        return _good(answer).json()

    def fetch(self, path: str, into: Path, size: int, sha256: str) -> None:
        """Stream a file to the disk and compare it with what it should be. Raises as `get`; bytes that arrive
        other than they should are fetched again."""
        self._again(lambda: self._fetch(path, into, size, sha256))

    def _fetch(self, path: str, into: Path, size: int, sha256: str) -> None:
        digest, seen = hashlib.sha256(), 0
        with self._http.stream("GET", path) as response, into.open("wb") as out:
            if response.status_code >= 400:
                response.read()
            for piece in _good(response).iter_bytes(_PIECE):
                seen += len(piece)
                if seen > size:
                    break
                digest.update(piece)
                out.write(piece)
        if seen != size or digest.hexdigest() != sha256:
            raise httpx.ReadError(f"{path} arrived with {seen} bytes or another hash than the store stated")

    def fetch_arrow(self, path: str, into: Path) -> None:
        """Stream an Arrow IPC stream to the disk. Raises as `get`; one that broke off is fetched again."""
        self._again(lambda: self._fetch_arrow(path, into))

    def _fetch_arrow(self, path: str, into: Path) -> None:
        last = b""
        with self._http.stream("GET", path, timeout=_LONG) as response, into.open("wb") as out:
            if response.status_code >= 400:
                response.read()
            for piece in _good(response).iter_bytes(_PIECE):
                out.write(piece)
                last = (last + piece)[-len(_ARROW_END) :]
        if last != _ARROW_END:
            raise httpx.ReadError(f"{path} broke off before its end")

    def _again(self, request: Callable[[], Answer]) -> Answer:
        last = ""
        for attempt in range(self.patience.attempts):
            if attempt:
                self.patience.wait(attempt - 1)
            try:
                return request()
            except StoreRefusedError as error:
                if error.status not in _AGAIN:
                    raise
                last = str(error)
            except (httpx.TransportError, ValueError) as error:
                last = f"{type(error).__name__}: {error}"
        raise StoreAwayError(f"no proper answer in {self.patience.attempts} attempts, the last: {last}")


def _good(response: httpx.Response) -> httpx.Response:
    if response.status_code < 300:
        return response
    raise StoreRefusedError(response.status_code, sentence_of(response, "the store"))
