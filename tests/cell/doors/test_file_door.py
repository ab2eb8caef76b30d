"""Files of inferences and labels over HTTP, in this process: taken, refused, and what is left behind."""

import asyncio
import json
import tempfile
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import census_like as census
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from file_doors import FileDoor, eventually, flat, lines, nested, open_file_door, parquet

from modelwarden_server.door.files import FileRoom
from modelwarden_server.door.parquet_pieces import PIECE_BYTES, ParquetLimits, ParquetPieces
from modelwarden_server.log.protocol import LogFullError
from modelwarden_server.log.segments import SegmentLog

SENSITIVE = [
    {**a, "sensitivity": {"state": "hash", "note": "drop", "income": "mask"}[a["name"]]}
    if a["name"] in ("state", "note", "income")
    else a
    for a in census.ATTRIBUTES
]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FileDoor]:
    async with open_file_door(tmp_path) as opened:
        yield opened


def files_with(folder: Path, text: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["partner_inference_id"] for row in rows)


def shapes(prefix: str) -> dict[str, bytes]:
    """The same five rows in every form in which they may come."""
    plain = flat(5, prefix)
    texts = pa.array(["MA", "NY", "MA", "NY", "MA"]).dictionary_encode()
    return {
        "flat parquet": parquet(plain),
        "parquet in several row groups": parquet(plain, row_group_size=2),
        "parquet with texts in dictionaries": parquet(flat(5, prefix, state=texts)),
        "nested parquet": parquet(pa.Table.from_pylist(nested(plain))),
        "a JSON list": json.dumps(nested(plain)).encode(),
        "a JSON list, flat": json.dumps(plain.to_pylist()).encode(),
        "a JSON list on many lines": b"\n " + json.dumps(nested(plain), indent=4).encode() + b"\n",
        "JSON lines": lines(nested(plain)),
        "JSON lines, flat, with a byte order mark": b"\xef\xbb\xbf" + lines(plain.to_pylist()) + b"\r\n\r\n",
    }


async def test_every_shape_of_the_same_rows_is_taken_and_then_known(door: FileDoor) -> None:
    for number, shape in enumerate(shapes("")):
        prefix = f"s{number}-"
        assert await door.taken(shapes(prefix)[shape]) == (5, 0, []), shape
        assert await door.taken(parquet(flat(5, prefix))) == (5, 0, []), f"{shape}: the same data"
        stored = [row for row in door.stored() if row["partner_inference_id"].startswith(prefix)]
        assert ids(stored) == [f"{prefix}{i}" for i in range(5)]
        assert sorted(row["income"] for row in stored) == [100.5 + i for i in range(5)]
        await eventually(lambda: door.leftovers() == [])


async def test_rows_of_files_and_of_requests_are_one_set_of_ids(door: FileDoor) -> None:
    rows = nested(flat(4))
    assert await door.post(rows[0]) == [200]
    assert await door.taken(parquet(flat(4))) == (4, 0, [])
    assert await door.post(*rows) == [200] * 4
    assert ids(door.stored()) == ["r0", "r1", "r2", "r3"]
    rows[2]["inference_data"]["age"] = 99
    assert await door.post(rows[2]) == [409]
    told = (await door.report()).rows
    assert (told.stored, told.repeated, told.conflicts, told.refused) == (4, 5, 1, 1)


async def test_the_identity_of_rows_holds_with_files(door: FileDoor) -> None:
    await door.taken(parquet(flat(6, age=pa.array([1.0, 2.5, 3.0, 4.0, 5.0, 6.0]))))
    await door.taken(parquet(flat(6, age=pa.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))))
    door.stored()
    rows = (await door.report()).rows
    assert (rows.acknowledged, rows.stored, rows.waiting, rows.refused) == (6, 6, 0, 1)


async def test_an_id_that_is_twice_in_a_file_counts_once_and_contradicts_itself_by_name(
    door: FileDoor,
) -> None:
    names = ["a", "b", "a", "b", "c"]
    table = flat(5, partner_inference_id=pa.array(names), age=pa.array([1, 2, 1, 3, 4]))
    table = table.set_column(3, "income", pa.array([0.5] * 5))
    table = table.set_column(4, "state", pa.array(["MA"] * 5)).set_column(5, "married", pa.array([True] * 5))
    good, bad, failures = await door.taken(parquet(table, row_group_size=2))
    assert (good, bad) == (4, 1)
    assert failures[0].startswith("row 4: partner_inference_id:")
    assert ids(door.stored()) == ["a", "b", "c"]


