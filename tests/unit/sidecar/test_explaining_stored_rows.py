"""Pieces of work go from the store to the model server and back, never more than the plan says, each once."""

import asyncio
from pathlib import Path

import pytest
from scripted_pod import ScriptedPod, zipped
from starlette.responses import JSONResponse, Response

from modelwarden.resources.server import ServerPlan


async def explaining(folder: Path, **plan: object) -> ScriptedPod:
    pod = ScriptedPod(folder)
    code = pod.store.code("explain", zipped(entrypoint_py="x = 1"))
    pod.store.plan = ServerPlan(plan_hash="p1", codes=(code,), explain=pod.store.explain(**plan))
    await pod.rounds_until(pod.pod.explains)
    return pod


async def test_every_piece_is_brought_back_as_the_model_server_answered(tmp_path: Path) -> None:
    pod = await explaining(tmp_path)
    pod.store.work.extend((str(n), b"rows %d" % n) for n in range(20))
    await pod.consume_until(lambda: len(pod.store.results) == 20)
    assert pod.store.results == {str(n): b"explained rows %d" % n for n in range(20)}
    assert pod.pod.counts.tasks == 20
    assert not pod.store.given_back


async def test_no_more_pieces_are_taken_than_the_plan_says(tmp_path: Path) -> None:
    pod = await explaining(tmp_path, threads=3)
    pod.model_server.hold = asyncio.Event()
    pod.store.work.extend((str(n), b"") for n in range(10))
    consuming = asyncio.create_task(pod.sidecar.consumer.run())
    async with asyncio.timeout(60):
        while pod.model_server.inside < 3:
            await asyncio.sleep(0.005)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(pod.store.work) == 7
    pod.model_server.hold.set()
    async with asyncio.timeout(60):
        while len(pod.store.results) < 10:
            await asyncio.sleep(0.005)
    pod.pod.ending = True
    await consuming
    assert pod.model_server.most_inside == 3


@pytest.mark.parametrize(
    ("answer", "again", "said"),
    [
        (JSONResponse({"error": "not loaded"}, 503), True, "not loaded"),
        (JSONResponse({"error": "too slow"}, 504), False, "too slow"),
        (JSONResponse({"error": "no column age"}, 400), False, "no column age"),
        (Response(b"?", 500), False, "the model server answers 500"),
    ],
)
async def test_a_piece_that_cannot_be_done_is_given_back_with_the_reason(
    tmp_path: Path, answer: Response, again: bool, said: str
) -> None:
    pod = await explaining(tmp_path)
    pod.model_server.explain = lambda _: answer
    pod.store.work.append(("7", b"rows"))
    await pod.consume_until(lambda: pod.store.given_back)
    assert pod.store.given_back == [("7", {"message": said, "again": again})]
    assert not pod.store.results


async def test_a_model_server_that_went_away_gives_the_piece_to_someone_else(tmp_path: Path) -> None:
    pod = await explaining(tmp_path)
    pod.model_server.away = True
    pod.store.work.append(("7", b"rows"))
    await pod.consume_until(lambda: pod.store.given_back)
    assert pod.store.given_back[0][1]["again"] is True


async def test_a_result_waits_for_a_store_that_is_away(tmp_path: Path) -> None:
    pod = await explaining(tmp_path)

    def come_back() -> None:
        pod.store.away = False

    def explain(content: bytes) -> Response:
        pod.store.away = True
        asyncio.get_running_loop().call_later(0.03, come_back)
        return Response(content)

    pod.model_server.explain = explain
    pod.store.work.append(("7", b"rows"))
    await pod.consume_until(lambda: pod.store.results)
    assert pod.store.results == {"7": b"rows"}


@pytest.mark.parametrize("why", ["not loaded", "not streaming", "no model server"])
async def test_no_work_is_taken_that_could_not_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    pod = await explaining(tmp_path, streaming=why != "not streaming")
    pod.model_server.state = "Loading" if why == "not loaded" else "Ready"
    pod.model_server.away = why == "no model server"
    await pod.sidecar.plan.round()
    pod.store.work.append(("7", b"rows"))
    asked = len(pod.store.asked_for)
    turns, turn = 0, pod.sidecar.consumer._once

    async def counted() -> float:
        nonlocal turns
        turns += 1
        pod.pod.ending = turns == 5
        return await turn()

    monkeypatch.setattr(pod.sidecar.consumer, "_once", counted)
    await pod.sidecar.consumer.run()
    assert turns == 5
    assert len(pod.store.work) == 1
    assert pod.store.asked_for[asked:] == []


async def test_what_is_in_hand_is_finished_at_the_end(tmp_path: Path) -> None:
    pod = await explaining(tmp_path)
    pod.model_server.hold = asyncio.Event()
    pod.store.work.append(("7", b"rows"))
    consuming = asyncio.create_task(pod.sidecar.consumer.run())
    async with asyncio.timeout(60):
        while not pod.model_server.inside:
            await asyncio.sleep(0.005)
    pod.pod.ending = True
    pod.store.work.append(("8", b"rows"))
    assert pod.sidecar.busy == 1
    pod.model_server.hold.set()
    await consuming
    assert list(pod.store.results) == ["7"]
    assert len(pod.store.work) == 1
