"""The operator's and the Jobs' doors of reference datasets."""

import hashlib

import pytest
from reference_rooms import IDENTITY, PATH, client_of, frame, open_rooms, parquet

from modelwarden.resources.keys import JobClaim
from modelwarden.resources.report import ReferenceReport
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.profile_format import to_json
from modelwarden_server.web import Caller

COLUMNS = columns_of(IDENTITY.attributes)


async def declare(client, name="spring", **body):
    return await client.put(f"/internal/v1/datasets/{name}", json=body)


async def closed_dataset(client, rows=40) -> str:
    await declare(client)
    await client.post(PATH, files=[("reference_data", ("a.parquet", parquet(frame(rows))))])
    answer = await declare(client, closed=True, totalRecordCount=rows)
    return answer.json()["contentHash"]


def profile_of(rows, content_hash: str) -> ReferenceProfile:
    table = frame(rows)
    columns = tuple(profile_column(c, lambda c=c: table.column(c.name).chunks) for c in COLUMNS)
    return ReferenceProfile(content_hash, rows, columns)


async def put_profile(client, content_hash, content):
    return await client.put(f"/internal/v1/artefacts/profile/{content_hash}", content=content)


async def test_declaring_closing_and_repeating_both_answer_the_dataset(client):
    first = await declare(client)
    assert first.status_code == 200
    assert ReferenceReport.model_validate(first.json()).state == "open"
    await client.post(PATH, files=[("reference_data", ("a.parquet", parquet(frame(40))))])
    for _ in range(2):
        report = ReferenceReport.model_validate(
            (await declare(client, closed=True, totalRecordCount=40)).json()
        )
        assert (report.state, report.records, report.partner_record_count) == ("closed", 40, 40)
        assert report.closed_at is not None
    again = ReferenceReport.model_validate((await declare(client, closed=False)).json())
    assert again.state == "closed", "closed is final"


@pytest.mark.parametrize("count", [41, 0])
async def test_a_count_that_does_not_fit_is_a_409_with_both_numbers_and_stays_open(rooms, client, count):
    await declare(client)
    await client.post(PATH, files=[("reference_data", ("a.parquet", parquet(frame(40))))])
    answer = await declare(client, closed=True, totalRecordCount=count)
    assert answer.status_code == 409
    assert str(count) in answer.json()["error"]
    assert "40" in answer.json()["error"]
    dataset = rooms.store.get("spring")
    assert (dataset.is_open, dataset.message) == (True, answer.json()["error"])


async def test_an_empty_dataset_asked_to_close_stays_open_and_says_so(rooms, client):
    answer = await declare(client, closed=True)
    assert answer.status_code == 409
    assert "no rows" in answer.json()["error"]
    assert "no rows" in (rooms.store.get("spring").message or "")


async def test_a_name_that_is_none_is_a_400(client):
    assert (await declare(client, name="Upper")).status_code == 400


async def test_a_job_gets_the_files_as_the_store_states_them(rooms, client):
    content_hash = await closed_dataset(client)
    rooms.caller = Caller(JobClaim("profile", content_hash))
    listing = (await client.get("/internal/v1/datasets/spring/files")).json()
    assert (listing["contentHash"], listing["records"]) == (content_hash, 40)
    assert [c["name"] for c in listing["columns"]] == [
        "age",
        "income",
        "town",
        "member",
        "since",
        "p",
        "paid",
    ]
    (file,) = listing["files"]
    answer = await client.get(f"/internal/v1/datasets/spring/files/{file['name']}")
    assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (
        file["bytes"],
        file["sha256"],
    )


async def test_a_job_opens_nothing_but_its_own_dataset(rooms, client):
    content_hash = await closed_dataset(client)
    content = to_json(profile_of(40, content_hash))
    for claim in (JobClaim("profile", "0" * 64), JobClaim("train", content_hash)):
        rooms.caller = Caller(claim)
        assert (await client.get("/internal/v1/datasets/spring/files")).status_code == 403
        assert (await client.get("/internal/v1/datasets/spring/files/x.parquet")).status_code == 403
        assert (await put_profile(client, content_hash, content)).status_code == 403
        assert (await declare(client)).status_code == 403


async def test_files_of_an_open_or_unknown_dataset_are_not_given(client):
    await declare(client)
    assert (await client.get("/internal/v1/datasets/spring/files")).status_code == 409
    assert (await client.get("/internal/v1/datasets/autumn/files")).status_code == 404


@pytest.mark.parametrize("file", ["..%2F..%2Fsecret", "_delta_log", "other.parquet"])
async def test_no_other_file_can_be_asked_for(client, file):
    await closed_dataset(client)
    assert (await client.get(f"/internal/v1/datasets/spring/files/{file}")).status_code == 404


async def test_a_profile_settles_the_dataset_and_can_be_read_and_brought_again(rooms, client):
    content_hash = await closed_dataset(client)
    content = to_json(profile_of(40, content_hash))
    assert (await client.get(f"/internal/v1/artefacts/profile/{content_hash}")).status_code == 404
    for _ in range(2):
        answer = await put_profile(client, content_hash, content)
        assert answer.json() == {"profileHash": hashlib.sha256(content).hexdigest()}
    assert (await client.get(f"/internal/v1/artefacts/profile/{content_hash}")).content == content
    assert rooms.store.get("spring").state == "profiled"
    assert rooms.settled
    assert open_rooms(rooms.folder).store.get("spring").state == "profiled"