BAD_ROWS: dict[str, tuple[dict[str, Any], dict[int, str]]] = {
    "a fraction for an integer": ({"age": pa.array([1.0, 2.5, 3.0])}, {2: "age"}),
    "an input that is not a number": ({"income": pa.array([1.0, float("inf"), 2.0])}, {2: "income"}),
    "a prediction without a value": ({"pred": pa.array([None, 0.5, float("nan")])}, {1: "pred", 3: "pred"}),
    "no id": (
        {"partner_inference_id": pa.array(["a", None, ""])},
        dict.fromkeys((2, 3), "partner_inference_id"),
    ),
    "a time without a zone": (
        {"inference_timestamp": pa.array([census.NOW, "2026-01-01T00:00:00", None])},
        dict.fromkeys((2, 3), "inference_timestamp"),
    ),
    "a time in the future": (
        {"inference_timestamp": pa.array([census.NOW, census.NOW, "2036-01-01T00:00:00Z"])},
        {3: "inference_timestamp"},
    ),
    "a batch in a model without": ({"batch_id": pa.array([None, "b", ""])}, {2: "batch_id"}),
}


@pytest.mark.parametrize("kind", ["parquet", "json"])
async def test_a_bad_row_is_named_by_number_and_attribute_and_the_others_are_taken(
    door: FileDoor, kind: str
) -> None:
    stored = 0
    for number, (what, (columns, bad)) in enumerate(BAD_ROWS.items()):
        table = flat(3, f"{number}-", **columns)
        content = parquet(table) if kind == "parquet" else json.dumps(nested(table)).encode()
        good, failed, failures = await door.taken(content)
        assert (good, failed) == (3 - len(bad), len(bad)), what
        for message, (row, attribute) in zip(failures, bad.items(), strict=True):
            assert message.startswith(f"row {row}: {attribute}"), message
        stored += good
    assert len(door.stored()) == stored


async def test_failures_are_bounded_and_count_through_the_file(door: FileDoor) -> None:
    rows = 900
    ages = pa.array([0.5 if i >= 700 else 1.0 for i in range(rows)])
    answer = (await door.send(parquet(flat(rows, age=ages), row_group_size=128))).json()
    assert answer["counts"] == {"success": 700, "failure": 200, "total": 900}
    assert answer["failures"][0] == {"message": "row 701: age: must be a whole number", "status": 400}
    assert (len(answer["failures"]), answer["failures_left_out"]) == (100, 100)


BAD_FILES: dict[str, tuple[bytes, int, str]] = {
    "an empty part, as a retry without its file": (b"", 400, "empty"),
    "the tail of a parquet file": (parquet(flat(50))[100:], 400, "start"),
    "the head of a parquet file": (parquet(flat(50))[:300], 400, "cannot be read"),
    "the tail of a JSON file": (json.dumps(nested(flat(9))).encode()[7:], 400, "start"),
    "the head of a JSON file": (json.dumps(nested(flat(9))).encode()[:-7], 400, "too early"),
    "blanks": (b" \n ", 400, "empty"),
    "a list without rows": (b"[]", 400, "no rows"),
    "parquet without rows": (parquet(flat(0)), 400, "no rows"),
    "a missing input": (parquet(flat(3, state=None)), 400, "state"),
    "a text for a number": (parquet(flat(3, income=pa.array(["a", "b", "c"]))), 400, "income"),
    "no ids": (parquet(flat(3, partner_inference_id=None)), 400, "partner_inference_id"),
    "two kinds of the same column": (
        parquet(flat(3).append_column("inference_data", pa.array([{"age": 1}] * 3))),
        400,
        "age",
    ),
}


