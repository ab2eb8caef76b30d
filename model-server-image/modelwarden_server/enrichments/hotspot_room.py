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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec
from prometheus_client import Metric as Series
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.report import HotspotReport
from modelwarden_server.analysis.hotspots.choose import LEVEL
from modelwarden_server.analysis.hotspots.outcomes import Metric
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import read_json
from modelwarden_server.enrichments.hotspot_answers import Asked, Telling, insights_of, nodes, report
from modelwarden_server.enrichments.hotspot_results import Searched
from modelwarden_server.enrichments.hotspot_subjects import instant
from modelwarden_server.enrichments.hotspots import Hotspots, HotspotSources
from modelwarden_server.enrichments.insights import STATES, Insight, Insights, Selection, State
from modelwarden_server.enrichments.windows import LabelledRows
from modelwarden_server.query.questions import BARRIER_SECONDS
from modelwarden_server.schema.instants import instant as parsed_instant
from modelwarden_server.store.batches import Batch
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_model, json_answer

_MODEL: Final = "/api/v3/models/{id}"
_MOST_PAGE: Final = 1000
_REST: Final = "rest"
"""As a threshold: what is worse than all other rows by the least difference."""


class _Mark(msgspec.Struct):
    status: str


@dataclass(frozen=True, slots=True)
class _Page:
    number: int
    size: int

    def of(self, found: Sequence[Any]) -> dict[str, Any]:
        """One page in the documented shape."""
        first = (self.number - 1) * self.size
        return {
            "data": list(found[first : first + self.size]),
            "page": self.number,
            "page_size": self.size,
            "total_pages": -(-len(found) // self.size),
            "total_count": len(found),
        }


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
        asked = _asked(request)
        return json_answer(await asyncio.to_thread(self._found, request, asked))

    async def list(self, request: Request) -> Response:
        """A page of insights, newest first."""
        check_model(request, self._cell.identity)
        found = self._all().chosen(_selection(request))
        return json_answer(_page(request).of([self._shape(one) for one in found]))

    async def groups(self, request: Request) -> Response:
        """A page of windows or batches and how many insights each has."""
        check_model(request, self._cell.identity)
        return json_answer(_page(request).of(self._all().groups(_selection(request))))

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
        status, insights = _state(wanted.status), self._all()
        selection = _selection(request)
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
                day = _day(text)
                within = [
                    one for one in newest if one.subject.end is not None and one.subject.start is not None
                ]
                found = next((one for one in within if _covers(one, day)), None)
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


class HotspotCollector(Collector):
    """The newest search as series. Rules are no labels: there is no bound to them."""

    def __init__(
        self, report_of: Callable[[], HotspotReport | None], insights: Callable[[], dict[str, int]]
    ) -> None:
        self._report, self._insights = report_of, insights

    def describe(self) -> Iterator[Series]:
        """Nothing is computed to register."""
        return iter(())

    def collect(self) -> Iterator[Series]:
        """The series of now."""
        told = self._report()
        if told is not None:
            texts = {
                "modelwarden_hotspots": ("Regions where the metric is worse than elsewhere.", told.count),
                "modelwarden_hotspot_worst": ("The metric in the worst of them.", told.worst_value),
                "modelwarden_hotspot_rest": ("The metric of all rows outside of it.", told.worst_rest),
                "modelwarden_hotspots_labelled_rows": ("Labelled rows that were searched.", told.labelled),
            }
            for name, (text, value) in texts.items():
                if value is not None:
                    family = GaugeMetricFamily(name, f"{text} Newest window or batch.", labels=["metric"])
                    family.add_metric([told.metric], value)
                    yield family
            if told.window_end is not None:
                yield GaugeMetricFamily(
                    "modelwarden_hotspots_window_end_timestamp_seconds",
                    "End of the newest window that was searched for hotspots, event time.",
                    value=told.window_end.timestamp(),
                )
        counts = self._insights()
        if counts:
            family = GaugeMetricFamily(
                "modelwarden_insights", "Insights that are kept, by state.", labels=["status"]
            )
            for state, count in counts.items():
                family.add_metric([state], count)
            yield family


def _asked(request: Request) -> Asked:
    name = request.query_params.get("metric", Metric.ACCURACY.value)
    if name not in {metric.value for metric in Metric}:
        raise Refusal(400, f"metric: must be one of {', '.join(metric.value for metric in Metric)}")
    metric, text = Metric(name), request.query_params.get("threshold")
    if text is None and metric is Metric.ACCURACY:
        return Asked(metric, 0.5)
    if text is None or text == _REST:
        return Asked(metric, None)
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if not 0 <= threshold < float("inf"):
        raise Refusal(400, f"threshold: must be a number, 0 or more, or {_REST}")
    return Asked(metric, threshold)


def _day(text: str) -> date:
    try:
        return (
            datetime.fromisoformat(text).astimezone(UTC).date() if "T" in text else date.fromisoformat(text)
        )
    except ValueError:
        raise Refusal(400, "date: must be a day like 2026-01-31") from None


def _covers(searched: Searched, day: date) -> bool:
    """Whether the day lies in the window, by its last instant."""
    start, end = searched.subject.start, searched.subject.end
    assert start is not None
    assert end is not None
    return start.date() <= day and datetime.combine(day, datetime.min.time(), UTC) < end


def _selection(request: Request) -> Selection:
    status = request.query_params.get("status")
    return Selection(
        start_time=_time(request, "start_time"),
        end_time=_time(request, "end_time"),
        status=None if status is None else _state(status),
        batch_id=request.query_params.get("batch_id"),
    )


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    micros = parsed_instant(text)
    if micros is None:
        raise Refusal(400, f"{name}: must be an ISO 8601 time with a zone, like 2026-01-31T12:00:00Z")
    return datetime.fromtimestamp(micros / 1e6, UTC)


def _state(text: str) -> State:
    found = next((state for state in STATES if state.lower() == text.lower()), None)
    if found is None:
        raise Refusal(400, f"status: must be {' or '.join(STATES)}")
    return found


def _page(request: Request) -> _Page:
    numbers = []
    for name, usual, most in (("page", 1, 1_000_000), ("page_size", 100, _MOST_PAGE)):
        text = request.query_params.get(name, str(usual))
        if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:12]) <= most:
            raise Refusal(400, f"{name}: must be a whole number from 1 to {most}")
        numbers.append(int(text))
    return _Page(*numbers)
