"""Uploading, closing and looking at reference data, as the documented clients do."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reference_rooms import PATH, START, client_of, frame, open_rooms, padded, parquet

START_2026 = 1_767_225_600


async def upload(client, *contents, part="reference_data", **query):
    files = [(part, ("/tmp/x/some-0.parquet", content)) for content in contents]
    return await client.post(PATH, files=files, params=query)


async def close(client, count, **query):
    return await client.patch(PATH, json={"status": "uploaded", "total_record_count": count}, params=query)


def stored(rooms, name="default") -> pa.Table:
    dataset = rooms.store.get(name)
    return pa.concat_tables(pq.read_table(rooms.store.path(name, f.name)) for f in dataset.files)


@pytest.mark.parametrize("part", ["reference_data", "reference_data.parquet"])
async def test_parquet_is_taken_under_both_names_of_the_part(client, part):
    answer = await upload(client, parquet(frame(7)), part=part)
    assert answer.status_code == 207
    assert answer.json() == {"counts": {"success": 7, "failure": 0, "total": 7}, "failures": []}


async def test_several_files_in_one_request_and_in_several_add_up_and_close_with_the_exact_number(
    rooms, client
):
    assert (await upload(client, parquet(frame(7)), parquet(frame(5)))).json()["counts"]["success"] == 12
    assert (await upload(client, parquet(frame(6000)))).json()["counts"]["success"] == 6000
    assert (await close(client, 6012)).json() == {"message": "success"}
    assert stored(rooms).num_rows == 6012
    assert rooms.store.get("default").content_hash is not None


async def test_what_is_stored_is_what_was_sent(rooms, client):
    table = frame(4, income=pa.array([1.5, None, 3.0, 1e300]), town=pa.array(["ü", None, "b", "a"]))
    await upload(client, parquet(table))
    await close(client, 4)
    found = stored(rooms)
    for name in table.column_names:
        assert found.column(name).to_pylist() == table.column(name).to_pylist()


async def test_a_wrong_count_leaves_it_open_and_names_both_numbers(rooms, client):
    await upload(client, parquet(frame(5)))
    answer = await close(client, 6)
    assert answer.status_code == 400
    assert "6" in answer.json()["error"]
    assert "5" in answer.json()["error"]
    assert rooms.store.get("default").is_open
    assert rooms.store.get("default").message == answer.json()["error"]
    assert (await close(client, 5)).status_code == 200


async def test_closing_again_is_a_success_with_the_same_number_only(client):
    await upload(client, parquet(frame(5)))
    assert [(await close(client, n)).status_code for n in (5, 5, 4)] == [200, 200, 400]


async def test_the_count_may_be_left_out(rooms, client):
    await upload(client, parquet(frame(5)))
    assert (await client.patch(PATH, json={"status": "uploaded"})).status_code == 200
    assert rooms.store.get("default").partner_record_count is None


async def test_an_empty_dataset_cannot_be_closed(rooms, client):
    rooms.store.declare("empty")
    answer = await close(client, 0)
    assert answer.status_code == 400
    assert "no rows" in answer.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"status":"uploading"}', b'{"status":"uploaded","total_record_count":"5"}']
)
async def test_a_close_that_says_something_else_is_refused(client, body):
    await upload(client, parquet(frame(5)))
    assert (await client.patch(PATH, content=body)).status_code == 400


async def test_after_the_close_nothing_is_taken(client):
    await upload(client, parquet(frame(5)))
    await close(client, 5)
    answer = await upload(client, parquet(frame(6)))
    assert answer.status_code == 409
    assert "closed" in answer.json()["error"]


async def test_the_same_bytes_sent_again_are_a_success_and_not_doubled(rooms, client):
    first = await upload(client, parquet(frame(5)))
    again = await upload(client, parquet(frame(5)), parquet(frame(5)))
    assert again.status_code == first.status_code == 207
    assert rooms.store.get("default").records == 5


async def test_looking_answers_in_the_documented_shape(client):
    assert (await client.get(PATH)).status_code == 404
    await upload(client, parquet(frame(5)))
    seen = (await client.get(PATH)).json()
    assert {k: seen[k] for k in ("records", "partner_record_count", "status")} == {
        "records": 5,
        "partner_record_count": None,
        "status": "started",
    }
    await close(client, 5)
    closed = (await client.get(PATH)).json()
    assert (closed["records"], closed["partner_record_count"], closed["status"]) == (5, 5, "processing")
    assert {"model_id", "created_at", "updated_at"} <= closed.keys()


async def test_json_is_taken_nested_and_flat(rooms, client):
    row = {
        "age": 30,
        "income": None,
        "town": "a",
        "member": True,
        "since": "2026-01-01T00:00:00Z",
        "p": 0.5,
        "paid": 1.0,
    }
    body = json.dumps([{"reference_data": row}, row, row | {"age": 1.5}], indent=8).encode()
    answer = (await upload(client, body)).json()
    assert answer["counts"] == {"success": 2, "failure": 1, "total": 3}
    assert answer["failures"] == [{"message": "row 3: attribute age must be a whole number", "status": 400}]
    await close(client, 2)
    assert stored(rooms).column("since").to_pylist() == [START, START]
    assert stored(rooms).column("paid").to_pylist() == [1, 1]


BAD_FILES = {
    "an empty part": (b"", "empty"),
    "blanks": (b"  \n ", "empty"),
    "the tail of a parquet file": (parquet(frame(50))[100:], "start"),
    "the head of a parquet file": (parquet(frame(50))[:200], "cannot be read"),
    "a list without rows": (b"[]", "no rows"),
    "parquet without rows": (parquet(frame(0)), "no rows"),
    "broken JSON": (b'[{"age": ', "JSON"),
    "a missing column": (parquet(frame(3, town=None)), "town"),
    "a missing label": (parquet(frame(3, paid=None)), "paid"),
    "text for a number": (parquet(frame(3, age=pa.array(["1", "2", "3"]))), "age"),
    "a number for a text": (parquet(frame(3, town=pa.array([1, 2, 3]))), "town"),
    "a time without a zone": (parquet(frame(3, since=pa.array([START] * 3, pa.timestamp("us")))), "since"),
}


@pytest.mark.parametrize("what", BAD_FILES)
async def test_a_file_that_cannot_be_taken_is_a_400_that_says_why_and_leaves_nothing(rooms, client, what):
    content, reason = BAD_FILES[what]
    answer = await upload(client, parquet(frame(4)), content)
    assert answer.status_code == 400
    assert reason in answer.json()["error"]
    assert rooms.store.get("default").records == 0, "the good file beside it is not taken either"
    assert list((rooms.folder / "uploads").iterdir()) == []
    assert not list((rooms.folder / "tables" / "reference" / "default").glob("*.parquet"))


BAD_ROWS = {
    "a fraction for an integer": ({"age": pa.array([1.0, 2.5, float("nan")])}, [2], "age"),
    "an infinite number": ({"income": pa.array([1.0, float("inf"), 2.0])}, [2], "income"),
    "a prediction that is missing": ({"p": pa.array([None, 0.5, float("nan")])}, [1, 3], "p"),
    "too long a text": ({"town": pa.array(["a", "b", "x" * 101])}, [3], "town"),
    "too large an integer": ({"age": pa.array([1, 2**63, 3], pa.uint64())}, [2], "age"),
    "a text that is no time": ({"since": pa.array(["2026-01-01T00:00:00Z", "soon", None])}, [2], "since"),
}


@pytest.mark.parametrize("what", BAD_ROWS)
async def test_a_bad_row_is_named_by_number_and_attribute_and_the_others_are_taken(rooms, client, what):
    columns, bad, attribute = BAD_ROWS[what]
    answer = (await upload(client, parquet(frame(3, **columns)))).json()
    assert answer["counts"] == {"success": 3 - len(bad), "failure": len(bad), "total": 3}
    assert [f["message"].split(":")[0] for f in answer["failures"]] == [f"row {n}" for n in bad]
    assert all(f"attribute {attribute} " in f["message"] and f["status"] == 400 for f in answer["failures"])
    assert rooms.store.get("default").records == 3 - len(bad)


async def test_row_numbers_count_through_the_whole_file_and_only_the_first_are_told(client):
    rows = 70_000
    ages = pa.array([1.5 if i >= 66_000 else 1.0 for i in range(rows)])
    answer = (await upload(client, parquet(frame(rows, age=ages)))).json()
    assert answer["counts"]["failure"] == 4000
    assert len(answer["failures"]) == 100
    assert answer["failures"][0]["message"].startswith("row 66001:")


async def test_types_that_mean_the_same_are_taken(rooms, client):
    table = frame(
        3,
        age=pa.array([1.0, None, 3.0]),
        income=pa.array([1, 2, 3], pa.int32()),
        town=pa.array(["a", "b", "a"]).dictionary_encode(),
        since=pa.array(["2026-01-01T01:00:00+01:00"] * 3),
        paid=pa.nulls(3),
    )
    assert (await upload(client, parquet(table))).json()["counts"]["success"] == 3
    await close(client, 3)
    found = stored(rooms)
    assert found.column("age").to_pylist() == [1, None, 3]
    assert found.column("since").to_pylist() == [START] * 3
    assert found.column("town").to_pylist() == ["a", "b", "a"]


async def test_other_columns_are_left_out_and_said(client):
    table = frame(3).append_column("__index_level_0__", pa.array([1, 2, 3]))
    table = table.append_column("colour", pa.array(["r", "g", "b"])).append_column(
        "not_p", pa.array([0.1] * 3)
    )
    assert (await upload(client, parquet(table))).json()["ignored_columns"] == ["colour"]


async def test_a_form_without_the_part_names_the_parts(client):
    answer = await client.post(PATH, files=[("file", ("a.parquet", b"PAR1"))])
    assert answer.status_code == 400
    assert "reference_data" in answer.json()["error"]
    plain = await client.post(PATH, content=parquet(frame(3)))
    assert plain.status_code == 400
    assert "multipart/form-data" in plain.json()["error"]


async def test_a_form_that_ends_too_early_is_refused_and_leaves_nothing(rooms, client):
    body = b'--b\r\nContent-Disposition: form-data; name="reference_data"\r\n\r\n' + parquet(frame(3))
    answer = await client.post(
        PATH, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400
    assert list((rooms.folder / "uploads").iterdir()) == []


async def test_bounds_of_a_request(tmp_path):
    rooms = open_rooms(tmp_path, max_file_bytes=20_000, max_parts=2)
    async with client_of(rooms) as client:
        many = await upload(client, *[parquet(frame(n)) for n in (1, 2, 3)])
        assert many.status_code == 413
        large = await upload(client, parquet(frame(3)) + bytes(40_000))
        assert large.status_code == 413
        other = await client.post(PATH, files=[("image_data", ("i.zip", bytes(70_000)))])
        assert other.status_code in (400, 413)
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_a_nearly_full_volume_is_a_503_that_may_be_tried_again(tmp_path):
    rooms = open_rooms(tmp_path, reserve=shutil.disk_usage(tmp_path).total, reserve_share=1.0)
    async with client_of(rooms) as client:
        answer = await upload(client, parquet(frame(3)))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0


async def test_uploads_go_to_the_one_open_declared_dataset(rooms, client):
    rooms.store.declare("spring")
    await upload(client, parquet(frame(3)))
    assert rooms.store.get("spring").records == 3
    rooms.store.declare("summer")
    ambiguous = await upload(client, parquet(frame(4)))
    assert ambiguous.status_code == 400
    assert "spring, summer" in ambiguous.json()["error"]
    assert (await upload(client, parquet(frame(4)), dataset="summer")).status_code == 207
    assert (await close(client, 3, dataset="spring")).status_code == 200
    assert (await upload(client, parquet(frame(5)))).status_code == 207
    assert rooms.store.get("summer").records == 9


@pytest.mark.parametrize("name", ["..", "a/b", "UPPER", "", "-a", "x" * 64])
async def test_a_dataset_name_that_is_no_name_is_refused(client, name):
    assert (await upload(client, parquet(frame(3)), dataset=name)).status_code == 400


async def test_a_new_process_finds_everything_and_no_leftovers(rooms, client, tmp_path):
    await upload(client, parquet(frame(5)))
    await upload(client, parquet(frame(6)), dataset="other")
    await close(client, 6, dataset="other")
    staged = rooms.store.stage("default", padded(frame(9), rooms.store.schema).to_batches())
    (tmp_path / "uploads" / "upload-half").write_bytes(b"PAR1")
    again = open_rooms(tmp_path)
    assert {d.name: (d.state, d.records) for d in again.store.all()} == {
        "default": ("open", 5),
        "other": ("closed", 6),
    }
    assert again.store.get("other") == rooms.store.get("other")
    assert not (tmp_path / "tables" / "reference" / "default" / staged.name).exists()
    assert list((tmp_path / "uploads").iterdir()) == []
    async with client_of(again) as second:
        assert (await upload(second, parquet(frame(5)))).status_code == 207
    assert again.store.get("default").records == 5, "known bytes are known after a restart too"


def test_equal_contents_have_equal_hashes_and_others_have_not(tmp_path):
    def closed(name: str, rows: int) -> str | None:
        store = open_rooms(tmp_path / name).store
        file = store.stage("a", padded(frame(rows), store.schema).to_batches())
        from modelwarden_server.store.reference import Upload

        store.commit("a", [Upload(name, file)])
        return store.close("a", rows).content_hash

    assert closed("one", 5) == closed("two", 5) != closed("three", 6)


async def test_files_that_may_not_be_on_the_disk_are_not_acknowledged_and_end_the_process(
    rooms, client, monkeypatch
):
    told: list[str] = []
    rooms.door.fatal = told.append

    def no_disk(path):
        raise OSError(5, "Input/output error")

    await upload(client, parquet(frame(3)))
    monkeypatch.setattr("modelwarden_server.store.delta.sync_file", no_disk)
    answer = await upload(client, parquet(frame(4)))
    assert answer.status_code == 503
    assert "Input/output error" in told[0]


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        (["2026-01-01T00:00:00Z", "2026-01-02T00:00:00+01:00"], [START_2026, START_2026 + 23 * 3600]),
        (["2026-01-01T00:00:00Z", "yesterday"], [START_2026, None]),
        (pa.array([START_2026, START_2026 + 1], pa.timestamp("s")), [START_2026, START_2026 + 1]),
        (pa.array([7, 8]), [None, None]),
    ],
)
async def test_reference_rows_may_say_when_they_happened(rooms, client, times, kept):
    table = frame(2).append_column("inference_timestamp", times if isinstance(times, pa.Array) else [times])
    assert (await upload(client, parquet(table))).json()["counts"]["success"] == 2
    await close(client, 2)
    (file,) = rooms.store.get("default").files
    found = pq.read_table(rooms.store.path("default", file.name)).column("inference_timestamp")
    assert [t if t is None else int(t.timestamp()) for t in found.to_pylist()] == kept
