"""The model server: `/load`, `/status`, `/explain`, `/predict` over the pod's unix socket, see podwire.

No key, no network: whoever reaches the socket is the sidecar. Must not hold logic of its own beyond who may
work at the same time.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from modelwarden.resources.cell import canonical_json
from modelwarden_server.door.bodies import read_large_body
from modelwarden_server.httpserver import serve_until_told, until_idle
from modelwarden_server.innerwire import ARROW_STREAM
from modelwarden_server.modelserver.engines import Engines, OutOfTimeError
from modelwarden_server.modelserver.explaining import Explained, RequestError, answer, read_question
from modelwarden_server.modelserver.loading import Desk, Surroundings
from modelwarden_server.modelserver.predicting import predict
from modelwarden_server.modelserver.supervisor import ChildError, ChildTimeoutError, ChildUnavailableError
from modelwarden_server.podwire import (
    ASKED,
    EXPLAIN,
    FAILED_ROWS,
    LOAD,
    PREDICT,
    ROWS,
    SOCKET,
    STATUS,
    Running,
    Wanted,
)
from modelwarden_server.web import Refusal, application

log = logging.getLogger(__name__)
MOST_BODY: Final = 256 << 20
TASK_SECONDS: Final = 165.0
"""For stored rows: less than the store waits for them."""
ASKED_SECONDS: Final = 180.0
"""At most, for one that somebody waits for: the store says how long he does."""
_AT_ONCE: Final = 2
_MOST_WAITING: Final = 8
_MOST_TASKS: Final = 64


class Lane:
    """Threads for one kind of request, and how many may wait for them."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + waiting
        self.busy = 0

    async def run(self, work: Callable[[], Explained]) -> Explained:
        """Run it when it is its turn. Refuses (503) when too many wait."""
        if self.busy >= self._most:
            raise Refusal(503, "too many explanations are asked for: ask again later", retry_after=2)
        self.busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.busy -= 1

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class ModelServer:
    """The routes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        # Who waits for an answer does not queue behind stored rows; between the two the child takes turns.
        self._tasks = Lane("explain", _AT_ONCE, _MOST_TASKS)
        self._asked = Lane("asked", _AT_ONCE, _MOST_WAITING)
        self._loading = threading.Lock()
        self._predicting = 0

    @property
    def busy(self) -> int:
        """Requests being worked on."""
        return self._tasks.busy + self._asked.busy + self._predicting

    def routes(self) -> Sequence[BaseRoute]:
        """See the module's text."""
        return [
            Route(LOAD, self.load, methods=["POST"]),
            Route(STATUS, self.status),
            Route(EXPLAIN, self.explain, methods=["POST"]),
            Route(PREDICT, self.predict, methods=["POST"]),
        ]

    def close(self) -> None:
        """End the children."""
        self._tasks.close()
        self._asked.close()
        self._desk.stop()

    async def load(self, request: Request) -> Response:
        """Take note of what is wanted; answers how far it is."""
        try:
            wanted = Wanted.model_validate_json(bytes(await read_large_body(request, MOST_BODY)))
        except ValidationError as error:
            raise Refusal(400, f"this is no plan: {error.error_count()} fields are wrong") from None
        try:
            await asyncio.to_thread(self._load, wanted)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        return _told(self._desk.running())

    def _load(self, wanted: Wanted) -> None:
        with self._loading:
            self._desk.load(wanted)

    async def status(self, _request: Request) -> Response:
        """How far everything is."""
        return _told(await asyncio.to_thread(self._desk.running))

    async def explain(self, request: Request) -> Response:
        """Explain the rows of an Arrow stream. 400 the request; 503 not now; 504 too slow."""
        body = bytes(await read_large_body(request, MOST_BODY))
        engines = self._desk.engines()
        if engines is None:
            raise Refusal(503, "nothing can be explained now: the code is not loaded", retry_after=2)
        waited_for = ASKED in request.headers
        lane = self._asked if waited_for else self._tasks
        until = time.monotonic() + (ASKED_SECONDS if waited_for else TASK_SECONDS)
        try:
            explained = await lane.run(lambda: _explained(engines, body, until - time.monotonic()))
        except RequestError as error:
            raise Refusal(400, str(error)) from None
        except (OutOfTimeError, ChildTimeoutError):
            raise Refusal(504, "the model was too slow to be explained in this time") from None
        except ChildUnavailableError as error:
            raise Refusal(503, str(error), retry_after=max(1, round(error.retry_seconds))) from None
        except ChildError as error:
            raise Refusal(502, str(error)) from None
        headers = {ROWS: str(explained.rows), FAILED_ROWS: str(explained.failed)}
        return Response(explained.content, headers=headers, media_type=ARROW_STREAM)

    async def predict(self, request: Request) -> Response:
        """Run the flow, see predictwire."""
        body = bytes(await read_large_body(request, MOST_BODY))
        flow = self._desk.flow()
        if flow is None:
            raise Refusal(503, "nothing predicts here now: the flow is not loaded", retry_after=2)
        self._predicting += 1
        try:
            return await predict(flow[0], body, flow[1])
        finally:
            self._predicting -= 1


def _explained(engines: Engines, body: bytes, seconds: float) -> Explained:
    if seconds <= 0:
        raise OutOfTimeError
    return answer(engines, read_question(body, engines, seconds))


def _told(running: Running) -> Response:
    return Response(canonical_json(running), media_type="application/json")


@dataclass(frozen=True)
class ModelServerOptions:
    """What a model server is told on its command line."""

    run: Path
    """Folder of the socket."""
    around: Surroundings
    grace_seconds: float


def model_server_app(server: ModelServer) -> ASGIApp:
    """The application over these routes."""
    return application(server.routes())


async def run_model_server(options: ModelServerOptions) -> int:
    """Serve until the process is told to end; the exit code. Raises ConfigurationError."""
    server = ModelServer(Desk(options.around))

    async def end() -> int:
        await until_idle(lambda: server.busy, options.grace_seconds)
        return 0

    try:
        return await serve_until_told(model_server_app(server), options.run / SOCKET, end)
    finally:
        await asyncio.to_thread(server.close)
