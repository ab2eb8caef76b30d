"""Explanations that are fetched later: a job's id now, its result when there is one.

In memory only, so many at a time: after a restart a job is unknown, and is to be asked for again. Belongs to
one event loop. Must not know what a job does.
"""

import asyncio
import logging
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from modelwarden_server.web import Refusal

log = logging.getLogger(__name__)
MOST_JOBS: Final = 500
MOST_WAITING: Final = 100
_AT_ONCE: Final = 2


@dataclass
class Job:
    """One job. `result` is what the synchronous form would have answered."""

    id: str
    status: str = "waiting"
    result: dict[str, Any] | None = None
    error: str | None = None

    def told(self) -> dict[str, Any]:
        """As an answer."""
        told: dict[str, Any] = {"job_id": self.id, "status": self.status}
        if self.result is not None:
            told["result"] = self.result
        return told if self.error is None else told | {"error": self.error}


@dataclass
class Jobs:
    """All jobs of one cell."""

    _jobs: "OrderedDict[str, Job]" = field(default_factory=OrderedDict)
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def begin(self, work: Callable[[], Awaitable[dict[str, Any]]]) -> Job:
        """A new job. Raises Refusal (503) when too many wait."""
        if len(self._tasks) >= MOST_WAITING:
            raise Refusal(503, "too many explanations wait: ask again in a minute", retry_after=60)
        job = Job(uuid.uuid4().hex)
        self._jobs[job.id] = job
        while len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._do(job, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    def get(self, name: str) -> Job:
        """A job by its id. Raises Refusal (404)."""
        job = self._jobs.get(name)
        if job is None:
            raise Refusal(404, "there is no such job: results are kept until the cell restarts, 500 at most")
        return job

    def forget(self) -> None:
        """Keep no result; who asks is told to begin again. From any thread."""
        for job in list(self._jobs.values()):
            if job.status == "done":
                job.status, job.result, job.error = "failed", None, "rows were forgotten: ask again"

    async def _do(self, job: Job, work: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        async with self._turn:
            job.status = "running"
            try:
                job.result, job.status = await work(), "done"
            except Refusal as refusal:
                job.status, job.error = "failed", refusal.sentence
            except Exception as error:
                log.exception("an explanation failed")
                job.status, job.error = "failed", f"a fault of the server ({type(error).__name__})"
