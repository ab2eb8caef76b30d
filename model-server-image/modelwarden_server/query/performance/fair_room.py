"""The room of fairness in a cell's process: `GET /api/v3/models/{id}/fairness`, a part of the status, series.

Work is done in the turn of queries (`Turns`), so that it cannot crowd them out. Must not compute.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden_server.analysis.performance.outcome import outcome_of
from modelwarden_server.cell import Cell
from modelwarden_server.query.drift_answer import Sources
from modelwarden_server.query.performance.fair_answers import FairnessSources, answer
from modelwarden_server.query.performance.fair_series import FairnessCollector
from modelwarden_server.query.performance.fair_watch import FairnessWatch, Told, Watched
from modelwarden_server.query.performance.fairness import FairnessQuestion
from modelwarden_server.query.performance.populations import Populations
from modelwarden_server.query.request import MAX_FILTERS, Condition, QueryError
from modelwarden_server.query.scan import Deadline
from modelwarden_server.schema.instants import instant
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

_REACH_SECONDS = 2.0
_MOST_TEXT = 4096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


class Parameters(Protocol):
    """The query part of a URL."""

    def get(self, key: str, /) -> str | None:
        """The value of a parameter."""
        ...

    def keys(self) -> Any:
        """The names of the parameters."""
        ...


def question_of(given: Parameters, monitored: Sequence[str]) -> FairnessQuestion:
    """The question in a URL. Without an attribute it is the only one that is monitored. Raises QueryError."""
    unknown = sorted(set(given.keys()) - _KNOWN)
    if unknown:
        raise QueryError(f"{unknown[0][:50]}: there is no such parameter, only {', '.join(sorted(_KNOWN))}")
    attribute = given.get("attribute") or (monitored[0] if len(monitored) == 1 else None)
    if attribute is None:
        listed = ", ".join(monitored[:20]) or "none has monitorForBias"
        raise QueryError(f"attribute: name one, like one of those with monitorForBias: {listed}")
    return FairnessQuestion(
        attribute=attribute,
        base_group=given.get("base_group") or None,
        start=_time(given, "start"),
        end=_time(given, "end"),
        threshold=_threshold(given),
        batch=given.get("batch_id") or None,
        filter=_filter(given.get("filter")),
    )


def _time(given: Parameters, name: str) -> datetime | None:
    text = given.get(name)
    if not text:
        return None
    # A plus that stands in a URL as it is arrives as a blank.
    micros = instant(text.replace(" ", "+"))
    if micros is None:
        raise QueryError(f"{name}: must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00Z")
    return _EPOCH + timedelta(microseconds=micros)


def _threshold(given: Parameters) -> float | None:
    text = given.get("threshold")
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise QueryError(f"threshold: must be a number from 0 to 1, not {text[:50]!r}")
    return found


class _Condition(msgspec.Struct, forbid_unknown_fields=True):
    property: str
    comparator: str = "eq"
    value: Any = None


def _filter(text: str | None) -> tuple[Condition, ...]:
    if not text:
        return ()
    if len(text) > _MOST_TEXT:
        raise QueryError(f"filter: is longer than {_MOST_TEXT} characters")
    try:
        conditions = msgspec.json.decode(text, type=list[_Condition])
    except msgspec.DecodeError as error:
        like = '[{"property": "age", "comparator": "gt", "value": 60}]'
        raise QueryError(f"filter: must be a JSON list like {like}: {error}") from None
    if len(conditions) > MAX_FILTERS:
        raise QueryError(f"filter: has more than {MAX_FILTERS} entries")
    return tuple(Condition(one.property, one.comparator, one.value) for one in conditions)
