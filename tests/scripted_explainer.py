"""A model's server as the store sees it, scripted: its door for explanations, and holders of pieces."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import pyarrow as pa
from explained_rows import answer_to
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from store_process import ANSWER_SECONDS, KEY, free_port

from modelwarden_server.innerwire import ARROW_STREAM, TASK, TASKS


@dataclass
class ScriptedExplainer:
    """Answers `/internal/v1/explain`. `answer` makes the body; `status` and `seconds` spoil it."""

    port: int = field(default_factory=free_port)
    answer: Callable[[pa.RecordBatch], bytes] = answer_to
    status: int = 200
    seconds: float = 0.0
    asked: list[dict[bytes, bytes]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def explain(self, request: Request) -> Response:
        body = await request.body()
        with pa.ipc.open_stream(body) as reader:
            rows = reader.read_all().combine_chunks().to_batches()[0]
            self.asked.append(dict(reader.schema.metadata or {}))
        self.keys.append(request.headers["authorization"])
        await asyncio.sleep(self.seconds)
        if self.status != 200:
            return JSONResponse({"error": "the user's code is Loading"}, self.status, {"Retry-After": "7"})
        return Response(self.answer(rows), media_type=ARROW_STREAM)

    @contextlib.contextmanager
    def running(self) -> Iterator["ScriptedExplainer"]:
        app = Starlette(routes=[Route("/internal/v1/explain", self.explain, methods=["POST"])])
        ended = threading.Event()

        async def until_ended() -> None:
            server = Server(
                app, address="127.0.0.1", port=self.port, interface=Interfaces.ASGINL, log_enabled=False
            )
            serving = asyncio.create_task(server.serve())
            await asyncio.to_thread(ended.wait)
            server.stop()
            await serving

        thread = threading.Thread(target=lambda: asyncio.run(until_ended()))
        thread.start()
        try:
            deadline = time.monotonic() + ANSWER_SECONDS
            while True:
                with contextlib.suppress(httpx.TransportError):
                    httpx.get(f"{self.url}/")
                    break
                assert time.monotonic() < deadline
            yield self
        finally:
            ended.set()
            thread.join()


@dataclass
class Holder:
    """A sidecar that takes pieces and brings answers, on a thread, until it is told to stop."""

    url: str
    name: str
    answer: Callable[[pa.RecordBatch], bytes] = answer_to
    pieces: int = 0
    rows: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def at_work(self) -> Iterator["Holder"]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, headers={"Authorization": KEY}, timeout=ANSWER_SECONDS) as http:
            while not self._stopping.is_set():
                with contextlib.suppress(httpx.TransportError):  # the store was killed: it comes again
                    if self.once(http):
                        continue
                self._stopping.wait(0.05)

    def once(self, http: httpx.Client) -> bool:
        """Take a piece and bring its answer; False if there is none."""
        taken = http.post(TASKS, params={"holder": self.name})
        if taken.status_code != 200:
            return False
        with pa.ipc.open_stream(taken.content) as reader:
            rows = reader.read_all().combine_chunks().to_batches()[0]
        brought = http.put(f"{TASKS}/{taken.headers[TASK]}", content=self.answer(rows))
        if brought.status_code == 200:
            self.pieces, self.rows = self.pieces + 1, self.rows + rows.num_rows
        return True