async def test_a_file_that_cannot_be_taken_says_why_and_leaves_nothing(door: FileDoor) -> None:
    for what, (content, status, reason) in BAD_FILES.items():
        answer = await door.send(content)
        assert (answer.status_code, reason in answer.json()["error"]) == (status, True), (what, answer.text)
        assert door.leftovers() == [], what
    assert door.stored() == []
    assert await door.taken(parquet(flat(2))) == (2, 0, []), "and the next one is taken"


async def test_a_file_that_breaks_in_the_middle_takes_in_none_of_its_rows(door: FileDoor) -> None:
    rows = [json.dumps(row) for row in nested(flat(4000))]
    rows[3999] = rows[3999].replace('"age": ', '"age": nonsense')
    content = ("[" + ",".join(rows) + "]").encode()
    answer = await door.send(content)
    assert answer.status_code == 400
    assert door.leftovers() == []
    assert door.stored() == []
    assert await door.post(nested(flat(1))[0]) == [200], "its ids are free again"


FORMS: dict[str, list[Any]] = {
    "nothing": [("other", (None, "x"))],
    "two files": [("inference_data", ("a", parquet(flat(1)))), ("ground_truth_data", ("b", b"[]"))],
    "only images": [("image_data", ("a", b"PK"))],
}


async def test_a_form_must_hold_one_file(door: FileDoor) -> None:
    for what, files in FORMS.items():
        answer = await door.client.post(f"{door.model}/inferences/file", files=files)
        assert answer.status_code == 400, what
        assert "inference_data" in answer.json()["error"], what
    assert door.leftovers() == []


async def test_the_empty_batch_id_that_clients_send_means_none(door: FileDoor) -> None:
    assert await door.taken(parquet(flat(2)), batch_id="") == (2, 0, [])
    answer = await door.send(parquet(flat(2, "x")), batch_id="b1")
    assert (answer.status_code, "batch_id" in answer.json()["error"]) == (400, True)


async def test_other_columns_are_left_out_and_said(door: FileDoor) -> None:
    table = (
        flat(2).append_column("__index_level_0__", pa.array([1, 2])).append_column("colour", pa.array([1, 2]))
    )
    assert (await door.send(parquet(table))).json()["ignored_columns"] == ["colour"]


async def test_labels_in_a_file_of_inferences_go_to_their_own_table(door: FileDoor) -> None:
    when = pa.array(["2026-11-20T00:00:00Z"] * 3)
    table = flat(3, gt=pa.array([1, None, 0]), ground_truth_timestamp=when)
    assert await door.taken(parquet(table)) == (3, 0, [])
    truth = door.stored("ground_truth")
    assert [(t["partner_inference_id"], t["gt"]) for t in truth] == [("r0", 1), ("r2", 0)]
    assert len(door.stored()) == 3


async def test_labels_come_in_a_file_of_their_own_before_or_after_their_inferences(door: FileDoor) -> None:
    when = "2026-11-20T00:00:00+00:00"

    def rows(kind: str) -> list[dict[str, Any]]:
        names = [f"{kind}{i}" for i in range(4)]
        return [
            {"partner_inference_id": name, "ground_truth_timestamp": when, "gt": i % 2}
            for i, name in enumerate(names)
        ]

    inside = [
        {k: v for k, v in row.items() if k != "gt"} | {"ground_truth_data": {"gt": row["gt"]}}
        for row in rows("c")
    ]
    for content in (parquet(pa.Table.from_pylist(rows("a"))), lines(rows("b")), json.dumps(inside).encode()):
        assert await door.taken(content, "ground_truth_data") == (4, 0, [])
    found = door.stored("ground_truth")
    assert sorted((t["partner_inference_id"], t["gt"]) for t in found) == [
        (f"{kind}{i}", i % 2) for kind in "abc" for i in range(4)
    ]
    assert {t["ground_truth_timestamp"] for t in found} == {datetime(2026, 11, 20, tzinfo=UTC)}


async def test_a_label_that_says_nothing_is_refused_by_row(door: FileDoor) -> None:
    rows = {
        "partner_inference_id": ["a", None, "c"],
        "ground_truth_timestamp": [census.NOW] * 3,
        "gt": [1.0, 0.0, 0.5],
    }
    good, bad, failures = await door.taken(parquet(pa.table(rows)), "ground_truth_data")
    assert (good, bad) == (1, 2)
    assert [f.split(": ")[:2] for f in failures] == [["row 2", "partner_inference_id"], ["row 3", "gt"]]


