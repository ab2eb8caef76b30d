"""`POST /api/v3/models/{id}/inferences`: rows in, durable, then an answer for each, in request order: 207.

What comes before (auth) and after (the log) is elsewhere; here is the order of things.
"""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.cell import CellSettings
from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import Admission
from modelwarden_server.door.answers import row_answer
from modelwarden_server.door.intake import Identified, Intake, Shut, Taken, message_of, no_batch
from modelwarden_server.door.labels import LabelRoom
from modelwarden_server.door.large_bodies import parse_rows
from modelwarden_server.schema.parsed import ParsedRows
from modelwarden_server.schema.parser import Parser
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

log = logging.getLogger(__name__)


class InferenceRoom:
    """The door for rows of inferences. Labels in them go the way of `labels`, which is attached before."""

    def __init__(self, cell: Cell, admission: Admission, labels: LabelRoom) -> None:
        self._cell = cell
        self._admission = admission
        self._labels = labels
        self._parser = Parser(cell.schema)
        self._intake: Intake | None = None
        self.shut: Shut = no_batch
        """Which batches take no more rows; set before the room is attached."""
        self._secret = b""

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [Route("/api/v3/models/{id}/inferences", self.post, methods=["POST"])]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        self._secret = store.secret
        self._intake = Intake(store, self._labels.intake, self.shut)
        log.info("rows are parsed by %s", "the compiled parser" if self._parser.compiled else "Python alone")
        self._cell.metrics.watch(lambda: store.ledger.totals, lambda: store.log.size)
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        self._admission.close()

    @property
    def busy(self) -> int:
        """Requests inside and at the gate, those with labels alone included."""
        return self._admission.busy

    async def settle(self) -> None:
        """Wait until the rows that were handed to the log are durable, or failed."""
        if self._intake is not None:
            await self._intake.settle()

    async def post(self, request: Request) -> Response:
        """Take rows in: 207 with one result a row, or an error for the request as a whole."""
        async with self._admission.observed() as seen:
            seen.answer = await self._post(request)
        return seen.answer

    async def _post(self, request: Request) -> Response:
        settings = self._cell.settings.current
        async with AsyncExitStack() as inside:
            rows = await self._rows(request, settings, inside)
            conflicts = await self._taken(rows, settings)
            return row_answer(rows.parsed.total, rows.parsed.refused, conflicts)

    async def take(self, body: bytearray) -> dict[int, str]:
        """Rows that come another way, as a body of this door would hold them: durable when this returns.

        Tells why each that was refused was, by its place. Raises Refusal.
        """
        settings = self._cell.settings.current
        rows = await self._admission.parsed(body, lambda body: self._identify(body, settings))
        return rows.parsed.refused | await self._taken(rows, settings)

    async def _taken(self, rows: Identified, settings: CellSettings) -> dict[int, str]:
        """Have the rows durable; those that contradict what is stored, by their place in the request."""
        assert self._intake is not None
        taken = await self._intake.take(rows, settings)
        conflicts = message_of(rows.parsed.places.tolist(), taken)
        self._count(rows.parsed, taken, len(conflicts))
        return conflicts

    async def _rows(self, request: Request, settings: CellSettings, inside: AsyncExitStack) -> Identified:
        """The parsed rows; the body is let go."""
        body = await self._admission.body(request, settings, inside)
        if not self._cell.schema.data:
            raise Refusal(400, "the model has no attributes: declare them before rows are sent")
        return await self._admission.parsed(body, lambda body: self._identify(body, settings))

    def _identify(self, body: bytearray, settings: CellSettings) -> Identified:
        parsed = parse_rows(self._parser, body, self._admission.limits(settings))
        if settings.sensitivity:
            parsed = _protected(parsed, settings, self._secret)
        keys, digests = self._cell.store.identify(parsed.rows)
        return Identified(parsed, keys, digests, self._labels.intake.digests(parsed.truth))

    def _count(self, parsed: ParsedRows, taken: Taken, conflicts: int) -> None:
        rows = self._cell.metrics.rows
        rows.labels("accepted").inc(taken.accepted)
        rows.labels("repeated").inc(taken.repeated)
        rows.labels("sampled_out").inc(taken.sampled_out)
        rows.labels("refused").inc(len(parsed.refused))
        rows.labels("conflict").inc(conflicts)
        if parsed.refused or conflicts:
            self._cell.store.ledger.refused(len(parsed.refused), conflicts)


def _protected(parsed: ParsedRows, settings: CellSettings, secret: bytes) -> ParsedRows:
    return replace(
        parsed,
        rows=protect(parsed.rows, settings.sensitivity, secret),
        truth=protect(parsed.truth, settings.sensitivity, secret),
    )
