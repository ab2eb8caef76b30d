"""Is the process alive, may it be sent rows, what has it done: `/healthz`, `/readyz`, `/metrics`, `/status`.

The first three ask for no key and tell no row values; `/status` is what the operator reads.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from modelwarden import __version__
from modelwarden.resources.report import LabelReport, LogReport, RowReport, StatusReport, TableReport
from modelwarden_server.cell import Cell, Room
from modelwarden_server.metrics import CONTENT_TYPE
from modelwarden_server.store.delta import AppendTable
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store

log = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class HealthRoom:
    """What a cell says of itself."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.metrics),
            Route("/status", self.status_report),
        ]

    def attach(self, _store: Store) -> CommitListener | None:
        """See Room."""
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""

    async def healthz(self, _request: Request) -> Response:
        """200 as long as the process can still become what it should be; else a restart is due."""
        if self._cell.unhealthy is not None:
            return PlainTextResponse(f"{self._cell.unhealthy}\n", 503)
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """200 when rows are taken in; else 503 and why not."""
        unready = self._cell.unready()
        return PlainTextResponse("ok\n") if unready is None else PlainTextResponse(f"{unready}\n", 503)

    async def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        text = await asyncio.to_thread(self._cell.metrics.text)
        return Response(text, media_type=CONTENT_TYPE)

    async def status_report(self, _request: Request) -> Response:
        """The StatusReport."""
        # In a thread: the verdict on a model of a thousand attributes takes a second to compute.
        report = await asyncio.to_thread(report_of, self._cell)
        return Response(report.to_json(), media_type="application/json")


def report_of(cell: Cell) -> StatusReport:
    """What the cell has to say now. The counts of rows are one consistent set."""
    unready = cell.unready()
    known: dict[str, Any] = {
        "model_id": cell.identity.model_id,
        "version": __version__,
        "started_at": cell.started_at,
        "settings_generation": cell.settings.current.generation,
        "settings_hash": cell.settings.hash,
        "settings_error": cell.settings.error,
        "ready": unready is None,
        "phase": str(cell.phase),
        "reason": cell.reason,
    }
    if cell.has_store:
        known |= _of_store(cell.store, known["reason"])
    for room in cell.rooms:
        known |= _said_by(room)
    return StatusReport(**known)


def _said_by(room: Room) -> dict[str, Any]:
    """What a room says. The fault of one must not take with it what all others say."""
    try:
        return room.status()
    except Exception as error:
        log.exception("%s cannot say how it is", type(room).__name__)
        return {"reason": f"a fault of the server ({type(error).__name__}): its log tells more"}


def _of_store(store: Store, reason: str | None) -> dict[str, Any]:
    totals = store.ledger.totals
    return {
        "reason": reason or store.writer.problem or store.warning,
        "rows": RowReport(
            acknowledged=totals.acknowledged,
            stored=totals.stored,
            rejected_later=totals.rejected_later,
            sampled_out=totals.sampled_out,
            refused=totals.refused,
            repeated=totals.repeated,
            conflicts=totals.conflicts,
            last_hour=store.ledger.last_hour(),
            waiting=totals.waiting,
            labels=LabelReport(
                acknowledged=totals.labels,
                stored=totals.labels_stored,
                waiting=totals.labels_waiting,
                repeated=totals.labels_repeated,
                sampled_out=totals.labels_sampled_out,
            ),
        ),
        "log": LogReport(
            bytes=store.log.size,
            segments=store.log.segments,
            uuid=store.log.identity,
            unwritten=max(0, store.log.durable - store.writer.position),
        ),
        "tables": {
            "inferences": _of_table(store.tables.inferences),
            "ground_truth": _of_table(store.tables.truth),
        },
        "newest_inference": _instant(totals.newest_event),
        "newest_arrival": _instant(totals.newest_arrival),
    }


def _of_table(table: AppendTable) -> TableReport:
    return TableReport(version=table.version, rows=table.rows, files=len(table.files))


def _instant(micros: int | None) -> datetime | None:
    return None if micros is None else _EPOCH + timedelta(microseconds=micros)
