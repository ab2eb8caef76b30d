"""The pod's door for predictions: what it takes, what it answers, and that nothing is told before it is kept.

The model server and the store are scripted, to misbehave on command; the real ones are met in tests/faults.
"""

import asyncio
import gc
import ipaddress
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import census_like
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelwarden.resources.cell import ServingSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.server import CodeReport, ServePlan, ServerPlan
from modelwarden_server.auth import Authenticated
from modelwarden_server.innerwire import PREDICTIONS
from modelwarden_server.podwire import Running
from modelwarden_server.predictwire import FRAME, frame, unframe
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.sidecar import predict_record, predict_webhook
from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.sidecar.predict import PredictRoom
from modelwarden_server.sidecar.predict_form import Asked, RequestReader
from modelwarden_server.web import Refusal, on_refusal

KEY = "k" * 64
READY = CodeReport(role="serve", code_hash="c", state="Ready")
FAILED = READY.model_copy(update={"state": "Failed", "message": "no such module"})
WAITING = ServerPlan(plan_hash="p", serve=ServePlan(), waiting_for=("the files of spec.serving",))
FORM = "multipart/form-data; boundary=b"
PART = b"--b\r\nContent-Disposition: form-data; name=%s\r\n\r\n"


def doubled(header: dict[str, Any], buffers: list[Any]) -> Response:
    """A model: each number twice, and the size of each file."""
    result = [2 * one for one in json.loads(bytes(buffers[0]))]
    result += [f"{f['name']}:{len(b)}" for f, b in zip(header["files"], buffers[1:], strict=True)]
    content = b"".join(frame({"count": len(result), "seconds": 0.0125}, [json.dumps(result).encode()]))
    return Response(content, media_type=FRAME)


@dataclass
class Predicting:
    """A pod whose neighbours do what the test says."""

    model: Callable[[dict[str, Any], list[Any]], Response] = doubled
    store_answers: list[Response] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    store_calls: int = 0
    away: bool = False

    def __post_init__(self) -> None:
        serving = ServingSettings.model_validate({"flow": [{"modelType": "SKLEARN", "file": "m.pkl"}]})
        settings = census_like.settings().model_copy(update={"serving": serving})
        self.pod = Pod(
            name="pod-a",
            identity=census_like.identity(),
            settings=SettingsHolder(settings, KEY),
            store=_client(Starlette(routes=[Route(PREDICTIONS, self._keep, methods=["POST"])])),
            model_server=_client(Starlette(routes=[Route("/predict", self._predict, methods=["POST"])])),
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
            plan=ServerPlan(plan_hash="p", serve=ServePlan()),
            running=Running(boot="b", codes=(READY,)),
        )
        self.room = PredictRoom(self.pod)
        app = Starlette(routes=list(self.room.routes()), exception_handlers={Refusal: on_refusal})
        self.http = _client(Authenticated(app, lambda: KEY), {"Authorization": KEY})

    async def _predict(self, request: Request) -> Response:
        if self.away:
            raise httpx.ConnectError("nobody listens")
        return self.model(*unframe(await request.body()))

    async def _keep(self, request: Request) -> Response:
        self.store_calls += 1
        if self.store_answers:
            answer = self.store_answers.pop(0)
            if answer.status_code != 200:
                return answer
        header, buffers = unframe(await request.body())
        self.runs.append(header | {"buffers": [bytes(one) for one in buffers]})
        return JSONResponse({"run_id": header["run_id"], "monitored": 1})


