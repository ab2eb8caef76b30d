"""`POST /predict` and `POST /v1/{project}/{name}/predict`: data in, the flow's results out, monitored.

    parse ── model server ── store (durable, taken in) ── answer {result, run_id, run_time_ms, prediction_ids}

Nobody is told of a prediction that the store does not have. Must not read a data point or a result.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.server import ServePlan
from modelwarden_server.door.bodies import BODY_SECONDS, drain
from modelwarden_server.door.gate import Gate
from modelwarden_server.podwire import PREDICT
from modelwarden_server.predictwire import FRAME, FrameError, unframe
from modelwarden_server.refused import retry_after, sentence_of
from modelwarden_server.sidecar.pod import MODEL_SERVER, Pod
from modelwarden_server.sidecar.predict_form import Asked, RequestReader
from modelwarden_server.sidecar.predict_record import MOST_FAILURE, RunRecord, pieces, record
from modelwarden_server.sidecar.predict_webhook import Address, check_url, deliver, outside, resolved
from modelwarden_server.web import Refusal, check_cell_key, json_answer

log = logging.getLogger(__name__)
MOST_BODY: Final = 32 << 20
"""Files and data of one request. Inside, with the result and what is on its way, it comes to several times as
much, and the sidecar has a quarter of a gibibyte: such a large one is alone."""
MOST_ANSWER: Final = 33 << 20
MOST_INSIDE: Final = 16
SPARE_SECONDS: Final = 10.0
"""The model server has a limit of its own and says so itself."""


class FailedError(Exception):
    """The flow failed or took too long: recorded, then told. `status` 500 or 504."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


@dataclass(frozen=True)
class Predicted:
    """What the model server said. `result` is a JSON list of `count` results."""

    result: memoryview
    count: int
    seconds: float


@dataclass
class PredictRoom:
    """See the module's text. `allowed` says which addresses webhooks may be sent to."""

    pod: Pod
    webhooks: Callable[[], httpx.AsyncClient] = lambda: httpx.AsyncClient(trust_env=True)
    allowed: Callable[[Address], bool] = outside
    _gate: Gate = field(default_factory=Gate)
    _background: "set[asyncio.Task[None]]" = field(default_factory=set)

    @property
    def busy(self) -> int:
        """Requests inside and at the gate, those for webhooks included."""
        return self._gate.inside + self._gate.waiting + len(self._background)

    def routes(self) -> Sequence[BaseRoute]:
        """See the module's text."""
        return [
            Route("/predict", self.post, methods=["POST"]),
            Route("/v1/{project}/{name}/predict", self.post, methods=["POST"]),
        ]

    async def post(self, request: Request) -> Response:
        """Predict. 400 the data; 500 the flow failed; 503 not now; 504 it took too long."""
        self._check(request)
        async with AsyncExitStack() as inside:
            try:
                serve = self._serve()
                most = min(MOST_BODY, self.pod.settings.current.ingest.limits.max_body_bytes)
                size = _declared(request, most)
                await inside.enter_async_context(self._gate.admit(4 * size, MOST_INSIDE, 4 * MOST_BODY))
            except Refusal:
                # Who is answered while still sending may see a broken connection instead of the answer.
                await drain(request.stream(), MOST_BODY)
                raise
            asked = await _read_request(request, most)
            run_id = uuid.uuid4().hex
            if asked.webhook is None:
                return await self._answered(asked, serve, run_id)
            return await self._accepted(asked, serve, run_id, inside)

    async def _accepted(
        self, asked: Asked, serve: ServePlan, run_id: str, inside: AsyncExitStack
    ) -> Response:
        """Answer now; the result goes to the webhook when it is there."""
        if not serve.webhooks:
            raise Refusal(403, "this model sends to no webhook: spec.serving.allowWebhooks turns it on")
        assert asked.webhook is not None
        parts = check_url(asked.webhook)
        address = await resolved(parts, self.allowed)
        held = inside.pop_all()

        async def run() -> None:
            async with held:
                try:
                    answer = await self._answered(asked, serve, run_id)
                except Refusal as refusal:
                    answer = json_answer({"run_id": run_id, "message": refusal.sentence, "result": None})
                except Exception:
                    log.exception("a run for a webhook failed")
                    answer = json_answer(
                        {"run_id": run_id, "message": "a fault of the server", "result": None}
                    )
            async with self.webhooks() as client:
                await deliver(client, parts, address, _with_message(bytes(answer.body)))

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return json_answer({"run_id": run_id, "message": "the result will be sent to webhook_endpoint"})

    async def _answered(self, asked: Asked, serve: ServePlan, run_id: str) -> Response:
        """Predict, have it recorded, answer."""
        started, begun = datetime.now(UTC), time.perf_counter()
        counts = self.pod.counts
        try:
            found = await self._predicted(asked, serve)
        except FailedError as failed:
            ids = [uuid.uuid4().hex for _ in range(asked.points)]
            took = (time.perf_counter() - begun) * 1000
            counts.failed_predictions += len(ids)
            run = RunRecord(run_id, started, ids, took, failure=failed.why)
            told = {
                "error": failed.why,
                "run_id": run_id,
                "run_time_ms": round(took, 3),
                "prediction_ids": ids,
            }
            try:
                await record(self.pod, asked, run)
            except Refusal as refusal:
                log.warning("a failed prediction is not recorded: %s", refusal.sentence)
                told["prediction_ids"] = []
            return json_answer(told, failed.status)
        ids = [uuid.uuid4().hex for _ in range(found.count)]
        took = round(found.seconds * 1000, 3)
        await record(self.pod, asked, RunRecord(run_id, started, ids, took, found.result))
        counts.predicted += found.count
        rest = json.dumps(
            {"run_id": run_id, "run_time_ms": took, "prediction_ids": ids}, separators=(",", ":")
        )
        content = b"".join([b'{"result":', found.result, b",", rest[1:].encode()])
        return Response(content, media_type="application/json")

    async def _predicted(self, asked: Asked, serve: ServePlan) -> Predicted:
        """What the model server says. Raises FailedError, Refusal (400, 502, 503)."""
        header = {"files": [{"name": one.name, "contentType": one.content_type} for one in asked.files]}
        buffers: list[bytes | bytearray | memoryview] = [asked.data]
        buffers += [memoryview(one.content) for one in asked.files]
        try:
            async with self.pod.model_server.stream(
                "POST",
                PREDICT,
                content=pieces(header, buffers),
                headers={"Content-Type": FRAME},
                timeout=serve.seconds + SPARE_SECONDS,
            ) as answer:
                content = await _bounded(answer)
        except httpx.TimeoutException:
            raise FailedError(504, f"the flow took longer than {serve.seconds:g} s") from None
        except httpx.HTTPError as error:
            told = type(error).__name__
            raise Refusal(503, f"the model server does not answer ({told})", retry_after=2) from None
        if answer.status_code == 200:
            return _read(content)
        read = httpx.Response(answer.status_code, content=bytes(content))
        why = sentence_of(read, MODEL_SERVER, MOST_FAILURE)
        if answer.status_code in (500, 504):
            raise FailedError(answer.status_code, why)
        raise Refusal(answer.status_code, why, retry_after=retry_after(answer))

    def _check(self, request: Request) -> None:
        check_cell_key(request)
        asked = (request.path_params.get("project"), request.path_params.get("name"))
        known = (self.pod.identity.namespace, self.pod.identity.name)
        if asked not in ((None, None), known):
            raise Refusal(404, f"there is no such model here: this is /v1/{known[0]}/{known[1]}/predict")

    def _serve(self) -> ServePlan:
        """How predictions are made. Refuses while none can be."""
        pod = self.pod
        if pod.settings.current.archived:
            raise Refusal(409, "the model is archived (lifecycle: Archived): it predicts no more")
        if pod.plan is None or pod.plan.serve is None:
            if pod.settings.current.serving is None:
                raise Refusal(404, "this model is not served: declare spec.serving")
            raise Refusal(
                503, "nothing predicts here yet: the store has not said what is to run", retry_after=5
            )
        if not pod.ready("serve"):
            report = pod.report_of("serve")
            why = "the model server is starting"
            if report is not None:
                why = f"the flow is {report.state}" + (f": {report.message}" if report.message else "")
            elif pod.plan.waiting_for:
                why = f"it waits for {', '.join(pod.plan.waiting_for)}"
            raise Refusal(503, f"nothing can be predicted now: {why}", retry_after=5)
        return pod.plan.serve


