"""The door over HTTP, in this process: a real cell on a real folder, without a socket."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import census_like as census
import httpx
import pytest

from modelwarden.resources.keys import job_key
from modelwarden.resources.report import StatusReport
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import BEGINNING_BYTES
from modelwarden_server.door.gate import Gate
from modelwarden_server.log import segments
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
NOON = 1_795_262_400.0


async def eventually(what: Callable[[], bool]) -> None:
    """Wait until it is so, or fail."""
    async with asyncio.timeout(120):
        while not what():
            await asyncio.sleep(0.005)


class Door:
    """A client of a cell, and the cell."""

    def __init__(self, cell: Cell, client: httpx.AsyncClient, gate: Gate) -> None:
        self.cell = cell
        self.gate = gate
        self.client = client
        self.path = f"/api/v3/models/{cell.identity.model_id}/inferences"

    async def post(self, *rows: Any, **more: Any) -> httpx.Response:
        content = more.pop("content", None)
        return await self.client.post(
            more.pop("path", self.path), content=census.body(*rows) if content is None else content, **more
        )

    async def statuses(self, *rows: Any) -> list[int]:
        answer = await self.post(*rows)
        assert answer.status_code == 207, answer.text
        body = answer.json()
        found = [result["status"] for result in body["results"]]
        good = found.count(200)
        assert body["counts"] == {"success": good, "failure": len(found) - good, "total": len(rows)}
        return found

    async def report(self) -> StatusReport:
        return StatusReport.from_json((await self.client.get("/status")).content)

    async def until(self, what: Callable[[StatusReport], bool]) -> StatusReport:
        async with asyncio.timeout(120):
            while True:
                report = await self.report()
                if what(report):
                    return report
                await asyncio.sleep(0.01)

    def stored(self) -> list[dict[str, Any]]:
        table = self.cell.store.tables.inferences
        return [row for batch in table.read(table.files) for row in batch.to_pylist()]


@asynccontextmanager
async def open_door(folder: Path, *, pace: float = 0.02, **spec: Any) -> AsyncIterator[Door]:
    attributes = spec.pop("attributes", census.ATTRIBUTES)
    identity = census.identity(
        attributes, **{k: v for k, v in spec.items() if k in ("isBatch", "partnerModelId")}
    )
    cell = Cell(
        identity, SettingsHolder(census.settings(**spec), KEY), folder, Pace(seconds=pace), clock=lambda: NOON
    )
    rooms = furnish(cell)
    transport = httpx.ASGITransport(app=store_app(cell), raise_app_exceptions=False)
    headers = {"Authorization": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as client:
        cell.start()
        try:
            await eventually(lambda: cell.unready() is None)
            yield Door(cell, client, rooms.admission.gate)
        finally:
            cell.close(120)


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path) as opened:
        yield opened


async def test_rows_are_answered_in_order_and_then_stored(door: Door) -> None:
    assert await door.statuses(census.row("a"), census.row("b", age="x"), census.row("c", truth=1)) == [
        200,
        400,
        200,
    ]
    report = await door.until(lambda r: r.rows.stored == 2)
    assert (report.rows.acknowledged, report.rows.waiting, report.rows.refused, report.rows.last_hour) == (
        2,
        0,
        1,
        2,
    )
    assert (report.tables["inferences"].rows, report.tables["ground_truth"].rows) == (2, 1)
    first, second = sorted(door.stored(), key=lambda row: row["partner_inference_id"])
    assert (first["partner_inference_id"], second["partner_inference_id"]) == ("a", "c")
    assert first["received_timestamp"].timestamp() == NOON
    assert (first["settings_generation"], first["age"], first["batch_id"]) == (1, 41, None)
    assert report.newest_inference is not None
    assert report.newest_inference.isoformat() == census.NOW


async def test_the_answer_has_the_documented_shape(door: Door) -> None:
    answer = await door.post(census.row("a"), census.row("b", age="x"))
    assert answer.status_code == 207
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "counts": {"success": 1, "failure": 1, "total": 2},
        "results": [
            {"message": "success", "status": 200},
            {"message": "age: must be a whole number, not a text", "status": 400},
        ],
    }
    assert all(type(result["status"]) is int for result in answer.json()["results"])


async def test_an_empty_list_is_answered_with_zero_counts(door: Door) -> None:
    answer = await door.post()
    assert (answer.status_code, answer.json()) == (
        207,
        {"counts": {"success": 0, "failure": 0, "total": 0}, "results": []},
    )


async def test_the_same_row_again_is_a_success_and_other_data_a_conflict(door: Door) -> None:
    for _ in range(2):
        assert await door.statuses(census.row("a", age=1), census.row("b", income=None)) == [200, 200]
    assert await door.statuses(census.row("a", age=2), census.row("c"), census.row("b", income=None)) == [
        409,
        200,
        200,
    ]
    await door.until(lambda r: r.rows.stored == 3)
    assert await door.statuses(census.row("a", age=1), census.row("a", age=2)) == [200, 409]
    report = await door.report()
    assert (report.rows.acknowledged, report.rows.stored, report.rows.refused) == (3, 3, 2)


async def test_an_id_twice_in_one_request_is_stored_once(door: Door) -> None:
    assert await door.statuses(census.row("a"), census.row("a"), census.row("a", age=2)) == [200, 200, 409]
    assert (await door.until(lambda r: r.rows.stored == 1)).rows.acknowledged == 1


async def test_the_id_is_the_same_as_a_number_or_a_text(door: Door) -> None:
    assert await door.statuses(census.row(7), census.row("7"), census.row(7.0)) == [200] * 3
    assert (await door.report()).rows.acknowledged == 1


async def test_many_clients_with_the_same_ids_at_once_store_each_once(door: Door) -> None:
    async def send(chance: int) -> list[int]:
        return await door.statuses(*(census.row(f"id-{i}", age=i) for i in range(chance, chance + 20)))

    answers = await asyncio.gather(*(send(i % 7) for i in range(30)))
    assert {status for answer in answers for status in answer} == {200}
    report = await door.until(lambda r: r.rows.waiting == 0)
    assert report.rows.stored == report.rows.acknowledged == 26
    assert sorted(row["partner_inference_id"] for row in door.stored()) == sorted(
        f"id-{i}" for i in range(26)
    )


async def test_what_was_taken_in_is_known_after_a_restart(tmp_path: Path) -> None:
    async with open_door(tmp_path) as door:
        await door.statuses(
            census.row("a", note="é", joined="2020-02-02T00:00:00Z"), census.row("b", income=None)
        )
    async with open_door(tmp_path, pace=3600) as door:
        report = await door.report()
        assert (report.rows.acknowledged, report.rows.stored, report.rows.last_hour) == (2, 2, 2)
        assert report.newest_arrival is not None
        assert await door.statuses(census.row("a", note="é", joined="2020-02-02T00:00:00Z")) == [200]
        assert await door.statuses(census.row("a"), census.row("b", income=None), census.row("c")) == [
            409,
            200,
            200,
        ]


async def test_a_label_sent_again_with_a_known_row_is_a_new_label(door: Door) -> None:
    await door.statuses(census.row("a"))
    assert await door.statuses(census.row("a", truth=1)) == [200]
    report = await door.until(lambda r: r.tables["ground_truth"].rows == 1 and r.log.unwritten == 0)
    assert (report.rows.acknowledged, report.rows.stored) == (1, 1)


@pytest.mark.parametrize(
    ("key", "status"),
    [(KEY, 207), (f"Bearer {KEY}", 207), (f"bearer {KEY}", 207), ("", 401), ("x" * 64, 401), (KEY[:-1], 401)],
)
async def test_the_key_opens_the_door(door: Door, key: str, status: int) -> None:
    answer = await door.post(headers={"Authorization": key})
    assert answer.status_code == status
    if status == 401:
        assert answer.json() == {"error": "unauthorized"}


async def test_a_jobs_key_opens_only_the_inner_doors(door: Door) -> None:
    good, forged = job_key(KEY, "profile", "abc"), job_key("z" * 64, "profile", "abc")
    assert (await door.post(headers={"Authorization": good})).status_code == 403
    assert (await door.post(headers={"Authorization": forged})).status_code == 401
    assert (await door.client.get("/internal/v1/nothing", headers={"Authorization": good})).status_code == 404


async def test_the_open_paths_need_no_key_and_tell_no_values(door: Door) -> None:
    await door.statuses(census.row("secret-id", note="secret note"))
    for path in ("/healthz", "/readyz", "/metrics"):
        answer = await door.client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 200
        assert "secret" not in answer.text
    metrics = (await door.client.get("/metrics")).text
    assert 'modelwarden_ingest_rows_total{result="accepted"} 1.0' in metrics
    assert "modelwarden_rows_acknowledged_total 1.0" in metrics


async def test_a_model_that_is_not_here_is_not_found(tmp_path: Path) -> None:
    async with open_door(tmp_path, partnerModelId="census-2015") as door:
        for path, status in {
            "/api/v3/models/nobody/inferences": 404,
            "/api/v3/models/census-2015/inferences": 404,
            "/api/v3/models/census-2015/inferences?id_type=partner_model_id": 207,
            "/api/v3/models/other/inferences?id_type=partner_model_id": 404,
            "/api/v3/models/census-2015/inferences?id_type=name": 400,
        }.items():
            answer = await door.post(path=path)
            assert (path, answer.status_code) == (path, status)
            assert status == 207 or set(answer.json()) == {"error"}


@pytest.mark.parametrize("content", [b"", b"{}", b"[1,", b'["\xff"]', b"null"])
async def test_a_body_that_is_no_list_is_a_400_with_a_sentence(door: Door, content: bytes) -> None:
    answer = await door.post(content=content)
    assert answer.status_code == 400
    assert "the body" in answer.json()["error"]


async def test_limits_are_told_with_the_field_that_raises_them(tmp_path: Path) -> None:
    limits = {"maxBodySize": "2Ki", "maxRows": 3, "maxStringLength": 10}
    async with open_door(tmp_path, ingest={"limits": limits}) as door:
        too_many = await door.post(*(census.row(i) for i in range(4)))
        assert (too_many.status_code, "maxRows" in too_many.json()["error"]) == (413, True)
        too_large = await door.post(content=b"[" + b" " * 3000 + b"]")
        assert (too_large.status_code, "maxBodySize" in too_large.json()["error"]) == (413, True)

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(30):
                yield b" " * 100

        assert (await door.post(content=chunks())).status_code == 413
        assert await door.statuses(census.row("a", note="x" * 11), census.row("b", note="x" * 10)) == [
            400,
            200,
        ]


async def test_a_slow_body_of_unknown_length_keeps_nobody_out(door: Door) -> None:
    goes_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"["
        await goes_on.wait()
        yield json.dumps(census.row("slow")).encode() + b"]"

    slow = asyncio.create_task(door.post(content=slowly()))
    await eventually(lambda: door.gate.inside == 1)
    async with asyncio.timeout(20):  # a gate that is full holds a request for thirty seconds
        assert await door.statuses(census.row("quick")) == [200]
    goes_on.set()
    assert (await slow).status_code == 207


async def test_a_large_body_of_unknown_length_is_taken_whole(door: Door) -> None:
    body = json.dumps([census.row(f"long-{n}", note="x" * 1000) for n in range(600)]).encode()
    assert len(body) > 2 * BEGINNING_BYTES

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    answer = await door.post(content=pieces())
    assert (answer.status_code, answer.json()["counts"]["success"]) == (207, 600)
    assert door.gate.inside == 0


async def test_who_is_refused_and_goes_on_sending_holds_no_place(tmp_path: Path) -> None:
    refused, goes_on = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b" " * 3000
        refused.set()  # asked for more than is allowed: what comes now is read only to be answered
        await goes_on.wait()
        yield b" "

    async with open_door(
        tmp_path, ingest={"limits": {"maxBodySize": "2Ki", "maxRequestsInFlight": 1}}
    ) as door:
        sending = asyncio.create_task(door.post(content=endless()))
        await refused.wait()
        async with asyncio.timeout(20):
            assert await door.statuses(census.row("next")) == [200]
        goes_on.set()
        assert (await sending).status_code == 413


async def test_a_log_that_is_full_is_a_503_and_promises_nothing(tmp_path: Path) -> None:
    async with open_door(tmp_path, pace=3600, ingest={"limits": {"maxLogSize": "4Ki"}}) as door:
        sent = 0
        while (answer := await door.post(census.row(f"r{sent}"))).status_code == 207:
            sent += 1
            assert sent < 50
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "maxLogSize" in answer.json()["error"]
        assert (await door.report()).rows.acknowledged == sent
        assert await asyncio.to_thread(door.cell.store.writer.flush, 120)
        assert (await door.report()).rows.stored == sent
        await eventually(lambda: door.cell.store.log.waiting == 0)
        assert await door.statuses(census.row("there is room again")) == [200]


async def test_sampling_keeps_a_share_by_id_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [census.row(f"id-{i}", truth=1) for i in range(400)]
    async with open_door(tmp_path, ingest={"sampling": {"share": 0.25}}) as door:
        assert set(await door.statuses(*rows)) == {200}
        report = await door.until(lambda r: r.rows.waiting == 0)
        kept = {row["partner_inference_id"] for row in door.stored()}
        assert (report.rows.acknowledged, report.rows.stored + report.rows.sampled_out) == (400, 400)
        assert 60 < len(kept) == report.rows.stored < 140
        assert report.tables["ground_truth"].rows == len(kept)
        door.cell.settings.current = census.settings(ingest={"sampling": {"share": 0.5}})
        await door.statuses(*rows)
        await door.until(lambda r: r.rows.waiting == 0)
        more = {row["partner_inference_id"] for row in door.stored()}
        assert kept < more
    async with open_door(tmp_path, ingest={"sampling": {"share": 0.0}}) as door:
        assert await door.statuses(census.row("new")) == [200]
        rows_now = (await door.until(lambda r: r.log.unwritten == 0)).rows
        assert rows_now.acknowledged == rows_now.stored + rows_now.sampled_out


async def test_sensitive_values_never_reach_the_disk(tmp_path: Path) -> None:
    attributes = [dict(a) for a in census.ATTRIBUTES]
    for attribute in attributes:
        if attribute["name"] in ("state", "note"):
            attribute["sensitivity"] = "hash" if attribute["name"] == "state" else "drop"
    async with open_door(tmp_path) as door:
        door.cell.settings.current = census.settings(attributes=attributes)
        row = census.row("a", state="TOPSECRET", note="TOPSECRET")
        assert await door.statuses(row, census.row("b", age="TOPSECRET")) == [200, 400]
        assert await door.statuses(row, row | {"inference_data": row["inference_data"] | {"age": 3}}) == [
            200,
            409,
        ]
        await door.until(lambda r: r.rows.stored == 1)
        (stored,) = door.stored()
        assert (stored["note"], len(stored["state"])) == (None, 32)
    assert not files_with(tmp_path, b"TOPSECRET")


async def test_an_archived_model_takes_in_nothing(tmp_path: Path) -> None:
    async with open_door(tmp_path, lifecycle="Archived") as door:
        answer = await door.post(census.row())
        assert (answer.status_code, "archived" in answer.json()["error"]) == (409, True)


async def test_while_draining_rows_are_refused_and_reads_go_on(door: Door) -> None:
    await door.statuses(census.row("a"))
    door.cell.drain()
    answer = await door.post(census.row("b"))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (await door.client.get("/readyz")).status_code == 503
    assert (await door.client.get("/healthz")).status_code == 200
    assert (await door.report()).phase == "Draining"


async def test_a_failed_log_answers_503_and_asks_for_a_restart(door: Door) -> None:
    def failing(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    await door.statuses(census.row("a"))
    door.cell.store.log._sync = failing
    answer = await door.post(census.row("b"))
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    assert (await door.client.get("/readyz")).status_code == 503
    assert (await door.client.get("/healthz")).status_code == 503
    report = await door.report()
    assert (report.phase, report.rows.acknowledged) == ("Failed", 1)
    assert "Input/output error" in (report.reason or "")


async def test_more_requests_than_allowed_wait_and_then_are_told_to_come_again(tmp_path: Path) -> None:
    async with open_door(tmp_path, ingest={"limits": {"maxRequestsInFlight": 1}}) as door:
        release = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b"["
            await release.wait()
            yield json.dumps(census.row("slow")).encode() + b"]"

        first = asyncio.create_task(door.post(content=slow()))
        await asyncio.sleep(0)
        await eventually(lambda: door.gate.inside == 1)
        waiting = [asyncio.create_task(door.post(census.row(f"w{i}"))) for i in range(4)]
        await eventually(lambda: door.gate.waiting == 4)
        refused = await door.post(census.row("too many"))
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
        assert "maxRequestsInFlight" in refused.json()["error"]
        release.set()
        answers = [await first, *await asyncio.gather(*waiting)]
        assert [a.status_code for a in answers] == [207] * 5
        assert (await door.report()).rows.acknowledged == 5


async def test_who_waits_too_long_at_the_gate_is_told_to_come_again(tmp_path: Path) -> None:
    async with open_door(tmp_path, ingest={"limits": {"maxRequestsInFlight": 1}}) as door:
        door.gate.hold_seconds = 0.05
        async with door.gate.admit(1, 1, 1):
            assert (await door.post(census.row("a"))).status_code == 429
            assert door.gate.waiting == 0
        assert await door.statuses(census.row("a")) == [200]
        assert door.gate.inside == 0


async def test_settings_that_change_while_rows_arrive_are_in_force_at_once(door: Door) -> None:
    assert await door.statuses(census.row("a", note="x" * 20)) == [200]
    changed = census.settings(ingest={"limits": {"maxStringLength": 10}}).model_copy(update={"generation": 2})
    door.cell.settings.current = changed
    assert await door.statuses(census.row("b", note="x" * 20), census.row("c", note="x")) == [400, 200]
    await door.until(lambda r: r.rows.stored == 2 and r.settings_generation == 2)
    assert {r["partner_inference_id"]: r["settings_generation"] for r in door.stored()} == {"a": 1, "c": 2}


async def test_timestamps_ahead_of_the_cells_clock_are_refused(door: Door) -> None:
    assert await door.statuses(
        census.row("a", at="2026-11-21T12:59:59Z"), census.row("b", at="2026-11-21T13:00:01Z")
    ) == [200, 400]


async def test_a_slow_listener_or_a_failing_one_does_not_lose_rows(tmp_path: Path) -> None:
    class Failing:
        def __init__(self) -> None:
            self.told: list[int] = []

        def fold(self, version: int, _batches: Any) -> None:
            self.told.append(version)
            raise RuntimeError("a fault of the listener")

    async with open_door(tmp_path) as door:
        listener = Failing()
        door.cell.store.writer.listen(listener)
        await door.statuses(census.row("a"))
        await door.until(lambda r: r.rows.stored == 1)
        await door.statuses(census.row("b"))
        await door.until(lambda r: r.rows.stored == 2)
        await eventually(lambda: listener.told == [1, 2])


async def test_unknown_paths_and_methods_are_told_in_json(door: Door) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("POST", door.path + "/", 404),
        ("DELETE", door.path, 405),
    ):
        answer = await door.client.request(method, path)
        assert (answer.status_code, set(answer.json())) == (status, {"error"})


async def test_a_full_disk_promises_nothing_also_to_who_referred_to_the_lost_rows(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, begun, go_on = segments.write_all, threading.Event(), threading.Event()

    def full(fd: int, pieces: Any, offset: int) -> int:
        begun.set()
        go_on.wait(120)
        real(fd, pieces[:1], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    await door.statuses(census.row("before"))
    monkeypatch.setattr(segments, "write_all", full)
    first = asyncio.create_task(door.post(census.row("a", age=1)))
    assert await asyncio.to_thread(begun.wait, 120)
    same = asyncio.create_task(door.post(census.row("a", age=1)))
    other = asyncio.create_task(door.post(census.row("a", age=2), census.row("b")))
    await eventually(lambda: door.gate.inside == 3)
    go_on.set()
    answers = await asyncio.gather(first, same, other)
    assert [a.status_code for a in answers] == [503] * 3
    assert all(a.headers["retry-after"] for a in answers)
    monkeypatch.setattr(segments, "write_all", real)
    assert await door.statuses(census.row("a", age=2), census.row("b")) == [200, 200]
    report = await door.until(lambda r: r.rows.stored == 3)
    assert report.rows.acknowledged == 3
    assert {r["partner_inference_id"]: r["age"] for r in door.stored()} == {"before": 41, "a": 2, "b": 41}


async def test_rows_on_their_way_to_the_disk_are_known(door: Door) -> None:
    held = threading.Event()

    def slow(fd: int) -> None:
        held.wait(120)
        os.fdatasync(fd)

    door.cell.store.log._sync = slow
    first = asyncio.create_task(door.statuses(census.row("a", age=1)))
    await eventually(lambda: len(door.cell.store.ids.on_their_way) == 1)
    same = asyncio.create_task(door.statuses(census.row("a", age=1)))
    other = asyncio.create_task(door.statuses(census.row("a", age=2)))
    await eventually(lambda: door.gate.inside == 3)
    assert not (first.done())
    assert not (same.done())
    assert not (other.done())
    held.set()
    assert await asyncio.gather(first, same, other) == [[200], [200], [409]]
    assert (await door.until(lambda r: r.rows.stored == 1)).rows.acknowledged == 1
    assert door.cell.store.ids.on_their_way == {}
