"""The query doors under `/api/v3/models/{id}/inferences/query`: a query, one inference, data drift.

Who may call is decided before a request comes here. Answers are computed in threads, a few at a time; who
comes then is held, and refused with 429 when too many wait or the wait gets too long.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.query.bucket_table import bucket_table
from modelwarden_server.query.distributions import distributions
from modelwarden_server.query.drift_answer import Sources, answer
from modelwarden_server.query.inference import inference_with_labels, waiting_labels
from modelwarden_server.query.quality_answer import quality_answer
from modelwarden_server.query.request import (
    QueryError,
    parse_bucket_query,
    parse_drift_query,
    parse_quality_query,
)
from modelwarden_server.query.scan import Deadline, QueryTooLargeError
from modelwarden_server.query.sql.answer import MAX_PAGE_SIZE, Page, QuerySources, answered
from modelwarden_server.query.sql.engine import Engine
from modelwarden_server.query.sql.request import parse_query
from modelwarden_server.web import Refusal, check_model

_PATH = "/api/v3/models/{id}/inferences/query"
_BUCKETS = "data_drift_psi_bucket_calculation_table"
_AT_ONCE = 2
_WAITING = 64
_WAIT_SECONDS = 60.0
_ANSWER_SECONDS = 60.0
_BODY_SECONDS = 30.0
_BODY_BYTES = 1 << 20
_MAX_PAGE = 1_000_000
_BUSY = "too many queries at once: try again in a few seconds"


@dataclass
class QueryDoor:
    """`drift_sources` and `sources` give what there is to ask at the moment of a query."""

    identity: CellIdentity
    drift_sources: Callable[[], Sources]
    sources: Callable[[], QuerySources]
    seconds: Histogram
    """By kind of question and status of the answer."""
    minimum_rows: Callable[[], int] = lambda: 1
    """Rows that a window needs for a finding."""
    engine: Engine = field(default_factory=Engine)
    wait_seconds: float = _WAIT_SECONDS
    answer_seconds: float = _ANSWER_SECONDS
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    inside: int = 0
    """Queries that are being worked on or wait."""

    def routes(self) -> list[Route]:
        """The routes of this door."""
        return [
            Route(f"{_PATH}/data_drift", self.data_drift, methods=["POST"]),
            Route(f"{_PATH}/{_BUCKETS}", self.buckets, methods=["POST"]),
            Route(f"{_PATH}/data_quality", self.data_quality, methods=["POST"]),
            Route(f"{_PATH}/distributions", self.distributions, methods=["POST"]),
            Route(_PATH, self.query, methods=["POST"]),
            Route(f"{_PATH}/{{inference:path}}", self.inference, methods=["GET"]),
        ]

    async def query(self, request: Request) -> Response:
        """Rows that a query selects: 200, or 400 that names the place in the query."""
        return await self._answered(request, "query", self._query)

    async def data_drift(self, request: Request) -> Response:
        """Drift of the named properties: 200, or 400 that names the field."""
        return await self._answered(request, "data_drift", self._drift)

    async def buckets(self, request: Request) -> Response:
        """The buckets behind a PSI: 200, or 400 that names the field."""
        return await self._answered(request, _BUCKETS, self._buckets)

    async def data_quality(self, request: Request) -> Response:
        """Bad values of the named properties: 200, or 400 that names the field."""
        return await self._answered(request, "data_quality", self._quality)

    async def distributions(self, request: Request) -> Response:
        """Rows by bins of one or two properties: 200, or 400 that names the field."""
        return await self._answered(request, "distributions", self._distributions)

    async def inference(self, request: Request) -> Response:
        """One inference with its labels: 200, or 404."""
        return await self._answered(request, "inference", self._inference)

    async def answered(
        self, request: Request, kind: str, work: Callable[[Request, bytes, Deadline], bytes]
    ) -> Response:
        """Another room's question, of that kind, in the turn of all questions: its answer as JSON."""
        return await self._answered(request, kind, lambda asked, body: work(asked, body, self._deadline()))

    async def _answered(
        self, request: Request, kind: str, work: Callable[[Request, bytes], bytes]
    ) -> Response:
        check_model(request, self.identity)
        started, status = time.perf_counter(), 500
        try:
            found = await self._in_turn(request, work)
            status = 200
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            self.seconds.labels(kind, str(status)).observe(time.perf_counter() - started)
        return Response(found, media_type="application/json")

    async def _in_turn(self, request: Request, work: Callable[[Request, bytes], bytes]) -> bytes:
        if self.inside >= _WAITING:
            raise Refusal(429, _BUSY, retry_after=5)
        self.inside += 1
        try:
            body = await _body(request)
            await self._take_turn()
            try:
                return await asyncio.to_thread(work, request, body)
            finally:
                self._turn.release()
        except (QueryError, QueryTooLargeError) as error:
            raise Refusal(400, str(error)) from None
        except ClientDisconnect:
            raise Refusal(400, "the request broke off: send it again") from None
        finally:
            self.inside -= 1

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self.wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise Refusal(429, _BUSY, retry_after=10) from None

    def _drift(self, _request: Request, body: bytes) -> bytes:
        sources = self.drift_sources()
        query = parse_drift_query(body, sources.columns.keys())
        return msgspec.json.encode(answer(query, sources, self._deadline()))

    def _buckets(self, _request: Request, body: bytes) -> bytes:
        sources = self.drift_sources()
        query = parse_bucket_query(body, sources.columns.keys())
        return msgspec.json.encode(bucket_table(query, sources, self._deadline()))

    def _quality(self, _request: Request, body: bytes) -> bytes:
        sources = self.drift_sources()
        query = parse_quality_query(body, sources.columns.keys())
        return msgspec.json.encode(
            quality_answer(query, sources, self.minimum_rows(), self._deadline(), self.engine)
        )

    def _distributions(self, _request: Request, body: bytes) -> bytes:
        return msgspec.json.encode(distributions(body, self.drift_sources(), self._deadline()))

    def _query(self, request: Request, body: bytes) -> bytes:
        query, page = parse_query(body), page_of(request)
        return self._read(lambda sources, deadline: answered(query, page, sources, deadline, self.engine))

    def _inference(self, request: Request, _body: bytes) -> bytes:
        identifier = request.path_params["inference"]

        def found(sources: QuerySources, deadline: Deadline) -> bytes:
            body = inference_with_labels(identifier, sources, deadline, self.engine)
            if body is not None:
                return body
            labels = waiting_labels(identifier, sources, deadline)
            told = f"; {labels} labels wait for it" if labels else ""
            raise Refusal(404, f"there is no inference with this partner_inference_id{told}")

        return self._read(found)

    def _read(self, work: Callable[[QuerySources, Deadline], bytes]) -> bytes:
        """The work over what there is; once more if a file was replaced by another one meanwhile."""
        deadline = self._deadline()
        try:
            return work(self.sources(), deadline)
        except FileNotFoundError:
            pass
        try:
            return work(self.sources(), deadline)
        except FileNotFoundError:
            raise Refusal(503, "the tables are being rewritten: ask again", retry_after=2) from None

    def _deadline(self) -> Deadline:
        return Deadline(time.monotonic() + self.answer_seconds)


def page_of(request: Request) -> Page:
    """The page that the URL asks for. Raises QueryError."""
    size = _whole(request, "page_size", MAX_PAGE_SIZE)
    number = _whole(request, "page", _MAX_PAGE)
    if number is not None and size is None:
        size = 100
    return Page(number or 1, size)


def _whole(request: Request, name: str, most: int) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:12]) <= most:
        raise QueryError(f"{name}: must be a whole number from 1 to {most}")
    return int(text)


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _BODY_BYTES:
                    raise QueryError(f"the query is larger than {_BODY_BYTES} bytes")
    except TimeoutError:
        raise Refusal(408, "the query did not arrive in time: send it again") from None
    return bytes(body)