def _declared(request: Request, most: int) -> int:
    """The body's size. Refuses (413) one that says that it is too large."""
    text = request.headers.get("content-length", "")
    size = int(text) if text.isdecimal() and len(text) < 19 else most
    if size > most:
        raise Refusal(413, f"the request is larger than {most} bytes: send several smaller")
    return size


async def _read_request(request: Request, most: int) -> Asked:
    """What is asked for, taken apart while it arrives. Refuses (400, 408, 413, 415)."""
    reader = RequestReader(request.headers.get("content-type", ""))
    came = 0
    stream = request.stream()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in stream:
                came += len(piece)
                if came > most:
                    raise Refusal(413, f"the request is larger than {most} bytes: send several smaller")
                reader.feed(piece)
    except TimeoutError:
        raise Refusal(408, "the request did not arrive in time: send it again") from None
    except ClientDisconnect:
        raise Refusal(400, "the request broke off: send it again") from None
    except Refusal:
        await drain(stream, MOST_BODY)
        raise
    else:
        return reader.finish()
    finally:
        reader.close()


async def _bounded(answer: httpx.Response) -> bytearray:
    content = bytearray()
    async for piece in answer.aiter_bytes():
        content += piece
        if len(content) > MOST_ANSWER:
            raise FailedError(500, f"the result is larger than {MOST_ANSWER} bytes")
    return content


def _read(content: bytearray) -> Predicted:
    try:
        header, (result,) = unframe(content)
        return Predicted(result, int(header["count"]), float(header["seconds"]))
    except (FrameError, ValueError, KeyError, TypeError):
        raise FailedError(500, "the model server's answer cannot be read") from None


def _with_message(content: bytes) -> bytes:
    """The answer as a webhook is told it: {run_id, run_time_ms, message, result, prediction_ids}."""
    found = json.loads(content)
    told = {"run_id": found["run_id"], "run_time_ms": found.get("run_time_ms")}
    told["message"] = found.get("error") or found.get("message") or "success"
    told["result"] = found.get("result")
    return json.dumps(told | {"prediction_ids": found.get("prediction_ids", [])}).encode()
