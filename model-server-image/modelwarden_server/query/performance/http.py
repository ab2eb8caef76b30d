"""The door `GET /api/v3/models/{id}/performance`. Takes its turn among the other questions."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, CellSettings
from modelwarden_server.query.drift_answer import Sources
from modelwarden_server.query.http import QueryDoor
from modelwarden_server.query.performance.answer import (
    Asked,
    LeftToRowsError,
    answered,
    answered_by_sums,
    bounded,
)
from modelwarden_server.query.performance.by_query import KINDS, RowsAsked, answered_by_query
from modelwarden_server.query.performance.question import PerformanceQuestion, parse_question
from modelwarden_server.query.performance.sums import Sums
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.answer import QuerySources
from modelwarden_server.web import Refusal

_NOT_COUNTED = (
    "this model's performance is not counted: it needs a score with a ground truth for each class, or a"
    " number with one and a reference; ask POST …/inferences/query for functions of its rows"
)
SECONDS = 5.0


@dataclass
class PerformanceDoor:
    """`sums` waits so many seconds for complete sums; `counted` tells whether there are to be any; `rows` is
    what is there for kinds of models that are not counted.
    """

    identity: CellIdentity
    queries: QueryDoor
    settings: Callable[[], CellSettings]
    sources: Callable[[], Sources]
    sums: Callable[[float], Sums | None]
    counted: Callable[[], bool]
    rows: Callable[[], QuerySources]

    def routes(self) -> list[Route]:
        """The route of this door."""
        return [Route("/api/v3/models/{id}/performance", self.performance, methods=["GET"])]

    async def performance(self, request: Request) -> Response:
        """Metrics of windows, batches, groups and segments: 200, or 400 that names the parameter."""
        return await self.queries.answered(request, "performance", self._performance)

    def _performance(self, request: Request, _body: bytes, deadline: Deadline) -> bytes:
        question = parse_question(dict(request.query_params))
        rows_tell = self.identity.output_type in KINDS
        if not self.counted():
            if rows_tell:
                return self._by_rows(question, deadline)
            raise QueryError(_NOT_COUNTED)
        sources, sums = self.sources(), self.sums(SECONDS)
        if sums is None:
            raise Refusal(503, "the sums of outcomes are catching up with the tables", retry_after=5)
        monitoring = self.settings().monitoring
        asked = Asked(
            question,
            sums,
            sources,
            [a for a in self.identity.attributes if not a.implicit],
            monitoring.window_seconds,
            monitoring.minimum_rows,
            deadline,
        )
        if not rows_tell:
            return msgspec.json.encode(answered(asked))
        try:
            return msgspec.json.encode(answered_by_sums(asked))
        except LeftToRowsError:
            return self._by_rows(bounded(asked), deadline)

    def _by_rows(self, question: PerformanceQuestion, deadline: Deadline) -> bytes:
        kind = self.identity.output_type
        assert kind is not None
        return msgspec.json.encode(
            answered_by_query(RowsAsked(question, kind, self.rows(), deadline, self.queries.engine))
        )
