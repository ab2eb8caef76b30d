"""The door of anomalies: `GET /api/v3/models/{id}/anomalies?start&end | batch_id & limit`.

Without a span: the newest window. Must not compute.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, MonitoringSettings
from modelwarden_server.enrichments.anomaly_answer import MOST_WORST, AnomalyQuestions, Span
from modelwarden_server.query.parameters import span_of
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline, QueryTooLargeError
from modelwarden_server.web import Refusal, check_model, json_answer

_SECONDS: Final = 30.0
_WAITING: Final = 16
_KNOWN: Final = frozenset({"start", "end", "batch_id", "limit", "id_type"})


@dataclass
class AnomalyDoor:
    """One question at a time is worked on."""

    identity: CellIdentity
    questions: AnomalyQuestions
    settings: Callable[[], MonitoringSettings]
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _inside: int = 0

    def routes(self) -> list[Route]:
        """The routes of this door."""
        return [Route("/api/v3/models/{id}/anomalies", self.anomalies, methods=["GET"])]

    async def anomalies(self, request: Request) -> Response:
        """How anomalous a span's rows are, and the worst of them; 404 for a model that is not scored."""
        check_model(request, self.identity)
        span = asked(request, by_batch=self.identity.is_batch)
        if self._inside >= _WAITING:
            raise Refusal(429, "too many questions at once: try again in a few seconds", retry_after=5)
        self._inside += 1
        try:
            async with self._turn:
                return json_answer(await asyncio.to_thread(self._answer, span))
        finally:
            self._inside -= 1

    def _answer(self, span: Span) -> object:
        for last in (False, True):
            try:
                deadline = Deadline(time.monotonic() + _SECONDS)
                found = self.questions.answer(span, self.settings(), deadline)
            except QueryTooLargeError:
                raise Refusal(400, "start, end: the span has too many rows: ask for a shorter one") from None
            except FileNotFoundError:
                if last:
                    raise Refusal(503, "the tables are being rewritten: ask again", retry_after=2) from None
                continue
            if found is None:
                sentence = "rows of this model are not scored: GET …/enrichments/anomaly_detection says why"
                raise Refusal(404, sentence)
            return found
        raise AssertionError


def asked(request: Request, *, by_batch: bool) -> Span:
    """What the URL asks for. Raises Refusal (400) that names the parameter."""
    given = request.query_params
    if unknown := sorted(set(given) - _KNOWN):
        raise Refusal(400, f"{unknown[0][:100]}: there is no such parameter")
    try:
        start, end = span_of(given)
    except QueryError as error:
        raise Refusal(400, str(error)) from None
    batch = given.get("batch_id") or None
    if batch is not None and not by_batch:
        raise Refusal(400, "batch_id: the model has no batches: give start and end")
    limit = given.get("limit", "10")
    if not (limit.isdecimal() and limit.isascii()) or int(limit[:9]) > MOST_WORST:
        raise Refusal(400, f"limit: must be a whole number from 0 to {MOST_WORST}")
    return Span(start, end, batch, int(limit))
