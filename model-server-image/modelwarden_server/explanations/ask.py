"""Explanations that somebody waits for: the model's server asked now, a few at a time, each within its time.

What was explained before with the same code, background and row is not asked again. Who finds the server
busy, away or too slow is told to come again. Must not know HTTP towards clients, nor keep anything on a disk.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx
import pyarrow as pa

from modelwarden_server.explained import ALGORITHM, SAMPLES, SECONDS
from modelwarden_server.explanations.answer import Answer, AnswerError, Names, read_answer
from modelwarden_server.explanations.pictures import Pictures
from modelwarden_server.explanations.task_doors import stream_of
from modelwarden_server.innerwire import ARROW_STREAM, EXPLAIN
from modelwarden_server.refused import retry_after, sentence_of
from modelwarden_server.web import Refusal

AT_ONCE: Final = 4
MOST_KEPT: Final = 1000
_CONNECT_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 2.0
_MOST_ANSWER: Final = 64 << 20
_BUSY: Final = "the model's server explains as much as it can: ask again, or with async=true"


@dataclass(frozen=True)
class Wish:
    """How to explain; None: as the Enrichment says. `seconds`: the longest that it may take."""

    algorithm: str | None = None
    samples: int | None = None
    seconds: float = 30.0


@dataclass(frozen=True)
class Planned:
    """What explanations depend on beside the row, as the store wants it now: pods follow a moment later."""

    code_hash: str
    background_hash: str
    algorithm: str
    samples: int
    seed: int | None = None

    def made(self, answer: Answer) -> bool:
        """Whether an answer is of this code and background."""
        return (answer.code_hash, answer.background_hash) == (self.code_hash, self.background_hash)

    @property
    def version(self) -> str:
        """All of it as a name."""
        told = (self.code_hash, self.background_hash, self.algorithm, self.samples, self.seed)
        return " ".join(map(str, told))


@dataclass
class Asker:
    """Asks the server of one cell. `where` gives its address, None while there is none; `planned` what its
    answers depend on, None while nothing is. Thread-safe; `ask` is for worker threads.
    """

    names: Names
    where: Callable[[], str | None]
    key: Callable[[], str]
    planned: Callable[[], Planned | None]
    pictures: Pictures = field(default_factory=Pictures)
    _turn: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE))
    _kept: "OrderedDict[str, Answer]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _client: httpx.Client | None = None

    def ask(self, rows: pa.RecordBatch, wish: Wish, patience: float = 0.0) -> tuple[Answer, bool]:
        """Explain rows (columns `id` and the inputs); whether the answer was kept from before. `patience`:
        seconds to wait for a turn. Raises Refusal.
        """
        planned = self.planned()
        if planned is not None and wish.algorithm is None:
            # Said, not left to the pod: one that has not read the newest plan would use the algorithm before.
            wish = replace(wish, algorithm=planned.algorithm)
        name = _name(planned, rows, wish)
        with self._lock:
            known = self._kept.get(name)
            if known is not None:
                self._kept.move_to_end(name)
                return known, True
        if not self._turn.acquire(timeout=patience):
            raise Refusal(503, _BUSY, retry_after=5)
        try:
            answer = self._asked(rows, wish)
        finally:
            self._turn.release()
        if planned is None or planned.made(answer):
            self._keep(name, answer)
        return answer, False

    def forget(self) -> None:
        """Keep nothing of what was asked before."""
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        """Close connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _keep(self, name: str, answer: Answer) -> None:
        with self._lock:
            self._kept[name] = answer
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)

    def _asked(self, rows: pa.RecordBatch, wish: Wish) -> Answer:
        url = self.where()
        if url is None:
            raise Refusal(503, "the model has no server that explains", retry_after=30)
        try:
            answer = self._http().post(
                f"{url}{EXPLAIN}",
                content=stream_of(self.pictures.filled(rows), _meta(wish)),
                headers={"Content-Type": ARROW_STREAM, "Authorization": self.key()},
                timeout=httpx.Timeout(wish.seconds + _GRACE_SECONDS, connect=_CONNECT_SECONDS),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise Refusal(
                503, "the model's server is not there: it may be starting", retry_after=10
            ) from None
        except httpx.TimeoutException:
            sentence = f"the model was too slow: {wish.seconds:g} s were not enough; ask with async=true"
            raise Refusal(503, sentence, retry_after=30) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = type(error).__name__
            raise Refusal(503, f"the model's server went away ({told})", retry_after=10) from None
        if answer.status_code != 200:
            raise _refused(answer)
        try:
            return read_answer(answer.content, rows, self.names, _MOST_ANSWER)
        except AnswerError as error:
            raise Refusal(502, f"the model's server gave no explanation: {error}") from None

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(trust_env=False)
            return self._client


def _name(planned: Planned | None, rows: pa.RecordBatch, wish: Wish) -> str:
    version = "" if planned is None else planned.version
    told = hashlib.sha256(f"{version} {wish.algorithm} {wish.samples} ".encode())
    told.update(stream_of(pa.RecordBatch.from_arrays(rows.columns, schema=rows.schema), {}))
    return told.hexdigest()


def _meta(wish: Wish) -> dict[bytes, bytes]:
    given: dict[bytes, Any] = {ALGORITHM: wish.algorithm, SAMPLES: wish.samples, SECONDS: wish.seconds}
    return {key: str(value).encode() for key, value in given.items() if value is not None}


def _refused(answer: httpx.Response) -> Refusal:
    sentence = sentence_of(answer, "the model's server")
    if answer.status_code in (408, 425, 429, 502, 503, 504):
        return Refusal(503, sentence, retry_after=retry_after(answer) or 10)
    if answer.status_code == 400:
        return Refusal(400, sentence)
    return Refusal(502, f"the model's server gave no explanation: {sentence}")
