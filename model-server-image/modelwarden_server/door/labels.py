"""`PATCH /api/v3/models/{id}/inferences` and `…/ground_truth`: labels without their inferences, row by row.

    [{"partner_inference_id": …, "ground_truth_timestamp": …, "ground_truth_data": {…}}]

Both paths do the same; they differ in the permission that a gateway asks for.
"""

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
from modelwarden_server.door.intake import FORGOTTEN
from modelwarden_server.door.label_intake import IdentifiedLabels, LabelIntake
from modelwarden_server.door.large_bodies import parse_labels
from modelwarden_server.schema.parser import LabelParser
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.labels import LabelIndex, LabelSources
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal


class LabelRoom:
    """The door for labels, and what is known of those that were taken in."""

    def __init__(self, cell: Cell, admission: Admission) -> None:
        self._cell = cell
        self._admission = admission
        self._parser = LabelParser(cell.schema)
        self._index: LabelIndex | None = None
        self._intake: LabelIntake | None = None
        self._secret = b""

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        model = "/api/v3/models/{id}"
        return [
            Route(f"{model}/inferences", self.patch, methods=["PATCH"]),
            Route(f"{model}/ground_truth", self.patch, methods=["PATCH"]),
        ]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        self._secret = store.secret
        tables = store.tables
        sources = LabelSources(
            tables.inferences,
            tables.truth,
            store.ids,
            store.schema.truth_record,
            store.ledger.labels_waiting,
        )
        self._index = LabelIndex(store.folders.root / "index" / "labels", sources)
        self._intake = LabelIntake(store, self._index)
        self._index.load()
        self._index.start()
        store.on_forget.append(self._index.drop)
        store.maintenance.labels_retired.append(self._index.retire)
        return self._index

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        if self._index is not None:
            self._index.close()

    @property
    def intake(self) -> LabelIntake:
        """Where labels go that come another way. Raises Refusal (503) as long as the cell is recovering."""
        if self._intake is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._intake

    async def patch(self, request: Request) -> Response:
        """Take labels in: 207 with one result a row, or an error for the request as a whole."""
        async with self._admission.observed() as seen:
            seen.answer = await self._patch(request)
        return seen.answer

    async def _patch(self, request: Request) -> Response:
        settings = self._cell.settings.current
        async with AsyncExitStack() as inside:
            body = await self._admission.body(request, settings, inside)
            intake = self.intake
            if not self._cell.schema.truth:
                raise Refusal(400, "the model has no ground truth that could be sent: declare an attribute")
            labels = await self._admission.parsed(body, lambda body: self._identify(body, settings))
            taken = await intake.take(labels, settings)
            places = labels.parsed.places
            forgotten = {int(places[row]): FORGOTTEN for row in taken.forgotten}
            rows = self._cell.metrics.labels
            rows.labels("accepted").inc(taken.accepted)
            rows.labels("repeated").inc(taken.repeated)
            rows.labels("sampled_out").inc(taken.sampled_out)
            rows.labels("refused").inc(len(labels.parsed.refused) + len(forgotten))
            return row_answer(labels.parsed.total, labels.parsed.refused, forgotten)

    def _identify(self, body: bytearray, settings: CellSettings) -> IdentifiedLabels:
        parsed = parse_labels(self._parser, body, self._admission.limits(settings))
        if settings.sensitivity:
            parsed = replace(parsed, labels=protect(parsed.labels, settings.sensitivity, self._secret))
        return self.intake.identified(parsed)
