"""Labels over HTTP: row by row, before or after their inference, sent again, and what is counted of them."""

import asyncio
import errno
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pytest
from file_doors import FileDoor, lines, open_file_door, parquet

from modelwarden.resources.report import LabelReport
from modelwarden_server.log import segments

WHEN = "2026-11-20T00:00:00+00:00"


def label(id: Any = "a", gt: Any = 1, **more: Any) -> dict[str, Any]:  # noqa: A002
    return {
        "partner_inference_id": id,
        "ground_truth_timestamp": WHEN,
        "ground_truth_data": {"gt": gt},
    } | more


async def patch(
    door: FileDoor, *labels: Any, path: str = "ground_truth", content: bytes | None = None
) -> Any:
    body = json.dumps(labels).encode() if content is None else content
    return await door.client.patch(f"{door.model}/{path}", content=body)


async def statuses(door: FileDoor, *labels: Any, path: str = "ground_truth") -> list[int]:
    answer = await patch(door, *labels, path=path)
    assert answer.status_code == 207, answer.text
    body = answer.json()
    found = [result["status"] for result in body["results"]]
    good = found.count(200)
    assert body["counts"] == {"success": good, "failure": len(found) - good, "total": len(labels)}
    return found


def truths(door: FileDoor) -> list[tuple[str, int]]:
    """Labels in the table, oldest first."""
    rows = sorted(door.stored("ground_truth"), key=lambda row: row["received_timestamp"])
    return [(row["partner_inference_id"], row["gt"]) for row in rows]


