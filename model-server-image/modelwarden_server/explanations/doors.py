"""What people ask of explanations: of one inference, of an imagined one, of a window. `/api/v3/models/{id}`:

    GET  …/inferences/{pid}/explanation?algorithm&n_samples&page&page_size&sort&async
    POST …/what_if?algorithm&n_samples&async
    GET  …/explanations/jobs/{job}
    GET  …/explanations/importance?start&end|batch_id

A stored explanation is told as it is; any other is asked of the model's server, within a budget of time. Must
not explain.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.attributes import InputType, OutputType, Stage
from modelwarden.resources.cell import CellIdentity, CellSettings
from modelwarden_server.door.bodies import read_body
from modelwarden_server.explanations.ask import Asker, Wish
from modelwarden_server.explanations.jobs import Jobs
from modelwarden_server.explanations.lookup import Lookup
from modelwarden_server.explanations.shapes import MOST_PAGE, SORTS, Sheet, explained, record_of
from modelwarden_server.explanations.what_if import predicted, row_of
from modelwarden_server.explanations.windows import ImportanceWindows, OddSpanError, Span
from modelwarden_server.query.parameters import span_of
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import QueryTooLargeError
from modelwarden_server.web import Refusal, check_model, json_answer

SECONDS: Final = 30.0
ASYNC_SECONDS: Final = 180.0
_PATIENCE: Final = 2.0
_MOST_BODY: Final = 1 << 20
_MOST_SAMPLES: Final = 100_000
_FEWEST_SAMPLES: Final = 10
_WAITING: Final = 32
_EXPLANATION: Final = frozenset({"id_type", "algorithm", "n_samples", "page", "page_size", "sort", "async"})
_WHAT_IF: Final = frozenset({"id_type", "algorithm", "n_samples", "async"})
_IMPORTANCE: Final = frozenset({"id_type", "start", "end", "batch_id"})
Work = Callable[[Wish], dict[str, Any]]


@dataclass
class ExplanationDoors:
    """`lookup` refuses (503) as long as the cell is recovering."""

    identity: CellIdentity
    settings: Callable[[], CellSettings]
    asker: Asker
    lookup: Callable[[], Lookup]
    windows: ImportanceWindows
    jobs: Jobs = field(default_factory=Jobs)
    inside: int = 0

    def routes(self) -> list[Route]:
        """The routes of these doors."""
        path = "/api/v3/models/{id}"
        return [
            Route(f"{path}/inferences/{{inference:path}}/explanation", self.explanation, methods=["GET"]),
            Route(f"{path}/what_if", self.what_if, methods=["POST"]),
            Route(f"{path}/explanations/jobs/{{job}}", self.job, methods=["GET"]),
            Route(f"{path}/explanations/importance", self.importance, methods=["GET"]),
        ]

    async def explanation(self, request: Request) -> Response:
        """Why the model said that of a stored inference."""
        check_model(request, self.identity)
        _check_known(request, _EXPLANATION)
        wish, sheet = _wish(request), _sheet(request)
        identifier = request.path_params["inference"]
        return await self._answered(request, wish, lambda asked: self._explained(identifier, asked, sheet))

    async def what_if(self, request: Request) -> Response:
        """What the model would say, and why, of a row that never was."""
        check_model(request, self.identity)
        _check_known(request, _WHAT_IF)
        if self.identity.input_type not in (None, InputType.TABULAR):
            raise Refusal(400, "what if is asked of models with input_type TABULAR")
        inputs = sorted(
            (a for a in self.identity.attributes if a.stage is Stage.PIPELINE_INPUT and not a.implicit),
            key=lambda a: a.position,
        )
        row = row_of(await read_body(request, _MOST_BODY), inputs)
        return await self._answered(request, _wish(request), lambda asked: self._imagined(row, asked))

    async def job(self, request: Request) -> Response:
        """How far an explanation is that was asked for with async=true: 200, or 404."""
        check_model(request, self.identity)
        return json_answer(self.jobs.get(request.path_params["job"]).told())

    async def importance(self, request: Request) -> Response:
        """What matters to the model in a window, globally: mean absolute values."""
        check_model(request, self.identity)
        _check_known(request, _IMPORTANCE)
        self.lookup()
        try:
            start, end = span_of(request.query_params)
        except QueryError as error:
            raise Refusal(400, str(error)) from None
        batch = request.query_params.get("batch_id") or None
        if batch is not None and not self.identity.is_batch:
            raise Refusal(400, "batch_id: the model has no batches: give start and end")
        return json_answer(await asyncio.to_thread(self._importance, Span(start, end, batch)))

    async def _answered(self, request: Request, wish: Wish, work: Work) -> Response:
        if request.query_params.get("async", "false") not in ("true", "false"):
            raise Refusal(400, "async: must be true or false")
        if request.query_params.get("async") == "true":
            later = Wish(wish.algorithm, wish.samples, ASYNC_SECONDS)
            job = self.jobs.begin(lambda: asyncio.to_thread(work, later))
            path = f"/api/v3/models/{self.identity.model_id}/explanations/jobs/{job.id}"
            return json_answer(job.told(), 202, {"Location": path})
        if self.inside >= _WAITING:
            raise Refusal(503, "too many explanations are asked for at once: ask again", retry_after=5)
        self.inside += 1
        try:
            return json_answer(await asyncio.to_thread(work, wish))
        finally:
            self.inside -= 1

    def _explained(self, identifier: str, wish: Wish, sheet: Sheet) -> dict[str, Any]:
        for last in (False, True):
            try:
                return self._of_stored(identifier, wish, sheet)
            except FileNotFoundError:
                if last:
                    raise Refusal(503, "the tables are being rewritten: ask again", retry_after=2) from None
            except QueryTooLargeError:
                raise Refusal(503, "the inference was not found in time: ask again", retry_after=10) from None
        raise AssertionError

    def _of_stored(self, identifier: str, wish: Wish, sheet: Sheet) -> dict[str, Any]:
        lookup = self.lookup()
        wanted = wish.algorithm or self.settings().enrichments.explainability.algorithm
        if wish.samples is None:
            stored = lookup.stored(identifier)
            if stored is not None and stored["failure"] is None and stored["algorithm"] == wanted:
                return explained(stored, lookup.inputs, sheet, "stored")
        row = lookup.row(identifier)
        if row is None:
            raise Refusal(404, "there is no inference with this partner_inference_id")
        record, source = self._asked(row, wish)
        return explained(record, lookup.inputs, sheet, source)

    def _imagined(self, row: pa.RecordBatch, wish: Wish) -> dict[str, Any]:
        record, source = self._asked(row, wish)
        told = explained(record, self.lookup().inputs, Sheet(size=max(1, row.num_columns)), source)
        classes = self.identity.output_type is not OutputType.REGRESSION
        return {"predicted_values": predicted(record, classes)} | told

    def _asked(self, row: pa.RecordBatch, wish: Wish) -> tuple[dict[str, Any], str]:
        settings = self.settings()
        if not settings.enrichments.explainability.enabled:
            raise Refusal(
                409,
                "explanations are turned off: apply an Enrichment with spec.type: Explainability and"
                f" spec.modelRef.name: {self.identity.name}",
            )
        patience = wish.seconds if wish.seconds > SECONDS else _PATIENCE
        answer, kept = self.asker.ask(row, wish, patience)
        return dict(record_of(answer)), "cache" if kept else "model_server"

    def _importance(self, span: Span) -> dict[str, Any]:
        if span == Span():
            found = self.windows.newest(self.settings().monitoring.window_seconds)
            if found is None:
                raise Refusal(404, "no inference of this model has been explained yet")
            return self.windows.told(found)
        try:
            return self.windows.told(self.windows.of(span))
        except OddSpanError as error:
            raise Refusal(400, str(error)) from None


def _check_known(request: Request, known: frozenset[str]) -> None:
    if unknown := sorted(set(request.query_params) - known):
        raise Refusal(400, f"{unknown[0][:100]}: there is no such parameter")


def _wish(request: Request) -> Wish:
    algorithm = request.query_params.get("algorithm") or None
    if algorithm not in (None, "lime", "shap"):
        raise Refusal(400, "algorithm: must be lime or shap")
    samples = _whole(request, "n_samples", _FEWEST_SAMPLES, _MOST_SAMPLES)
    return Wish(algorithm, samples, SECONDS)


def _sheet(request: Request) -> Sheet:
    text = request.query_params.get("sort") or None
    sort, descending = None, False
    if text is not None:
        # A plus that stands in a URL as it is arrives as a blank.
        descending = text.startswith("-")
        sort = text[1:] if text[0] in "+- " else text
        if sort not in SORTS:
            raise Refusal(400, f"sort: must be one of {', '.join(SORTS)}, with + or - before it")
    page = _whole(request, "page", 1, 1_000_000) or 1
    return Sheet(page, _whole(request, "page_size", 1, MOST_PAGE) or MOST_PAGE, sort, descending)


def _whole(request: Request, name: str, least: int, most: int) -> int | None:
    text = request.query_params.get(name)
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or not least <= int(text[:12]) <= most:
        raise Refusal(400, f"{name}: must be a whole number from {least} to {most}")
    return int(text)
