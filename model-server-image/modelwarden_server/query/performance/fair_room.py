"""The room of fairness in a cell's process: `GET /api/v3/models/{id}/fairness`, a part of the status, series.

Work is done in the turn of queries (`Turns`), so that it cannot crowd them out. Must not compute.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden_server.analysis.performance.outcome import outcome_of
from modelwarden_server.cell import Cell
from modelwarden_server.query.drift_answer import Sources
from modelwarden_server.query.parameters import conditions_of, span_of, threshold_of
from modelwarden_server.query.performance.fair_answers import FairnessSources, answer
from modelwarden_server.query.performance.fair_series import FairnessCollector
from modelwarden_server.query.performance.fair_watch import FairnessWatch, Told, Watched
from modelwarden_server.query.performance.fairness import FairnessQuestion
from modelwarden_server.query.performance.populations import Populations
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Deadline
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

_REACH_SECONDS = 2.0
_KNOWN = frozenset({"attribute", "base_group", "start", "end", "threshold", "batch_id", "filter", "id_type"})


class Turns(Protocol):
    """The door of queries, as far as its turns are needed."""

    @property
    def drift_sources(self) -> Callable[[], Sources]:
        """Gives the rows that there are at the moment of a question."""
        ...

    def answered(
        self, request: Request, kind: str, work: Callable[[Request, bytes, Deadline], bytes]
    ) -> Awaitable[Response]:
        """The work's bytes as JSON, done in a thread when its turn comes; refusals as theirs."""
        ...


@dataclass(frozen=True)
class Given:
    """What the room is given by other rooms."""

    turns: Turns
    sums: Callable[[float], Populations | None]
    """The sums, if they hold all that is in the tables within so many seconds; 0: as they are."""
    closed: Callable[[int], Sequence[Batch]]
    """The batches that were closed last, newest first."""


class FairnessRoom:
    """See the module's text."""

    def __init__(self, cell: Cell, given: Given) -> None:
        self._cell, self._given = cell, given
        self._attributes = {a.name: a for a in cell.identity.attributes}
        self._outcome = outcome_of(cell.identity.attributes, cell.identity.output_type)
        self._watch = FairnessWatch()
        cell.metrics.registry.register(FairnessCollector(self._told, self._attributes))

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [Route("/api/v3/models/{id}/fairness", self.fairness, methods=["GET"])]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        del store
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        told = self._told()
        return {"fairness": None if told is None else told.report}

    def close(self) -> None:
        """See Room."""

    async def fairness(self, request: Request) -> Response:
        """The groups of one attribute: 200, or 400 that names the parameter."""
        return await self._given.turns.answered(request, "fairness", self._answered)

    def _answered(self, request: Request, _body: bytes, deadline: Deadline) -> bytes:
        question = question_of(request.query_params, self._monitored())
        settings = self._cell.settings.current
        sources = FairnessSources(
            attributes=self._attributes,
            outcome=self._outcome,
            populations=self._given.sums(_REACH_SECONDS),
            rows=self._given.turns.drift_sources(),
            threshold=settings.classifier_threshold,
            window_seconds=settings.monitoring.window_seconds,
            is_batch=self._cell.identity.is_batch,
        )
        return msgspec.json.encode(answer(question, sources, deadline))

    def _monitored(self) -> list[str]:
        return [name for name, a in self._attributes.items() if a.monitor_for_bias and not a.implicit]

    def _told(self) -> Told | None:
        populations = self._given.sums(0)
        if populations is None:
            return None
        batch = None
        if self._cell.identity.is_batch:
            batch = next((one.id for one in self._given.closed(1)), None)
        monitoring = self._cell.settings.current.monitoring
        return self._watch.told(
            Watched(populations, self._attributes, monitoring, batch, self._cell.identity.is_batch)
        )


def question_of(given: Mapping[str, str], monitored: Sequence[str]) -> FairnessQuestion:
    """The question in a URL. Without an attribute it is the only one that is monitored. Raises QueryError."""
    unknown = sorted(set(given.keys()) - _KNOWN)
    if unknown:
        raise QueryError(f"{unknown[0][:50]}: there is no such parameter, only {', '.join(sorted(_KNOWN))}")
    attribute = given.get("attribute") or (monitored[0] if len(monitored) == 1 else None)
    if attribute is None:
        listed = ", ".join(monitored[:20]) or "none has monitorForBias"
        raise QueryError(f"attribute: name one, like one of those with monitorForBias: {listed}")
    start, end = span_of(given)
    return FairnessQuestion(
        attribute=attribute,
        base_group=given.get("base_group") or None,
        start=start,
        end=end,
        threshold=threshold_of(given),
        batch=given.get("batch_id") or None,
        filter=conditions_of(given),
    )
