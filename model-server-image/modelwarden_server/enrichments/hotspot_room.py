"""The room of hotspots in a cell's process: what was found, what people were told, series, its status.

    GET   /api/v3/models/{id}/enrichments/hotspots/find?metric&threshold&batch_id|date|ref_set_id
    GET   /api/v3/models/{id}/insights       start_time, end_time, status, batch_id, page, page_size
    PATCH /api/v3/models/{id}/insights                  the same; {"status": "Acknowledged"}
    GET   /api/v3/models/{id}/insights/group_counts
    GET   /api/v3/models/{id}/insights/{insight}
    PATCH /api/v3/models/{id}/insights/{insight}

Must not search, nor decide what is searched.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.report import HotspotReport
from modelwarden_server.analysis.hotspots.choose import LEVEL
from modelwarden_server.analysis.hotspots.outcomes import Metric
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import read_json
from modelwarden_server.enrichments.hotspot_answers import Asked, Telling, insights_of, nodes, report
from modelwarden_server.enrichments.hotspot_questions import (
    asked_of,
    covers,
    day_of,
    page_of,
    selection_of,
    state_of,
)
from modelwarden_server.enrichments.hotspot_results import Searched
from modelwarden_server.enrichments.hotspot_series import HotspotCollector
from modelwarden_server.enrichments.hotspot_subjects import instant
from modelwarden_server.enrichments.hotspots import Hotspots, HotspotSources
from modelwarden_server.enrichments.insights import STATES, Insight, Insights, Selection
from modelwarden_server.enrichments.windows import LabelledRows
from modelwarden_server.query.questions import BARRIER_SECONDS
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_model, json_answer

_MODEL: Final = "/api/v3/models/{id}"


class _Mark(msgspec.Struct):
    status: str


class HotspotRoom:
    """`kind` is connected here. `closed` gives the batches that were closed last."""

    def __init__(self, cell: Cell, kind: Hotspots, closed: Callable[[int], Sequence[Batch]]) -> None:
        self._cell, self._kind, self._closed = cell, kind, closed
        self._insights: Insights | None = None
        cell.metrics.registry.register(HotspotCollector(self._report, self._counts))

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        insights = f"{_MODEL}/insights"
        return [
            Route(f"{_MODEL}/enrichments/hotspots/find", self.find, methods=["GET"]),
            Route(f"{insights}/group_counts", self.groups, methods=["GET"]),
            Route(insights, self.list, methods=["GET"]),
            Route(insights, self.mark, methods=["PATCH"]),
            Route(f"{insights}/{{insight}}", self.show, methods=["GET"]),
            Route(f"{insights}/{{insight}}", self.mark, methods=["PATCH"]),
        ]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        folder = store.folders.root / "enrichments" / "hotspots"
        insights = Insights(folder / "insights.json")
        insights.load()
        self._insights = insights
        self._kind.connect(
            HotspotSources(
                folder=folder,
                rows=LabelledRows(store.tables.inferences, store.tables.truth),
                closed=self._closed,
                labels=lambda: store.tables.truth.rows,
                settled=lambda: self._settle(store),
                told=self._told,
            )
        )
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {"hotspots": self._report()}

    def close(self) -> None:
        """See Room."""

    async def find(self, request: Request) -> Response:
        """Regions where the metric is below the threshold: 200; 400, or 404 where nothing was searched."""
        check_model(request, self._cell.identity)
        asked = asked_of(request)
        return json_answer(await asyncio.to_thread(self._found, request, asked))

    async def list(self, request: Request) -> Response:
        """A page of insights, newest first."""
        check_model(request, self._cell.identity)
        found = self._all().chosen(selection_of(request))
        return json_answer(page_of(request).of([self._shape(one) for one in found]))

    async def groups(self, request: Request) -> Response:
        """A page of windows or batches and how many insights each has."""
        check_model(request, self._cell.identity)
        return json_answer(page_of(request).of(self._all().groups(selection_of(request))))

    async def show(self, request: Request) -> Response:
        """One insight: 200 or 404."""
        check_model(request, self._cell.identity)
        found = self._all().chosen(Selection(id=request.path_params["insight"]))
        if not found:
            raise Refusal(404, "there is no insight of this id")
        return json_answer(self._shape(found[0]))

    async def mark(self, request: Request) -> Response:
        """Change the state of one insight or of all that are chosen: how many were changed."""
        check_model(request, self._cell.identity)
        wanted = await read_json(request, _Mark, '{"status": "Acknowledged"}')
        status, insights = state_of(wanted.status), self._all()
        selection = selection_of(request)
        one = request.path_params.get("insight")
        if one is not None:
            selection = Selection(id=one)
            if not insights.chosen(selection):
                raise Refusal(404, "there is no insight of this id")
        try:
            changed = await asyncio.to_thread(insights.mark, selection, status)
        except OSError as error:
            raise Refusal(503, f"it could not be stored: {error.strerror}", retry_after=10) from None
        return json_answer({"updated_count": changed})

    def _found(self, request: Request, asked: Asked) -> dict[str, Any]:
        with self._kind.lock:
            searched = self._searched(request)
            result = searched.result
            if "metric" not in request.query_params and asked.metric not in result.overlaps:
                asked = Asked(Metric.ABSOLUTE_ERROR, None)
            if asked.metric not in result.overlaps:
                known = ", ".join(metric.value for metric in result.overlaps)
                raise Refusal(400, f"metric: hotspots of this model are known by {known}")
            subject = searched.subject
            return {
                "data": nodes(searched, asked),
                "metric": asked.metric.value,
                "threshold": asked.threshold,
                "overall": result.overall[asked.metric],
                "rows": searched.whole,
                "searched": result.rows,
                "labelled": result.labelled,
                "judged": result.judged,
                "level": LEVEL,
                "note": result.notes.get(asked.metric),
                "window_start": instant(subject.start) or None,
                "window_end": instant(subject.end) or None,
                "batch_id": subject.name if subject.over == "batch" else None,
                "ref_set_id": subject.name if subject.over == "reference" else None,
            }

    def _searched(self, request: Request) -> Searched:
        asked = {
            n: request.query_params[n]
            for n in ("batch_id", "date", "ref_set_id")
            if n in request.query_params
        }
        if len(asked) > 1:
            raise Refusal(400, f"name one of batch_id, date and ref_set_id, not {' and '.join(asked)}")
        results = self._kind.results
        if results is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        newest = results.newest_first()
        match next(iter(asked.items()), None):
            case "batch_id", name:
                found = results.get(f"batch:{name}")
                missing = "this batch was not searched: is it closed, and labelled?"
            case "ref_set_id", name:
                found = results.reference()
                if found is not None and name not in (found.subject.name, found.subject.content):
                    found = None
                missing = "this reference was not searched"
            case "date", text:
                day = day_of(text)
                within = [
                    one for one in newest if one.subject.end is not None and one.subject.start is not None
                ]
                found = next((one for one in within if covers(one, day)), None)
                missing = "no window that was searched holds this date"
            case _:
                found = newest[0] if newest else None
                missing = "no window or batch was searched yet"
        if found is None:
            raise Refusal(404, f"{missing}; GET /enrichments/hotspots tells the state")
        return found

    def _shape(self, one: Insight) -> dict[str, Any]:
        shape = {name: getattr(one, name) for name in one.__struct_fields__ if name != "subject"}
        return shape | {"model_id": self._cell.identity.model_id}

    def _told(self, searched: Searched) -> None:
        if searched.subject.over != "reference" and self._insights is not None:
            settings = self._cell.settings.current.enrichments.hotspots
            telling = Telling(settings, self._cell.identity.model_id, self._now())
            self._insights.found(searched.subject.key, insights_of(searched, telling))

    def _report(self) -> HotspotReport | None:
        settings = self._cell.settings.current
        if self._kind.results is None or not settings.enrichments.hotspots.enabled:
            return None
        with self._kind.lock:
            newest = self._kind.results.newest_first()
            new = self._counts().get("New", 0)
            return report(newest[0] if newest else None, self._cell.identity, settings, new)

    def _counts(self) -> dict[str, int]:
        if self._insights is None:
            return {}
        return {state: len(self._insights.chosen(Selection(status=state))) for state in STATES}

    def _all(self) -> Insights:
        if self._insights is None:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._insights

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._cell.clock(), UTC)

    def _settle(self, store: Store) -> None:
        """What was acknowledged before is in the tables, or within the bounded time it is not asked for."""
        store.writer.flush(BARRIER_SECONDS)
