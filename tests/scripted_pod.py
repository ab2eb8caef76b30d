"""A sidecar between a store and a model server that do what the test tells them: both in this process.

The real ones are met in tests/faults and tests/cell; here they must misbehave on command.
"""

import asyncio
import hashlib
import io
import json
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import census_like
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelwarden.resources.cell import canonical_json
from modelwarden.resources.server import (
    CodePlan,
    CodeReport,
    ExplainPlan,
    PodReport,
    ServerFile,
    ServerPlan,
)
from modelwarden_server.podwire import Running, Wanted
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.sidecar.app import Sidecar, furnish
from modelwarden_server.sidecar.consumer import Pauses
from modelwarden_server.sidecar.pod import Pod

KEY = "k" * 64


def zipped(**files: str) -> bytes:
    """A zip: `entrypoint_py="…"` is the file entrypoint.py."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_py", ".py"), text)
    return made.getvalue()


@dataclass
class ScriptedStore:
    """Hands out one plan, its files and pieces of work; keeps what it is told."""

    plan: ServerPlan = field(default_factory=lambda: ServerPlan(plan_hash="none"))
    files: dict[str, bytes] = field(default_factory=dict)
    work: deque[tuple[str, bytes]] = field(default_factory=deque)
    pods: list[PodReport] = field(default_factory=list)
    results: dict[str, bytes] = field(default_factory=dict)
    given_back: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rows: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    away: bool = False
    keys: set[str] = field(default_factory=set)
    asked_for: list[str] = field(default_factory=list)

    def app(self) -> Callable[..., Any]:
        routes = [
            Route("/internal/v1/server", self._plan),
            Route("/internal/v1/server/files/{sha256}", self._file),
            Route("/internal/v1/server/pods/{pod}", self._pod, methods=["PUT"]),
            Route("/internal/v1/explanations/tasks", self._lease, methods=["POST"]),
            Route("/internal/v1/explanations/tasks/{number}", self._result, methods=["PUT"]),
            Route("/internal/v1/explanations/tasks/{number}/failure", self._failure, methods=["PUT"]),
            Route("/api/{rest:path}", self._rows, methods=["GET", "POST", "PATCH"]),
        ]
        app = Starlette(routes=routes)

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if self.away:
                raise httpx.ConnectError("nobody listens")
            if scope["type"] == "http":
                self.keys.add(dict(scope["headers"])[b"authorization"].decode())
                self.asked_for.append(scope["path"])
            await app(scope, receive, send)

        return guarded

    def keep(self, content: bytes, name: str) -> ServerFile:
        """A file that can be fetched."""
        sha256 = hashlib.sha256(content).hexdigest()
        self.files[sha256] = content
        return ServerFile(sha256=sha256, bytes=len(content), name=name)

    def code(self, role: str, archive: bytes, code_hash: str = "c1", **more: Any) -> CodePlan:
        """A code whose archive can be fetched."""
        path = "entrypoint" if role == "explain" else None
        files = self.keep(archive, "user_project.zip")
        given = {"role": role, "code_hash": code_hash, "files": files, "import_path": path} | more
        return CodePlan.model_validate(given)

    def explain(self, **more: Any) -> ExplainPlan:
        """Explanations against a sample that can be fetched."""
        sample = self.keep(b"a sample", "background.arrow")
        given = {"background": sample, "background_hash": "b1", "algorithm": "shap", "samples": 100} | more
        return ExplainPlan.model_validate(given)

    async def _plan(self, request: Request) -> Response:
        return Response(canonical_json(self.plan), media_type="application/json")

    async def _file(self, request: Request) -> Response:
        content = self.files.get(request.path_params["sha256"])
        return Response(status_code=404) if content is None else Response(content)

    async def _pod(self, request: Request) -> Response:
        self.pods.append(PodReport.model_validate_json(await request.body()))
        return JSONResponse({})

    async def _lease(self, request: Request) -> Response:
        if not self.work:
            return Response(status_code=204, headers={"Retry-After": "0.02"})
        number, content = self.work.popleft()
        return Response(content, headers={"X-Modelwarden-Task": number})

    async def _result(self, request: Request) -> Response:
        self.results[request.path_params["number"]] = await request.body()
        return JSONResponse({})

    async def _failure(self, request: Request) -> Response:
        self.given_back.append((request.path_params["number"], json.loads(await request.body())))
        return JSONResponse({})

    async def _rows(self, request: Request) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        self.rows.append((f"{request.method} {path}", dict(request.headers), await request.body()))
        return JSONResponse({"counts": {"success": 1}}, 207, {"X-Inner": "stays"})


@dataclass
class ScriptedModelServer:
    """Runs what it is told to, at once; `explain` answers for the engines."""

    boot: str = "first"
    wanted: Wanted | None = None
    loads: int = 0
    away: bool = False
    state: str = "Ready"
    inside: int = 0
    most_inside: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    explain: Callable[[bytes], Response] = lambda content: Response(b"explained " + content)
    hold: asyncio.Event | None = None

    def app(self) -> Callable[..., Any]:
        app = Starlette(
            routes=[
                Route("/load", self._load, methods=["POST"]),
                Route("/status", self._status),
                Route("/explain", self._explain, methods=["POST"]),
            ]
        )

        async def guarded(scope: Any, receive: Any, send: Any) -> None:
            if self.away:
                raise httpx.ConnectError("nobody listens")
            await app(scope, receive, send)

        return guarded

    def restart(self) -> None:
        """It is a new process that knows nothing."""
        self.boot, self.wanted = self.boot + "'", None

    def running(self) -> Running:
        wanted = self.wanted
        if wanted is None:
            return Running(boot=self.boot)
        codes = tuple(
            CodeReport.model_validate(
                {"role": c.plan.role, "codeHash": c.plan.code_hash, "state": self.state, "path": "linear"}
            )
            for c in wanted.codes
        )
        return Running(boot=self.boot, plan_hash=wanted.plan_hash, codes=codes)

    async def _load(self, request: Request) -> Response:
        self.wanted = Wanted.model_validate_json(await request.body())
        self.loads += 1
        return Response(canonical_json(self.running()))

    async def _status(self, request: Request) -> Response:
        return Response(canonical_json(self.running()))

    async def _explain(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            if self.hold is not None:
                await self.hold.wait()
            return self.explain(await request.body())
        finally:
            self.inside -= 1


@dataclass
class ScriptedPod:
    """A real sidecar between the two, and a client that calls it."""

    folder: Path
    store: ScriptedStore = field(default_factory=ScriptedStore)
    model_server: ScriptedModelServer = field(default_factory=ScriptedModelServer)

    def __post_init__(self) -> None:
        self.pod = Pod(
            name="pod-a",
            identity=census_like.identity(),
            settings=SettingsHolder(census_like.settings(), KEY),
            store=_client(self.store.app(), {"Authorization": KEY}),
            model_server=_client(self.model_server.app(), {}),
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.sidecar: Sidecar = furnish(self.pod, self.folder)
        self.sidecar.plan.again_seconds = 0.01
        self.sidecar.consumer.pauses = Pauses(idle=0.01, idle_most=0.02, first=0.01, most=0.02)
        self.http = _client(self.sidecar.app, {"Authorization": KEY})

    async def rounds_until(self, reached: Callable[[], Any], seconds: float = 60.0) -> None:
        """Rounds of the plan's loop until something is so."""
        async with asyncio.timeout(seconds):
            while not reached():
                await self.sidecar.plan.round()
                await asyncio.sleep(0.005)

    async def consume_until(self, reached: Callable[[], Any], seconds: float = 60.0) -> None:
        """Let the consumer work until something is so, then have it end."""
        consuming = asyncio.create_task(self.sidecar.consumer.run())
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(0.005)
            self.pod.ending = True
            await consuming

    @property
    def reported(self) -> dict[str, CodeReport]:
        """What the store heard last, by role."""
        return {code.role: code for code in self.store.pods[-1].codes} if self.store.pods else {}

    @property
    def loaded(self) -> list[str]:
        """Hashes of the codes that the model server was told to run."""
        wanted = self.model_server.wanted
        return [] if wanted is None else [code.plan.code_hash for code in wanted.codes]


def _client(app: Any, headers: dict[str, str]) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://there", headers=headers)
