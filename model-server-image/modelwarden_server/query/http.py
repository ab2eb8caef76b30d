"""The query door: `POST /api/v3/models/{id}/inferences/query/data_drift`.

Who may call is decided before a request comes here. Answers are computed in a thread, a few at a time.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.query.drift_answer import Sources, answer
from modelwarden_server.query.request import QueryError, parse_drift_query
from modelwarden_server.query.scan import Deadline, QueryTooLargeError
from modelwarden_server.web import Refusal, check_model

_AT_ONCE = 2
_WAITING = 64
_ANSWER_SECONDS = 60.0
_BODY_SECONDS = 30.0
_BODY_BYTES = 1 << 20


@dataclass
class QueryDoor:
    """`sources` gives what there is to ask at the moment of a query."""

    identity: CellIdentity
    sources: Callable[[], Sources]
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    inside: int = 0
    """Queries that are being worked on or wait."""

    def routes(self) -> list[Route]:
        """The routes of this door."""
        return [Route("/api/v3/models/{id}/inferences/query/data_drift", self.data_drift, methods=["POST"])]

    async def data_drift(self, request: Request) -> Response:
        """Drift of the named properties: 200, or 400 that names the field."""
        check_model(request, self.identity)
        if self.inside >= _WAITING:
            raise Refusal(503, "too many queries at once: try again in a few seconds", retry_after=5)
        self.inside += 1
        try:
            body = await _body(request)
            async with self._turn:
                found = await asyncio.to_thread(self._answer, body)
        except (QueryError, QueryTooLargeError) as error:
            raise Refusal(400, str(error)) from None
        except TimeoutError:
            raise Refusal(408, "the query did not arrive in time: send it again") from None
        except ClientDisconnect:
            raise Refusal(400, "the request broke off: send it again") from None
        finally:
            self.inside -= 1
        return Response(found, media_type="application/json")

    def _answer(self, body: bytes) -> bytes:
        sources = self.sources()
        query = parse_drift_query(body, sources.columns.keys())
        return msgspec.json.encode(answer(query, sources, Deadline(time.monotonic() + _ANSWER_SECONDS)))


async def _body(request: Request) -> bytes:
    body = bytearray()
    async with asyncio.timeout(_BODY_SECONDS):
        async for piece in request.stream():
            body += piece
            if len(body) > _BODY_BYTES:
                raise QueryError(f"the query is larger than {_BODY_BYTES} bytes")
    return bytes(body)
