"""Between operator and API server: writes down what is asked, and does harm at a chosen request.

Plain HTTP towards the operator; towards the API server as the administrator, or with the caller's own token.
Watches are passed on as they come.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aiohttp import (
    ClientConnectionResetError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    TCPConnector,
    web,
)
from operator_process import PATIENCE

from testbed.api_client import write_kubeconfig
from testbed.apiserver import ApiServer

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HOP = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "accept-encoding"}
)


@dataclass(frozen=True)
class Call:
    """One request. Leases are left out of `writes`: they are renewed for ever."""

    method: str
    path: str

    @property
    def is_write(self) -> bool:
        return self.method in MUTATING and "/leases" not in self.path


Harm = Callable[[Call], tuple[int, dict[str, str], bytes] | None]


def harmless(call: Call) -> None:
    """Let it pass."""
    return


def _ignore(call: Call) -> None:
    """Nothing happens after a call."""


class RecordingProxy:
    """`harm(call)` may answer instead of the API server; `after(call)` runs once it has answered a write."""

    def __init__(self, server: ApiServer) -> None:
        self.calls: list[Call] = []
        self.harm: Harm = harmless
        self.after: Callable[[Call], None] = _ignore
        self._server = server
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    def writes(self) -> list[Call]:
        """Writes so far, in order."""
        return [call for call in self.calls if call.is_write]

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig that goes through here as the administrator."""
        url = f"http://127.0.0.1:{self.port}"
        write_kubeconfig(path, url, self._server.ca_certificate, {"token": "not looked at"})
        return path

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        # Cancels, at the end, what still passes on a watch.
        asyncio.run(self._run())

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        trust = ssl.create_default_context(cafile=str(self._server.ca_certificate))
        trust.load_cert_chain(self._server.client_certificate, self._server.client_key)
        connector = TCPConnector(ssl=trust, limit=0)
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=None), auto_decompress=False
        ) as up:
            self._up = up
            app = web.Application(client_max_size=16 * 1024 * 1024)
            app.router.add_route("*", "/{tail:.*}", self._pass)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._started.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.path_qs)
        self.calls.append(call)
        if (answer := self.harm(call)) is not None:
            status, headers, body = answer
            return web.Response(status=status, headers=headers, body=body)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        headers.pop("Authorization", None)
        body = await request.read() or None
        url = self._server.url + request.path_qs
        try:
            async with self._up.request(request.method, url, headers=headers, data=body) as got:
                return await self._answer(request, call, got)
        except (ClientConnectionResetError, ConnectionError):
            # The operator has been killed, or has given the watch up.
            return web.Response(status=502)

    async def _answer(self, request: web.Request, call: Call, got: ClientResponse) -> web.StreamResponse:
        if call.is_write:
            payload = await got.read()
            self.after(call)
            return web.Response(status=got.status, body=payload, content_type=got.content_type)
        response = web.StreamResponse(status=got.status, headers={"Content-Type": got.content_type})
        await response.prepare(request)
        async for chunk in got.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response