async def test_a_profile_of_something_else_is_refused_and_changes_nothing(rooms, client):
    content_hash = await closed_dataset(client)
    good = to_json(profile_of(40, content_hash))
    bad = {
        "no JSON": b"{",
        "another dataset": to_json(profile_of(40, "0" * 64)),
        "other rows": to_json(profile_of(41, content_hash)),
        "a column less": to_json(
            ReferenceProfile(content_hash, 40, profile_of(40, content_hash).columns[:-1])
        ),
        "counts that do not add up": good.replace(b'"rows":40', b'"rows":41'),
        "an unknown field": good.replace(b'"rows":40', b'"rows":40,"pickle":"x"'),
        "edges that descend": good.replace(b'"quantiles":[30.0', b'"quantiles":[99.0'),
        "NaN": good.replace(b'"quantiles":[30.0', b'"quantiles":[NaN'),
    }
    for what, content in bad.items():
        assert content != good, what
        assert (await put_profile(client, content_hash, content)).status_code == 400, what
    assert (await put_profile(client, "0" * 64, good)).status_code == 404
    assert (rooms.store.get("spring").state, rooms.settled) == ("closed", [])


async def test_a_failed_job_is_said_in_the_dataset_until_one_succeeds(rooms, client):
    content_hash = await closed_dataset(client)
    failure = f"/internal/v1/artefacts/profile/{content_hash}/failure"
    await client.put(failure, json={"message": "a column is missing"})
    assert (rooms.store.get("spring").state, rooms.store.get("spring").message) == (
        "failed",
        "a column is missing",
    )
    async with client_of(rooms) as other:
        assert (await other.get(PATH, params={"dataset": "spring"})).json()["status"] == "failed"
    await put_profile(client, content_hash, to_json(profile_of(40, content_hash)))
    assert (rooms.store.get("spring").state, rooms.store.get("spring").message) == ("profiled", None)
    await client.put(failure, json={"message": "too late"})
    assert rooms.store.get("spring").state == "profiled"


async def test_the_dataset_to_compare_with_is_the_wanted_one_or_the_last_profiled(rooms, client):
    for name, rows in (("spring", 40), ("summer", 50)):
        await declare(client, name)
        await client.post(
            PATH, params={"dataset": name}, files=[("reference_data", ("a", parquet(frame(rows))))]
        )
        content_hash = (await declare(client, name, closed=True)).json()["contentHash"]
        assert rooms.store.active(name) is None, "closed is not yet profiled"
        await put_profile(client, content_hash, to_json(profile_of(rows, content_hash)))
    assert rooms.store.active(None).name == "summer"
    assert rooms.store.active("spring").name == "spring"
    assert rooms.store.active("autumn") is None, "one that is wanted is waited for, not replaced"


async def test_a_job_that_loads_has_the_doors_of_its_own_source_and_no_others(rooms, client):
    await declare(client, sourceHash="ab" * 32)
    mine, form = (
        f"/internal/v1/datasets/spring/source/{'ab' * 32}",
        [("reference_data", ("a", parquet(frame(7))))],
    )
    for claim, status in (
        (JobClaim("reference", f"spring_{'ab' * 32}"), 200),
        (JobClaim("reference", f"summer_{'ab' * 32}"), 403),
        (JobClaim("reference", f"spring_{'cd' * 32}"), 403),
        (JobClaim("profile", f"spring_{'ab' * 32}"), 403),
    ):
        rooms.caller = Caller(claim)
        assert (await client.post(f"{mine}/begin")).status_code == status, claim
    assert (await client.put("/internal/v1/datasets/spring", json={})).status_code == 403
    rooms.caller = Caller(JobClaim("reference", f"spring_{'ab' * 32}"))
    assert (await client.post(f"{mine}/files", files=form)).json()["counts"]["success"] == 7
    assert (await client.put(f"{mine}/loaded", json={"records": 8})).status_code == 409
    assert (await client.put(f"{mine}/loaded", json={"records": 7})).status_code == 200
    rooms.caller = Caller()
    assert (await client.post(PATH, params={"dataset": "spring"}, files=form)).status_code == 409
    closed = await declare(client, closed=True, sourceHash="ab" * 32)
    assert (closed.json()["state"], closed.json()["records"]) == ("closed", 7)
    rooms.caller = Caller(JobClaim("reference", f"spring_{'ab' * 32}"))
    assert (await client.post(f"{mine}/begin")).status_code == 409, "closed is final, whoever asks"


async def test_a_dataset_that_is_loaded_by_a_job_is_not_what_an_upload_means(rooms, client):
    await declare(client, "loaded", sourceHash="ab" * 32)
    await declare(client, "mine")
    files = [("reference_data", ("a", parquet(frame(4))))]
    assert (await client.post(PATH, files=files)).status_code == 207
    assert (rooms.store.get("mine").records, rooms.store.get("loaded").records) == (4, 0)
