"""The room of predictions in a cell's process: taken from the sidecars, kept, shown.

`POST /internal/v1/predictions` is answered when the run's rows are durable as inferences and as predictions.
A run that is sent again is kept once. Must not run anything of the user's.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import check_open
from modelwarden_server.door.bodies import read_large_body
from modelwarden_server.door.durability import until_durable
from modelwarden_server.door.gate import Gate
from modelwarden_server.door.inferences import InferenceRoom
from modelwarden_server.innerwire import PREDICTIONS
from modelwarden_server.schema.digest import Words
from modelwarden_server.serving.kept import KeptPredictions, Selection, Upkeep
from modelwarden_server.serving.monitored import Monitored
from modelwarden_server.serving.predictions import Run, RunError, read_run, rows_of, shown
from modelwarden_server.store.delta import CommitError, NotDurableError
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_cell_key, check_model, json_answer

MOST_RUN_BYTES = 96 << 20
"""A body of the sidecar's at its limit, its data and its result."""
MOST_INSIDE = 16
RECENT_RUNS = 10_000
RECENT_SECONDS = 900.0
LONGEST_PAGE = 500
Given = TypeVar("Given")


class PredictionRoom:
    """See the module's text. `inferences` is attached before."""

    def __init__(self, cell: Cell, inferences: InferenceRoom) -> None:
        self._cell = cell
        self._monitored = Monitored(cell.identity, inferences, lambda: cell.settings.current)
        self._store: Store | None = None
        self._kept: KeptPredictions | None = None
        self._opening = asyncio.Lock()
        self._gate = Gate()
        self._recent: OrderedDict[str, asyncio.Future[dict[str, Any]] | None] = OrderedDict()
        self._counter = Counter(
            "modelwarden_predictions",
            "Predictions by what became of them: monitored, unmonitored, failed.",
            ["result"],
            registry=cell.metrics.registry,
        )
        for result in ("monitored", "unmonitored", "failed"):
            self._counter.labels(result)

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        model = "/api/v3/models/{id}/predictions"
        return [
            Route(PREDICTIONS, self.post, methods=["POST"]),
            Route(model, self.list_all, methods=["GET"]),
            Route(model + "/{prediction_id}", self.get, methods=["GET"]),
        ]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        self._store = store
        store.on_forget.append(self._forget)
        if store.folders.table("predictions").exists():
            self._kept = self._open()
            since = int((self._cell.clock() - RECENT_SECONDS) * 1e6)
            self._kept.flush()
            self._recent.update(dict.fromkeys(self._kept.runs_since(since)))
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""
        if self._kept is not None:
            self._kept.close()

    @property
    def kept(self) -> int:
        """How many predictions the table has."""
        return 0 if self._kept is None else self._kept.rows

    @property
    def busy(self) -> int:
        """Requests being worked on."""
        return self._gate.inside + self._gate.waiting

    async def post(self, request: Request) -> Response:
        """Take a run: 200 with how many of its predictions are monitored."""
        check_cell_key(request)
        check_open(self._cell, "predictions")
        async with self._gate.admit(MOST_RUN_BYTES // 4, MOST_INSIDE, MOST_RUN_BYTES):
            body = await read_large_body(request, MOST_RUN_BYTES)
            try:
                run = await asyncio.to_thread(read_run, body)
            except RunError as error:
                raise Refusal(400, str(error)) from None
            del body
            return json_answer(await self._once(run))

    async def list_all(self, request: Request) -> Response:
        """Predictions, the newest first, in pages."""
        check_model(request, self._cell.identity)
        query = request.query_params
        page = _whole(query.get("page", "1"), "page", 1, 1_000_000)
        size = _whole(query.get("page_size", "50"), "page_size", 1, LONGEST_PAGE)
        selection = Selection(
            query.get("run_id"),
            _flag(query.get("failed"), "failed"),
            _flag(query.get("monitored"), "monitored"),
        )
        rows, total = await asyncio.to_thread(self._page, selection, (page - 1) * size, size)
        pages = -(-total // size)
        return json_answer(
            {"data": rows, "page": page, "page_size": size, "total_pages": pages, "total_count": total}
        )

    async def get(self, request: Request) -> Response:
        """One prediction by its id."""
        check_model(request, self._cell.identity)
        wanted = request.path_params["prediction_id"]
        found = await asyncio.to_thread(self._find, wanted)
        if found is None:
            raise Refusal(404, "there is no prediction with this id")
        return json_answer(found)

    async def _once(self, run: Run) -> dict[str, Any]:
        """Keep the run if it is new; whoever sends it again is told what the first was told."""
        run_id = run.head.run_id
        while run_id in self._recent:
            before = self._recent[run_id]
            if before is None:
                return {"run_id": run_id, "repeated": True}
            try:
                return await asyncio.shield(before)
            except Refusal:
                continue  # the first was not kept: it has been taken out, and this one is tried
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._recent[run_id] = answer
        while len(self._recent) > RECENT_RUNS:
            self._recent.popitem(last=False)
        try:
            answer.set_result(await self._take(run))
        except BaseException as error:
            self._recent.pop(run_id, None)
            answer.set_exception(error if isinstance(error, Refusal) else Refusal(503, "it was not kept"))
            answer.exception()  # whoever waits hears of it; if nobody does, that is no fault
            raise
        return answer.result()

    async def _take(self, run: Run) -> dict[str, Any]:
        kept = await self._opened()
        if kept.full:
            raise Refusal(503, "too many predictions wait for their table: send it again", retry_after=5)
        fates = await self._monitored.take(run)
        arrival = self._cell.store.arrival()
        rows = await asyncio.to_thread(rows_of, run, fates, arrival)
        await until_durable([kept.append(rows, arrival)])
        monitored = sum(fate.monitored for fate in fates)
        self._counter.labels("monitored").inc(monitored)
        rest = "failed" if run.results is None else "unmonitored"
        self._counter.labels(rest).inc(len(fates) - monitored)
        reason = next((fate.reason for fate in fates if fate.reason is not None), None)
        return {"run_id": run.head.run_id, "monitored": monitored, "reason": reason}

    async def _opened(self) -> KeptPredictions:
        async with self._opening:
            if self._kept is None:
                _ = self._cell.store  # refuses while there is none
                self._kept = await asyncio.to_thread(self._open)
            return self._kept

    def _open(self) -> KeptPredictions:
        assert self._store is not None
        store, cell = self._store, self._cell
        upkeep = Upkeep(
            lambda: store.maintenance.rules(),
            cell.clock,
            lambda reason: cell.fail(reason, restart_helps=True),
            cell.pace.seconds,
        )
        return KeptPredictions.open(store.folders.root, upkeep)

    def _forget(self, keys: Words) -> None:
        if self._kept is not None:
            self._kept.forget(keys)

    def _page(self, selection: Selection, first: int, count: int) -> tuple[list[dict[str, Any]], int]:
        kept = self._kept
        if kept is None:
            return [], 0

        def read() -> tuple[list[dict[str, Any]], int]:
            kept.flush()
            rows: list[dict[str, Any]] = []
            passed = 0
            for batch in kept.newest_first(selection):
                begin = max(0, first - passed)
                passed += batch.num_rows
                rows += batch.slice(begin, count - len(rows)).to_pylist()
                if len(rows) == count:
                    break
            return [shown(row) for row in rows], kept.count(selection)

        return _reading(read)

    def _find(self, wanted: str) -> dict[str, Any] | None:
        kept = self._kept
        if kept is None:
            return None

        def read() -> dict[str, Any] | None:
            kept.flush()
            row = kept.find(wanted)
            return None if row is None else shown(row)

        return _reading(read)


def _reading(read: Callable[[], Given]) -> Given:
    """What is read; files that were replaced meanwhile are those of a newer version the second time."""
    for last in (False, True):
        try:
            return read()
        except FileNotFoundError:
            if last:
                break
        except (CommitError, NotDurableError, OSError) as error:
            raise Refusal(503, f"predictions cannot be read now: {error}", retry_after=5) from None
    raise Refusal(503, "predictions cannot be read now", retry_after=5)


def _whole(text: str, name: str, low: int, high: int) -> int:
    if not text.isdecimal() or not low <= int(text) <= high:
        raise Refusal(400, f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _flag(text: str | None, name: str) -> bool | None:
    if text is None:
        return None
    if text not in ("true", "false"):
        raise Refusal(400, f"{name} must be true or false")
    return text == "true"
