"""`POST /api/v3/models/{id}/inferences`: rows in, durable, then an answer for each, in request order: 207.

What comes before (auth) and after (the log) is elsewhere; here is the order of things and their limits.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.cell import CellSettings
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import drain, read_body
from modelwarden_server.door.gate import Gate
from modelwarden_server.door.intake import Identified, Intake, Taken, message_of
from modelwarden_server.door.secret import hash_secret
from modelwarden_server.schema.parsed import BodyError, Limits, ParsedRows, TooManyRowsError
from modelwarden_server.schema.parser import Parser
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.store import Store
from modelwarden_server.store.writer import CommitListener
from modelwarden_server.web import Refusal, check_model, json_answer

log = logging.getLogger(__name__)
INLINE_BYTES = 64 << 10


class Result(msgspec.Struct, frozen=True, gc=False):
    """One row's answer. `status` is an integer: the documented client counts anything else as a failure."""

    message: str
    status: int


SUCCESS = Result("success", 200)


class InferenceRoom:
    """The door for rows of inferences."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._parser = Parser(cell.schema)
        self._gate = Gate()
        cell.metrics.in_flight.set_function(lambda: self._gate.inside)
        self._intake: Intake | None = None
        self._secret = b""
        # One at a time: a large body takes several times its size while it is parsed.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parser")

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [Route("/api/v3/models/{id}/inferences", self.post, methods=["POST"])]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        self._secret = hash_secret(store.folders.root)
        self._intake = Intake(store)
        self._cell.metrics.watch(lambda: store.ledger.totals, lambda: store.log.size)
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def busy(self) -> int:
        """Requests inside and at the gate."""
        return self._gate.inside + self._gate.waiting

    async def post(self, request: Request) -> Response:
        """Take rows in: 207 with one result a row, or an error for the request as a whole."""
        started = time.perf_counter()
        status = 500
        try:
            answer = await self._post(request)
            status = answer.status_code
        except Refusal as refusal:
            status = refusal.status
            raise
        except ClientDisconnect:
            status = 499
            raise Refusal(400, "the request broke off: send it again") from None
        finally:
            self._cell.metrics.requests.labels(str(status)).observe(time.perf_counter() - started)
        return answer

    async def _post(self, request: Request) -> Response:
        check_model(request, self._cell.identity)
        settings = self._cell.settings.current
        async with AsyncExitStack() as inside:
            try:
                body = await self._admitted_body(request, settings, inside)
            except Refusal:
                # Who is answered while still sending may see a broken connection instead of the answer.
                await drain(request.stream(), settings.ingest.limits.max_body_bytes)
                raise
            self._check_open()
            rows = await self._identified(body, settings)
            assert self._intake is not None
            taken = await self._intake.take(rows, settings)
            return self._answer(rows.parsed, taken)

    async def _admitted_body(self, request: Request, settings: CellSettings, inside: AsyncExitStack) -> bytes:
        """The body, read after the gate has admitted it; `inside` leaves the gate."""
        self._check_open()
        limits = settings.ingest.limits
        declared = _declared_length(request)
        if declared is not None and declared > limits.max_body_bytes:
            raise Refusal(413, _too_large(limits.max_body_bytes))
        size = limits.max_body_bytes if declared is None else declared
        gate = self._gate.admit(size, limits.max_requests_in_flight, limits.max_body_bytes)
        await inside.enter_async_context(gate)
        body = await read_body(request, limits.max_body_bytes)
        if declared is not None and len(body) != declared:
            raise Refusal(400, "the body is shorter than its Content-Length: send it again")
        return body

    def _check_open(self) -> None:
        unready = self._cell.unready()
        if unready is not None:
            raise Refusal(503, f"no rows are taken in now ({unready}): send them again later", retry_after=5)
        if self._cell.settings.current.archived:
            raise Refusal(409, "the model is archived (lifecycle: Archived): it takes in no rows")

    async def _identified(self, body: bytes, settings: CellSettings) -> Identified:
        try:
            if len(body) <= INLINE_BYTES:
                return self._identify(body, settings)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._identify, body, settings)
        except BodyError as error:
            raise Refusal(400, str(error)) from None
        except TooManyRowsError as error:
            raise Refusal(413, f"{error} (ingest.limits.maxRows)") from None

    def _identify(self, body: bytes, settings: CellSettings) -> Identified:
        limits = Limits(
            rows=settings.ingest.limits.max_rows,
            string_length=settings.ingest.limits.max_string_length,
            latest=int((self._cell.clock() + settings.ingest.max_future_seconds) * 1e6),
        )
        parsed = self._parser.parse(body, limits)
        if settings.sensitivity:
            parsed = _protected(parsed, settings, self._secret)
        keys, digests = self._cell.store.identify(parsed.rows)
        return Identified(parsed, keys, digests)

    def _answer(self, parsed: ParsedRows, taken: Taken) -> Response:
        results = [SUCCESS] * parsed.total
        for place, reason in parsed.refused.items():
            results[place] = Result(reason, 400)
        for place, reason in message_of(parsed.places.tolist(), taken).items():
            results[place] = Result(reason, 409)
        failures = len(parsed.refused) + len(taken.conflicts)
        self._count(parsed, taken, failures)
        counts = {"success": parsed.total - failures, "failure": failures, "total": parsed.total}
        return json_answer({"counts": counts, "results": results}, 207)

    def _count(self, parsed: ParsedRows, taken: Taken, failures: int) -> None:
        rows = self._cell.metrics.rows
        rows.labels("accepted").inc(taken.accepted)
        rows.labels("repeated").inc(taken.repeated)
        rows.labels("sampled_out").inc(taken.sampled_out)
        rows.labels("refused").inc(len(parsed.refused))
        rows.labels("conflict").inc(len(taken.conflicts))
        if failures:
            self._cell.store.ledger.refused(failures)


def _declared_length(request: Request) -> int | None:
    """The body's size according to its header, None if it is chunked. Refuses nonsense (400)."""
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise Refusal(400, "Content-Length must be a number")
    return int(text)


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes (ingest.limits.maxBodySize): send fewer rows at a time"


def _protected(parsed: ParsedRows, settings: CellSettings, secret: bytes) -> ParsedRows:
    return replace(
        parsed,
        rows=protect(parsed.rows, settings.sensitivity, secret),
        truth=protect(parsed.truth, settings.sensitivity, secret),
    )