def _client(app: Any, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://there", headers=headers or {})


async def test_data_points_come_back_as_results_with_an_id_each_once_the_store_has_them():
    pod = Predicting()
    for path in ("/predict", "/v1/team-a/census/predict"):
        answer = await pod.http.post(path, content=b"[1, 2]")
        assert answer.status_code == 200
        body = answer.json()
        assert set(body) == {"result", "run_id", "run_time_ms", "prediction_ids"}
        assert (body["result"], body["run_time_ms"]) == ([2, 4], 12.5)
        kept = pod.runs[-1]
        assert (kept["run_id"], kept["prediction_ids"]) == (body["run_id"], body["prediction_ids"])
        assert kept["buffers"] == [b"[1, 2]", b"[2, 4]"]
    assert pod.pod.counts.predicted == 4


async def test_a_form_brings_files_in_their_order_and_only_their_hashes_are_kept():
    pod = Predicting()
    files = [
        ("files", ("../a.png", b"xyz", "image/png")),
        ("files", ("b.png", b"\r\n--boundary", "image/png")),
    ]
    answer = await pod.http.post("/predict", data={"data": "[1]"}, files=files)
    assert answer.json()["result"] == [2, "a.png:3", "b.png:12"]
    kept = pod.runs[0]["files"]
    assert [(one["name"], one["bytes"]) for one in kept] == [("a.png", 3), ("b.png", 12)]
    assert len(kept[0]["sha256"]) == 64


@pytest.mark.parametrize(
    ("content", "kind", "status", "words"),
    [
        (b"", "application/json", 400, "JSON list"),
        (b"{}", "application/json", 400, "data"),
        (b'{"data": 3}', "application/json", 400, "JSON list"),
        (b"[]", "application/json", 400, "no data point"),
        (b"[1", "application/json", 400, "JSON list"),
        (b"[1]", "application/x-parquet", 415, "not taken"),
        (b"[1]", "multipart/form-data", 400, "boundary"),
        (PART % b"x" + b"1\r\n--b--", FORM, 400, "part 'x'"),
        (PART % b"data" + b"[1]", FORM, 400, "middle"),
        (b"nothing of a form", FORM, 400, "form"),
        (b"[" + b"1," * (17 << 20) + b"1]", "application/json", 413, "larger"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
async def test_what_cannot_be_read_is_refused_before_the_model_is_asked(content, kind, status, words):
    pod = Predicting(model=lambda *_: pytest.fail("the model was asked"))
    answer = await pod.http.post("/predict", content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert pod.runs == []
    assert pod.room.busy == 0


def test_files_of_a_form_are_let_go_at_once_not_when_cycles_are_collected():
    gc.disable()
    try:
        reader = RequestReader(FORM)
        reader.feed(PART % b"data" + b"[1]\r\n" + PART % b"files; filename=a" + b"x" * 1000 + b"\r\n--b--")
        asked = reader.finish()
        reader.close()
        assert len(asked.files[0].content) == 1000
        form = weakref.ref(reader._form)
        del reader
        assert form() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("status", [500, 504])
async def test_a_flow_that_fails_is_recorded_as_such_and_told(status):
    pod = Predicting(model=lambda *_: JSONResponse({"error": "ValueError: no"}, status))
    answer = await pod.http.post("/predict", json=[1, 2, 3])
    assert answer.status_code == status
    body = answer.json()
    assert body["error"] == "ValueError: no"
    (kept,) = pod.runs
    assert (kept["failure"], kept["prediction_ids"]) == ("ValueError: no", body["prediction_ids"])
    assert len(kept["prediction_ids"]) == 3
    assert len(kept["buffers"]) == 1
    assert pod.pod.counts.failed_predictions == 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (JSONResponse({"error": "the data must be"}, 400), 400),
        (JSONResponse({"error": "loading"}, 503, {"Retry-After": "7"}), 503),
    ],
)
async def test_what_never_ran_is_told_and_not_recorded(answer, status):
    pod = Predicting(model=lambda *_: answer)
    told = await pod.http.post("/predict", json=[1])
    assert told.status_code == status
    assert told.headers.get("Retry-After") == answer.headers.get("Retry-After")
    assert pod.runs == []


async def test_a_model_server_that_is_gone_or_talks_nonsense_is_told():
    pod = Predicting(model=lambda *_: Response(b"nonsense"))
    assert (await pod.http.post("/predict", json=[1])).status_code == 500
    pod.away = True
    answer = await pod.http.post("/predict", json=[1])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


async def test_a_store_that_is_busy_is_asked_again_with_the_same_run():
    busy = JSONResponse({"error": "busy"}, 503)
    pod = Predicting(store_answers=[busy, busy])
    answer = await pod.http.post("/predict", json=[1])
    assert answer.status_code == 200
    assert pod.store_calls == 3
    assert [run["run_id"] for run in pod.runs] == [answer.json()["run_id"]]


async def test_nobody_is_told_of_a_prediction_that_the_store_did_not_keep():
    refused = JSONResponse({"error": "no"}, 400)
    pod = Predicting(store_answers=[refused])
    answer = await pod.http.post("/predict", json=[1])
    assert answer.status_code == 502
    assert "result" not in answer.json()
    asked = predict_record.RunRecord("r", datetime.now(UTC), ["p"], 1.0, b"[1]")
    pod.store_answers = [JSONResponse({"error": "away"}, 503)] * 50
    with pytest.raises(Refusal) as refusal:
        await predict_record.record(pod.pod, Asked(b"[1]", 1), asked, patience=0.3)
    assert (refusal.value.status, refusal.value.retry_after) == (503, 5)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"plan": None}, 503, "not said what is to run"),
        ({"running": None}, 503, "starting"),
        ({"running": Running(boot="b", codes=(FAILED,))}, 503, "no such module"),
        ({"plan": WAITING, "running": Running(boot="b")}, 503, "the files of spec.serving"),
    ],
)  # fmt: skip
async def test_while_nothing_can_predict_it_is_said_why(change, status, words):
    pod = Predicting()
    for name, value in change.items():
        setattr(pod.pod, name, value)
    answer = await pod.http.post("/predict", json=[1])
    assert answer.status_code == status
    assert words in answer.json()["error"]


