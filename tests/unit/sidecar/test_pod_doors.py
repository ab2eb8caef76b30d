"""What is sent to a pod: rows go on to the store as they are, questions to the model server."""

from pathlib import Path

import httpx
import pytest
from scripted_pod import KEY, ScriptedPod, zipped
from starlette.responses import JSONResponse

from modelwarden.resources.keys import job_key
from modelwarden.resources.server import ServerPlan
from modelwarden_server.innerwire import ARROW_STREAM

ROWS = "/api/v3/models/some-id/inferences"


@pytest.fixture
def pod(tmp_path: Path) -> ScriptedPod:
    return ScriptedPod(tmp_path)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("path", [ROWS, f"{ROWS}/file", f"{ROWS}/query?page=2"])
async def test_rows_go_on_to_the_store_as_they_are(pod: ScriptedPod, method: str, path: str) -> None:
    body = b'[{"partner_inference_id": "\xc3\xa4"}]' * 1000
    answer = await pod.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (207, {"counts": {"success": 1}})
    ((asked, headers, came),) = pod.store.rows
    assert asked == f"{method} {path}"
    assert came == body
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert "x-inner" not in answer.headers
    assert pod.sidecar.busy == 0


async def test_rows_that_come_in_pieces_go_on_in_pieces(pod: ScriptedPod) -> None:
    async def pieces():
        for _ in range(50):
            yield b"x" * 1000

    answer = await pod.http.post(ROWS, content=pieces())
    assert answer.status_code == 207
    assert pod.store.rows[0][2] == b"x" * 50_000


async def test_a_store_that_is_away_is_said_with_a_time_to_come_again(pod: ScriptedPod) -> None:
    pod.store.away = True
    answer = await pod.http.post(ROWS, content=b"[]")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "store" in answer.json()["error"]
    assert pod.sidecar.busy == 0


@pytest.mark.parametrize(
    ("key", "path", "status"),
    [
        ("", ROWS, 401),
        ("x" * 64, ROWS, 401),
        (job_key(KEY, "train", "abc"), ROWS, 403),
        (job_key(KEY, "train", "abc"), "/internal/v1/explain", 403),
        (KEY, "/internal/v1/server", 404),
        (KEY, "/api/v3/models/some-id/reference_data", 404),
    ],
)
async def test_a_pod_opens_with_the_cells_key_and_only_what_is_its_own(
    pod: ScriptedPod, key: str, path: str, status: int
) -> None:
    answer = await pod.http.post(path, content=b"", headers={"Authorization": key})
    assert answer.status_code == status
    assert not pod.store.rows


async def test_what_is_asked_for_says_that_somebody_waits(pod: ScriptedPod) -> None:
    await explained(pod)
    answer = await pod.http.post("/internal/v1/explain", content=b"rows")
    assert (answer.status_code, answer.content) == (200, b"explained rows")
    assert answer.headers["content-type"] == ARROW_STREAM
    (headers,) = pod.model_server.headers
    assert headers["x-modelwarden-asked"] == "1"
    assert "authorization" not in headers


@pytest.mark.parametrize(("status", "headers"), [(503, {"Retry-After": "2"}), (400, {}), (504, {})], ids=str)
async def test_what_the_model_server_cannot_do_is_answered_so(
    pod: ScriptedPod, status: int, headers: dict[str, str]
) -> None:
    await explained(pod)
    pod.model_server.explain = lambda _: JSONResponse({"error": "why"}, status, headers)
    answer = await pod.http.post("/internal/v1/explain", content=b"rows")
    assert (answer.status_code, answer.json()) == (status, {"error": "why"})
    assert answer.headers.get("Retry-After") == headers.get("Retry-After")


@pytest.mark.parametrize("why", ["no plan", "not loaded", "gone"])
async def test_nothing_that_could_explain_is_503_with_a_time_to_come_again(
    pod: ScriptedPod, why: str
) -> None:
    if why != "no plan":
        await explained(pod)
    pod.model_server.state = "Failed" if why == "not loaded" else "Ready"
    if why != "gone":
        await pod.sidecar.plan.round()
    pod.model_server.away = why == "gone"
    answer = await pod.http.post("/internal/v1/explain", content=b"rows")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


async def test_the_series_of_a_pod_are_few_and_without_names(pod: ScriptedPod) -> None:
    await explained(pod)
    text = (await pod.http.get("/metrics", headers={"Authorization": ""})).text
    series = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert 'modelwarden_server_code_ready{role="explain"} 1.0' in series
    assert len(series) < 30
    assert all(line.startswith("modelwarden_") for line in series)


async def explained(pod: ScriptedPod) -> None:
    code = pod.store.code("explain", zipped(entrypoint_py="x = 1"))
    pod.store.plan = ServerPlan(plan_hash="p1", codes=(code,), explain=pod.store.explain())
    await pod.rounds_until(pod.pod.explains)


async def test_a_client_of_the_pod_never_sees_the_stores_key(pod: ScriptedPod) -> None:
    answer: httpx.Response = await pod.http.get(ROWS)
    assert KEY not in str(answer.headers)