async def counted(door: FileDoor, **expected: int) -> LabelReport:
    """The report, once it says this of the labels."""
    async with asyncio.timeout(120):
        while True:
            found = (await door.report()).rows.labels
            if found.model_dump() | expected == found.model_dump():
                return found
            await asyncio.sleep(0.01)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FileDoor]:
    async with open_file_door(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("path", ["inferences", "ground_truth"])
async def test_labels_are_answered_in_order_and_stored(door: FileDoor, path: str) -> None:
    assert await door.post(census.row("a"), census.row("b")) == [200, 200]
    sent = label("a"), label("b", "x"), label("b", 0), label("never seen")
    assert await statuses(door, *sent, path=path) == [200, 400, 200, 200]
    assert truths(door) == [("a", 1), ("b", 0), ("never seen", 1)]
    stored = door.stored("ground_truth")[0]
    assert (stored["ground_truth_timestamp"].isoformat(), stored["settings_generation"]) == (WHEN, 1)


async def test_what_the_documented_client_sends_is_taken(door: FileDoor) -> None:
    body = (
        b'[{"ground_truth_data": {"gt": 1.0}, "partner_inference_id": 7,'
        b' "ground_truth_timestamp": "2026-11-21T11:30:05.362271Z"},'
        b' {"ground_truth_data": {"gt": NaN}, "partner_inference_id": "b", "ground_truth_timestamp": "%s"}]'
    ) % WHEN.encode()
    answer = (await patch(door, path="inferences", content=body)).json()
    assert [r["status"] for r in answer["results"]] == [200, 400]
    assert answer["results"][1]["message"].startswith("ground_truth_data: has no value")
    assert truths(door) == [("7", 1)]
    assert (await patch(door)).json() == {"counts": {"success": 0, "failure": 0, "total": 0}, "results": []}


BAD: list[tuple[dict[str, Any], str]] = [
    ({"partner_inference_id": None}, "partner_inference_id: is required"),
    ({"ground_truth_timestamp": None}, "ground_truth_timestamp: is required"),
    ({"ground_truth_timestamp": "2026-11-20T00:00:00"}, "ground_truth_timestamp: must be an ISO 8601"),
    (
        {"ground_truth_timestamp": "2027-01-01T00:00:00Z"},
        "ground_truth_timestamp: is too far in the future",
    ),
    ({"ground_truth_data": None}, "ground_truth_data: has no value"),
    ({"ground_truth_data": {"gtt": 1}}, "gtt: unknown attribute"),
    ({"ground_truth_data": {"age": 1}}, "age: belongs into inference_data"),
    ({"ground_truth_data": 1}, "ground_truth_data: must be an object, not a number"),
    ({"inference_data": {}}, "inference_data: unknown field"),
]


async def test_a_bad_label_is_named_with_its_reason(door: FileDoor) -> None:
    sent = [label("good"), *(label("bad") | change for change, _ in BAD)]
    results = (await patch(door, *sent)).json()["results"]
    assert [r["status"] for r in results] == [200, *[400] * len(BAD)]
    for result, (_, says) in zip(results[1:], BAD, strict=True):
        assert result["message"].startswith(says)


async def test_a_label_sent_again_is_a_success_stored_once_and_counted(door: FileDoor) -> None:
    for _ in range(2):
        assert await statuses(door, label("a"), label("b")) == [200, 200]
    assert truths(door) == [("a", 1), ("b", 1)]
    assert await statuses(door, label("b"), label("a"), label("a")) == [200, 200, 200]
    found = await counted(door, repeated=5, stored=2)
    assert found.acknowledged == 2


async def test_the_newest_label_by_arrival_is_the_one_that_a_resend_is_compared_with(door: FileDoor) -> None:
    for gt in (1, 0, 0, 1, 0):
        assert await statuses(door, label("a", gt)) == [200]
    assert await statuses(door, label("a", 1), label("a", 0), label("a", 0)) == [200] * 3
    assert truths(door) == [("a", gt) for gt in (1, 0, 1, 0, 1, 0)]
    assert (await counted(door, stored=6)).repeated == 2


async def test_a_label_in_an_inference_that_is_sent_again_is_stored_once(door: FileDoor) -> None:
    for _ in range(3):
        assert await door.post(census.row("a", truth=1)) == [200]
    assert truths(door) == [("a", 1)]
    assert await statuses(door, label("a", 1, ground_truth_timestamp=census.NOW)) == [200]
    assert truths(door) == [("a", 1)]


async def test_labels_that_come_first_wait_for_their_inference_and_are_counted(door: FileDoor) -> None:
    assert await statuses(door, label("a"), label("b"), label("c")) == [200] * 3
    await counted(door, stored=3, waiting=3)
    assert await door.post(census.row("a"), census.row("z")) == [200, 200]
    await counted(door, waiting=2)
    assert await statuses(door, label("b", 0), label("z"), label("d")) == [200] * 3
    await counted(door, stored=6, waiting=3)
    assert (await door.taken(parquet(pa.Table.from_pylist([_flat("b"), _flat("d")]))))[0] == 2
    await counted(door, waiting=1)


def _flat(name: str) -> dict[str, Any]:
    row = census.row(name)
    return {k: v for k, v in row.items() if k != "inference_data"} | row["inference_data"]


async def test_a_restart_knows_labels_that_were_sent_and_those_that_wait(tmp_path: Path) -> None:
    async with open_file_door(tmp_path) as door:
        assert await statuses(door, label("a"), label("b")) == [200, 200]
        assert await door.post(census.row("a")) == [200]
        await counted(door, stored=2, waiting=1)
    for lost in (False, True):
        if lost:
            for path in (tmp_path / "index" / "labels").iterdir():
                path.unlink()
        async with open_file_door(tmp_path) as door:
            await counted(door, acknowledged=2, stored=2, waiting=1)
            assert await statuses(door, label("a"), label("b")) == [200, 200]
            assert len(truths(door)) == 2


async def test_files_and_requests_know_each_others_labels(door: FileDoor) -> None:
    filed = [{"partner_inference_id": f"f{i}", "ground_truth_timestamp": WHEN, "gt": i % 2} for i in range(4)]
    for content in (parquet(pa.Table.from_pylist(filed)), lines(filed)):
        assert await door.taken(content, "ground_truth_data") == (4, 0, [])
        await counted(door, stored=4, waiting=4)  # they are in the index
    assert await statuses(door, label("f1", 1), label("f0", 1)) == [200, 200]
    assert sorted(truths(door)) == [("f0", 0), ("f0", 1), ("f1", 1), ("f2", 0), ("f3", 1)]
    assert (await counted(door, stored=5)).repeated == 5
    # The file has the older data of f0 again: now it is news.
    assert (await door.taken(lines(filed), "ground_truth_data"))[0] == 4
    assert truths(door)[-1] == ("f0", 0)


async def test_labels_of_inferences_that_sampling_leaves_out_are_left_out_and_counted(tmp_path: Path) -> None:
    async with open_file_door(tmp_path) as door:
        assert await door.post(census.row("kept before")) == [200]
        door.cell.settings.current = census.settings(ingest={"sampling": {"share": 0.0}})
        assert await door.post(census.row("left out")) == [200]
        assert await statuses(door, label("kept before"), label("left out")) == [200, 200]
        filed = [{"partner_inference_id": "x", "ground_truth_timestamp": WHEN, "gt": 1}]
        assert await door.taken(lines(filed), "ground_truth_data") == (1, 0, [])
        assert truths(door) == [("kept before", 1)]
        assert (await counted(door, sampled_out=2)).acknowledged == 1


async def test_two_requests_with_the_same_label_wait_for_the_same_fsync(door: FileDoor) -> None:
    begun, go_on = threading.Event(), threading.Event()
    log: Any = door.cell.store.log
    real = log._sync

    def slow(fd: int) -> None:
        begun.set()
        go_on.wait(120)
        real(fd)

    log._sync = slow
    first = asyncio.create_task(statuses(door, label("a")))
    assert await asyncio.to_thread(begun.wait, 120)
    second = asyncio.create_task(statuses(door, label("a")))
    done, _ = await asyncio.wait([second], timeout=0.1)
    assert not done
    go_on.set()
    assert (await first, await second) == ([200], [200])
    assert truths(door) == [("a", 1)]


async def test_a_label_that_was_lost_with_a_full_disk_is_not_known(
    door: FileDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = segments.write_all

    def full(fd: int, pieces: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(segments, "write_all", full)
    for _ in range(2):
        answer = await patch(door, label("a"))
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    monkeypatch.setattr(segments, "write_all", real)
    assert await statuses(door, label("a")) == [200]
    assert truths(door) == [("a", 1)]


async def test_a_model_without_ground_truth_says_so(tmp_path: Path) -> None:
    words = [
        census.ATTRIBUTES[0],
        census.attribute("answer", "UNSTRUCTURED_TEXT", "PREDICTED_VALUE"),
    ]
    async with open_file_door(tmp_path, attributes=words, outputType="TOKEN_SEQUENCE") as door:
        answer = await patch(door, label())
        assert (answer.status_code, "no ground truth" in answer.json()["error"]) == (400, True)


async def test_the_doors_of_labels_share_the_limits_of_rows(tmp_path: Path) -> None:
    limits = {"maxBodySize": "1Ki", "maxRows": 2}
    async with open_file_door(tmp_path, ingest={"limits": limits}) as door:
        large = await patch(door, content=b" " * 1025)
        assert (large.status_code, "maxBodySize" in large.json()["error"]) == (413, True)
        many = await patch(door, *(label(str(i)) for i in range(3)))
        assert (many.status_code, "maxRows" in many.json()["error"]) == (413, True)
        door.cell.settings.current = census.settings(lifecycle="Archived")
        assert (await patch(door, label())).status_code == 409