async def test_other_models_keys_and_paths_get_nothing():
    pod = Predicting()
    assert (await pod.http.post("/v1/team-b/census/predict", json=[1])).status_code == 404
    for key, status in (("x" * 64, 401), (job_key(KEY, "profile", "abc"), 403)):
        answer = await pod.http.post("/predict", json=[1], headers={"Authorization": key})
        assert answer.status_code == status
    assert pod.runs == []


async def webhooks(answers: list[int]) -> tuple[Predicting, list[tuple[str, dict[str, Any]]]]:
    """A pod that may send to webhooks, and what these got."""
    pod, got = Predicting(), []

    async def take(request: Request) -> Response:
        got.append((request.headers["host"], await request.json()))
        return Response(status_code=answers.pop(0) if answers else 200)

    pod.room.webhooks = lambda: _client(Starlette(routes=[Route("/done", take, methods=["POST"])]))
    pod.room.allowed = lambda _: True
    pod.pod.plan = ServerPlan(plan_hash="p", serve=ServePlan(webhooks=True))
    return pod, got


async def until_idle(pod: Predicting) -> None:
    async with asyncio.timeout(60):
        while pod.room.busy:
            await asyncio.sleep(0.005)


async def test_a_webhook_gets_the_result_of_a_run_that_was_acknowledged_at_once(monkeypatch):
    monkeypatch.setattr(predict_webhook, "FIRST_PAUSE", 0.01)
    pod, got = await webhooks([200])
    body = {"data": [1, 2], "webhook_endpoint": "http://localhost:8/done"}
    answer = await pod.http.post("/predict", json=body)
    assert set(answer.json()) == {"run_id", "message"}
    await until_idle(pod)
    ((host, told),) = got
    assert host == "localhost:8"
    assert (told["run_id"], told["result"], told["message"]) == (answer.json()["run_id"], [2, 4], "success")
    assert told["prediction_ids"] == pod.runs[0]["prediction_ids"]


async def test_a_webhook_hears_of_a_failure_too():
    pod, got = await webhooks([])
    pod.model = lambda *_: JSONResponse({"error": "it broke"}, 500)
    await pod.http.post("/predict", json={"data": [1], "webhook_endpoint": "http://localhost/done"})
    await until_idle(pod)
    assert (got[0][1]["result"], got[0][1]["message"]) == (None, "it broke")


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("ftp://localhost/x", 400, "http or https"),
        ("http://user:word@localhost/x", 400, "without credentials"),
        ("http:///x", 400, "http or https"),
        ("http://127.0.0.1:9/x", 400, "inside"),
        ("http://169.254.169.254/latest/meta-data", 400, "inside"),
        ("http://[::1]/x", 400, "inside"),
        ("http://[::ffff:127.0.0.1]/x", 400, "inside"),
        ("http://0.0.0.0/x", 400, "inside"),
    ],
)
async def test_a_webhook_that_is_no_address_outside_is_refused(url, status, words):
    pod, got = await webhooks([])
    pod.room.allowed = predict_webhook.outside
    answer = await pod.http.post("/predict", json={"data": [1], "webhook_endpoint": url})
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert (got, pod.runs) == ([], [])


async def test_webhooks_are_off_unless_the_model_allows_them():
    pod = Predicting()
    body = {"data": [1], "webhook_endpoint": "http://example.org/x"}
    answer = await pod.http.post("/predict", json=body)
    assert answer.status_code == 403
    assert "allowWebhooks" in answer.json()["error"]


def test_only_addresses_that_are_not_the_pods_own_are_outside():
    assert predict_webhook.outside(ipaddress.ip_address("203.0.113.7"))
    assert predict_webhook.outside(ipaddress.ip_address("10.1.2.3"))
    assert not predict_webhook.outside(ipaddress.ip_address("fe80::1"))
