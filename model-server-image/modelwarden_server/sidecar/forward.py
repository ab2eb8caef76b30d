"""Rows that are sent to a pod go on to the store as they are, and its answer back: nothing is taken in here.

A request is passed on while it arrives and held nowhere; it is not tried again, because its body is gone. The
store has answered before the client is, so what is acknowledged is durable. Must not read a row.
"""

from collections.abc import AsyncIterator, Sequence

import httpx
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from modelwarden_server.door.bodies import drain
from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.web import Refusal

MOST_AT_ONCE = 48
SILENCE_SECONDS = 120.0
_DRAINED = 64 << 20
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_THERE = frozenset({b"content-type", b"content-length", b"content-encoding", b"accept", b"accept-encoding"})
_BACK = frozenset({"content-type", "content-length", "content-encoding", "retry-after", "location"})


class ForwardRoom:
    """The store's doors for inferences, at the pod."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._inside = 0

    @property
    def busy(self) -> int:
        """Requests being passed on."""
        return self._inside

    def routes(self) -> Sequence[BaseRoute]:
        """See the module's text."""
        path = "/api/v3/models/{id}/inferences"
        return [
            Route(path, self.forward, methods=_METHODS),
            Route(path + "/{rest:path}", self.forward, methods=_METHODS),
        ]

    async def forward(self, request: Request) -> Response:
        """Pass a request on. 503 when the store is away or too many are on their way."""
        if self._inside >= MOST_AT_ONCE:
            await drain(request.stream(), _DRAINED)
            raise Refusal(503, "too many requests are being passed on: send it again later", retry_after=2)
        self._inside += 1
        try:
            answer = await self._sent(request)
        except BaseException:
            self._inside -= 1
            raise
        self._pod.counts.forwarded += 1
        headers = {name: value for name, value in answer.headers.items() if name in _BACK}

        async def close() -> None:
            self._inside -= 1
            await answer.aclose()

        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, headers, background=BackgroundTask(close)
        )

    async def _sent(self, request: Request) -> httpx.Response:
        store = self._pod.store
        query = request.scope["query_string"]
        path = request.scope.get("raw_path") or request.url.path.encode()
        url = store.base_url.copy_with(raw_path=path + (b"?" + query if query else b""))
        headers = [(name, value) for name, value in request.headers.raw if name in _THERE]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers.raw)
        asked = store.build_request(
            request.method,
            url,
            headers=headers,
            content=_body(request) if has_body else None,
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=5.0),
        )
        try:
            return await store.send(asked, stream=True)
        except ClientDisconnect:
            raise Refusal(400, "the request broke off: send it again") from None
        except httpx.HTTPError as error:
            await drain(request.stream(), _DRAINED)
            raise Refusal(
                503,
                f"the store cannot be reached from here ({type(error).__name__}): send it again later",
                retry_after=5,
            ) from None


async def _body(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        if piece:
            yield piece
