"""Stored rows are explained: takes a piece of work from the store, has the model server do it, brings the
result back. As many pieces at a time as the plan says, and never more than these in memory.

What is taken and not brought back (this process is killed, the store is away) the store hands out again after
its deadline, and commits once. Passes Arrow on unread. Must not take work while nothing here could do it.
"""

import asyncio
import json
import logging
from dataclasses import dataclass, field

import httpx

from modelwarden_server.innerwire import ARROW_STREAM, TASK, TASKS
from modelwarden_server.podwire import EXPLAIN, FAILED_ROWS, ROWS
from modelwarden_server.refused import retry_after, sentence_of
from modelwarden_server.sidecar.pod import MODEL_SERVER, Pod

log = logging.getLogger(__name__)
MOST_THREADS = 32
MOST_ANSWER = 64 << 20
_BRING_ATTEMPTS = 6


@dataclass(frozen=True)
class Pauses:
    """Seconds to wait: for work to appear, for the model server, and after a failure at first and at most."""

    idle: float = 1.0
    idle_most: float = 5.0
    first: float = 0.5
    most: float = 10.0
    explain: float = 190.0
    """Longest that the model server may take for a piece."""


@dataclass(frozen=True)
class Work:
    """A piece of work: rows as Arrow, under the store's number."""

    number: str
    content: bytes


class _CannotNowError(Exception):
    """The model server cannot do it now; another pod, or this one later, can."""


class _CannotError(Exception):
    """The piece was too much for the user's code: not done, too slow, or it ended. Not tried for ever."""


@dataclass
class Consumer:
    """See the module's text."""

    pod: Pod
    pauses: Pauses = Pauses()
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _failures: int = 0
    _fresh: bool = True

    @property
    def busy(self) -> int:
        """Pieces of work in hand."""
        return len(self._tasks)

    async def run(self) -> None:
        """Take and do work until the pod is ending; then finish what is in hand."""
        while not self.pod.ending:
            try:
                pause = await self._once()
            except Exception:
                log.exception("no work was taken")
                pause = self._after_failure()
            if pause:
                await asyncio.sleep(pause)
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _once(self) -> float:
        """Take one piece if there is room for it; seconds to wait before the next."""
        explain = self.pod.plan.explain if self.pod.plan is not None else None
        if explain is None or not explain.streaming or not self.pod.explains():
            self._failures = 0
            return self.pauses.idle
        if self._failures:
            pause = self._after_failure(count=False)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(pause)
        if len(self._tasks) >= max(1, min(explain.threads, MOST_THREADS)):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            return 0.0
        work, pause = await self._take()
        if work is not None:
            task = asyncio.create_task(self._do(work))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return pause

    async def _take(self) -> tuple[Work | None, float]:
        try:
            # What a process of this name was at before, it has lost.
            params = {"holder": self.pod.name} | ({"fresh": "true"} if self._fresh else {})
            answer = await self.pod.store.post(TASKS, params=params)
        except httpx.HTTPError as error:
            log.debug("no work: %s", type(error).__name__)
            return None, self._after_failure()
        if answer.is_success:
            self._fresh = False
        if answer.status_code == 200 and TASK in answer.headers:
            return Work(answer.headers[TASK], answer.content), 0.0
        if answer.status_code != 204:
            return None, self._after_failure()
        return None, min(self.pauses.idle_most, retry_after(answer) or self.pauses.idle)

    async def _do(self, work: Work) -> None:
        try:
            explained = await self._explained(work)
        except _CannotNowError as error:
            self._failures += 1
            await self._give_back(work, str(error), again=True)
        except _CannotError as error:
            self.pod.counts.failed_tasks += 1
            self._failures += 1
            await self._give_back(work, str(error), again=False)
        else:
            self._failures = 0
            await self._bring(work, explained)

    async def _explained(self, work: Work) -> httpx.Response:
        headers = {"Content-Type": ARROW_STREAM}
        try:
            answer = await self.pod.model_server.post(
                EXPLAIN, content=work.content, headers=headers, timeout=self.pauses.explain
            )
        except httpx.HTTPError as error:
            raise _CannotNowError(f"the model server went away ({type(error).__name__})") from None
        if answer.status_code in (429, 503):
            raise _CannotNowError(sentence_of(answer, MODEL_SERVER))
        if answer.status_code != 200:
            raise _CannotError(sentence_of(answer, MODEL_SERVER))
        if len(answer.content) > MOST_ANSWER:
            raise _CannotError(f"the explanations are larger than {MOST_ANSWER} bytes")
        return answer

    async def _bring(self, work: Work, explained: httpx.Response) -> None:
        """Bring a result; a store that is away is asked again, one that wants it no longer is not."""
        status = await self._put(f"{TASKS}/{work.number}", explained.content, ARROW_STREAM)
        if status is not None and status < 300:
            self.pod.counts.tasks += 1
            self.pod.counts.explained_rows += int(explained.headers.get(ROWS, 0))
            self.pod.counts.failed_rows += int(explained.headers.get(FAILED_ROWS, 0))
        else:
            self.pod.counts.failed_tasks += 1
            log.info("a result is not taken (%s): the store has what it needs, or asks for it again", status)

    async def _give_back(self, work: Work, message: str, *, again: bool) -> None:
        content = json.dumps({"message": message, "again": again}).encode()
        await self._put(f"{TASKS}/{work.number}/failure", content, "application/json")
        log.warning("a piece of work was given back: %s", message)

    async def _put(self, path: str, content: bytes, kind: str) -> int | None:
        """Put until it is answered for good; the status, None if the store stayed away."""
        status = None
        params = {"holder": self.pod.name}
        for attempt in range(_BRING_ATTEMPTS):
            if attempt:
                await asyncio.sleep(min(self.pauses.most, self.pauses.first * 2**attempt))
            try:
                answer = await self.pod.store.put(
                    path, content=content, params=params, headers={"Content-Type": kind}
                )
            except httpx.HTTPError:
                continue
            status = answer.status_code
            if status < 500 and status != 429:
                return status
        return status

    def _after_failure(self, *, count: bool = True) -> float:
        if count:
            self._failures += 1
        return float(min(self.pauses.most, self.pauses.first * 2 ** min(self._failures - 1, 10)))