async def test_labels_of_a_file_are_counted_as_labels(door: FileDoor) -> None:
    rows = {
        "partner_inference_id": ["a", "b", None],
        "ground_truth_timestamp": [census.NOW] * 3,
        "gt": [1, 0, 0],
    }
    await door.taken(parquet(pa.table(rows)), "ground_truth_data")
    counted = door.cell.metrics.text().decode()
    for line in (
        'modelwarden_ingest_labels_total{result="accepted"} 2.0',
        'modelwarden_ingest_labels_total{result="refused"} 1.0',
        'modelwarden_ingest_rows_total{result="accepted"} 0.0',
        'modelwarden_ingest_rows_total{result="refused"} 0.0',
    ):
        assert line in counted
    assert (await door.report()).rows.refused == 0


async def test_what_is_not_to_be_kept_is_in_no_file_of_the_volume(tmp_path: Path) -> None:
    table = flat(
        50,
        state=pa.array(["a-secret-state"] * 50),
        note=pa.array(["a-secret-note"] * 50),
        partner_inference_id=pa.array([f"left-out-{i}" for i in range(50)]),
    )
    async with open_file_door(tmp_path, attributes=SENSITIVE, ingest={"sampling": {"share": 0.5}}) as door:
        assert await door.taken(parquet(table, compression=None)) == (50, 0, [])
        kept = door.stored()
        assert 5 < len(kept) < 45
        assert {row["state"] for row in kept} != {"a-secret-state"}
        assert {(row["note"], row["income"]) for row in kept} == {(None, None)}
        rows = (await door.report()).rows
        assert (rows.acknowledged, rows.stored, rows.sampled_out) == (50, len(kept), 50 - len(kept))
        assert await door.post(*nested(table)) == [200] * 50, "files and requests hide and sample alike"
        assert len(door.stored()) == len(kept)
    assert files_with(tmp_path, b"a-secret-") == []


async def test_a_file_of_rows_that_are_all_left_out_is_acknowledged_and_counted(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, ingest={"sampling": {"share": 0}}) as door:
        assert await door.taken(parquet(flat(7))) == (7, 0, [])
        assert door.stored() == []
        rows = (await door.report()).rows
        assert (rows.acknowledged, rows.sampled_out) == (7, 7)
        assert door.leftovers() == []


LIMITS: dict[str, tuple[dict[str, Any], bytes, int, str]] = {
    "the file": ({"maxFileSize": "16Ki"}, parquet(flat(2000), compression=None), 413, "maxFileSize"),
    "columns": ({"maxColumns": 5}, parquet(flat(3)), 413, "maxColumns"),
    "row groups": ({"maxRowGroups": 2}, parquet(flat(30), row_group_size=10), 413, "maxRowGroups"),
    "unpacked bytes": (
        {"maxDecompressedSize": "64Ki"},
        parquet(flat(30_000, note=pa.array(["x" * 100] * 30_000)), use_dictionary=False),
        413,
        "maxDecompressedSize",
    ),
    "a JSON row": ({"maxBodySize": "1Ki"}, json.dumps([{"a": "x" * 9_000_000}]).encode(), 400, "maxBodySize"),
}


async def test_limits_of_a_file_are_named(door: FileDoor) -> None:
    holder = door.cell.settings
    for what, (limits, content, status, named) in LIMITS.items():
        holder.current = census.settings(ingest={"limits": limits})
        answer = await door.send(content)
        assert (answer.status_code, named in answer.json()["error"]) == (status, True), (what, answer.text)
        assert door.leftovers() == [], what


def test_a_small_file_of_one_long_text_many_times_comes_in_small_pieces() -> None:
    table = flat(900, note=pa.array(["x" * 60_000] * 900).dictionary_encode())
    with tempfile.TemporaryFile() as file:
        pq.write_table(table, file)
        assert file.tell() < 1 << 20, "its texts come to 54 MB"
        pieces = ParquetPieces(file, (), ParquetLimits(100, 100, 1 << 30)).pieces(table.column_names)
        sizes = [(piece.num_rows, piece.nbytes) for piece in pieces]
    assert sum(rows for rows, _ in sizes) == 900
    assert max(size for _, size in sizes) <= PIECE_BYTES + (1 << 20)


async def test_a_client_that_breaks_off_leaves_nothing_behind(door: FileDoor) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="inference_data"; filename="x"\r\n\r\n'
    content = parquet(flat(5000))
    assert await door.hang_up([head, content[:1000]]) in (None, 400)
    assert await door.hang_up([head, content, b"\r\n--b"]) in (None, 400)
    assert door.leftovers() == []
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await door.client.post(f"{door.model}/inferences/file", content=head + content, headers=kind)
    assert answer.status_code == 400
    assert door.leftovers() == []
    assert door.stored() == []


async def test_rows_of_a_file_that_is_being_checked_are_told_to_come_again(
    door: FileDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    intake = next(room for room in door.cell.rooms if isinstance(room, FileRoom))._intake

    async def held(*arguments: Any) -> None:
        reached.set()
        await go_on.wait()
        await durable(*arguments)

    durable = intake._durable
    monkeypatch.setattr(intake, "_durable", held)
    sending = asyncio.create_task(door.send(parquet(flat(3))))
    await reached.wait()
    answer = await door.client.post(f"{door.model}/inferences", content=census.body(nested(flat(1))[0]))
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert await door.post(census.row("another")) == [200]
    go_on.set()
    assert (await sending).status_code == 207
    assert await door.post(nested(flat(1))[0]) == [200]
    assert ids(door.stored()) == ["another", "r0", "r1", "r2"]


async def test_a_file_waits_for_rows_that_a_request_has_on_their_way(
    door: FileDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    log = door.cell.store.log
    sync = log._sync

    def slow(fd: int) -> None:
        gate.wait(120)
        sync(fd)

    monkeypatch.setattr(log, "_sync", slow)
    row = nested(flat(1))[0]
    posting = asyncio.create_task(door.post(row))
    await eventually(lambda: len(door.cell.store.ids.on_their_way) == 1)
    sending = asyncio.create_task(door.send(parquet(flat(3))))
    asked = door.cell.store.ids
    await eventually(lambda: asked._open is not None)
    assert not sending.done()
    gate.set()
    assert await posting == [200]
    assert (await sending).json()["counts"]["success"] == 3
    assert ids(door.stored()) == ["r0", "r1", "r2"]


async def test_a_full_log_takes_in_nothing_of_the_file_and_says_when_to_come_again(
    door: FileDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SegmentLog, group: Any) -> None:
        raise LogFullError("the volume is full")

    with monkeypatch.context() as patched:
        patched.setattr(SegmentLog, "_write", full)
        answer = await door.send(parquet(flat(3)))
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
    await eventually(lambda: door.leftovers() == [])
    assert await door.taken(parquet(flat(3, age=pa.array([7, 8, 9])))) == (3, 0, []), "other data, free ids"
    assert len(door.stored()) == 3


async def test_rows_of_files_survive_a_restart_from_the_log(tmp_path: Path) -> None:
    async with open_file_door(tmp_path, pace=3600) as door:
        assert await door.taken(parquet(flat(9))) == (9, 0, [])
        staged = list((tmp_path / "staged").iterdir())
        assert staged, "the rows are in the log's entry, not in the table"
    async with open_file_door(tmp_path) as door:
        assert await door.taken(parquet(flat(9))) == (9, 0, [])
        assert len(door.stored()) == 9
        await eventually(lambda: door.leftovers() == [])


async def test_a_file_whose_entry_may_or_may_not_be_on_the_disk_is_there_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_fd: int) -> None:
        raise OSError(5, "Input/output error")

    async with open_file_door(tmp_path, pace=3600) as door:
        monkeypatch.setattr(door.cell.store.log, "_sync", broken)
        answer = await door.send(parquet(flat(5)))
        assert answer.status_code == 503, "nobody can say whether it is durable"
    async with open_file_door(tmp_path) as door:
        assert await door.taken(parquet(flat(5))) == (5, 0, [])
        assert ids(door.stored()) == [f"r{i}" for i in range(5)]
        await eventually(lambda: door.leftovers() == [])
