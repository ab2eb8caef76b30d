"""The answers of a whole cell in process: which reference counts, what is included, what is refused when."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import census_like
import httpx
import numpy as np
import pytest
from query_rooms import IDENTITY, people, profile_of, until
from reference_rooms import parquet

from modelwarden.resources.keys import job_key
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.analysis.profile_format import to_json
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.schema.digest import id_keys
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
MODEL = f"/api/v3/models/{IDENTITY.model_id}"
DRIFT = f"{MODEL}/inferences/query/data_drift"
AGE = {
    "properties": ["age"],
    "metric": "PSI",
    "base": {"source": "reference"},
    "target": {"source": "inference"},
}


@dataclass
class Whole:
    """A cell and a client with its key."""

    cell: Cell
    http: httpx.AsyncClient

    async def profiled(self, name: str, rows: int, seed: int, older: float = 0.0) -> None:
        """A dataset goes all the way: uploaded, closed, profiled."""
        data = people(rows, seed=seed, older=older)
        files = [("reference_data", ("x.parquet", parquet(data)))]
        await self.http.post(f"{MODEL}/reference_data", params={"dataset": name}, files=files)
        closed = (await self.http.put(f"/internal/v1/datasets/{name}", json={"closed": True})).json()
        profile = ReferenceProfile(closed["contentHash"], rows, profile_of(data).columns)
        key = {"Authorization": job_key(KEY, "profile", closed["contentHash"])}
        where = f"/internal/v1/artefacts/profile/{closed['contentHash']}"
        assert (await self.http.put(where, content=to_json(profile), headers=key)).status_code == 200

    async def send(self, rows: int, first: int = 0, older: float = 0.0) -> None:
        data = people(rows, seed=first + 1, older=older).drop_columns(["paid"]).to_pylist()
        start = np.datetime64("2026-03-01T00:00:00")
        body = [
            {
                "partner_inference_id": f"i-{first + i}",
                "inference_timestamp": f"{start + np.timedelta64(first + i, 's')}Z",
                "inference_data": row,
            }
            for i, row in enumerate(data)
        ]
        assert (await self.http.post(f"{MODEL}/inferences", json=body)).json()["counts"]["success"] == rows

    async def status(self) -> dict:
        return (await self.http.get("/status")).json()

    async def active(self, name: str | None) -> None:
        """Wait until that dataset is the one compared with."""
        async with asyncio.timeout(120):
            while True:
                if (await self.status())["activeReference"] == name:
                    return
                await asyncio.sleep(0.01)

    async def verdict_of(self, rows: int) -> None:
        """Wait until the verdict in the status, which is not computed anew for every look, counts so many."""
        async with asyncio.timeout(120):
            while ((await self.status())["drift"] or {}).get("rows") != rows:
                await asyncio.sleep(0.01)


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    cell = Cell(
        IDENTITY, SettingsHolder(census_like.settings(), KEY), tmp_path, Pace(rows=10**6, seconds=300)
    )
    furnish(cell)
    headers = {"Authorization": KEY}
    transport = httpx.ASGITransport(store_app(cell), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as http:
        early = await http.post(DRIFT, json=AGE)
        assert (early.status_code, "Retry-After" in early.headers) == (503, True)
        cell.start()
        await asyncio.to_thread(until, lambda: cell.unready() is None)
        yield Whole(cell, http)
        cell.drain()
        assert await asyncio.to_thread(cell.close, 120)


async def test_an_answer_includes_every_row_acknowledged_before_it_was_asked(whole):
    await whole.profiled("spring", 2000, seed=5)
    await whole.active("spring")
    for first in range(0, 400, 100):
        await whole.send(100, first)
        answer = (await whole.http.post(DRIFT, json=AGE | {"rollup": "year"})).json()
        assert answer["query_result"][0]["age"] >= 0
        assert (await whole.status())["rows"]["stored"] == first + 100
        await whole.verdict_of(first + 100)


async def test_the_last_closed_dataset_counts_unless_the_settings_name_another(whole):
    await whole.send(500)
    assert (await whole.http.post(DRIFT, json=AGE)).status_code == 400
    await whole.profiled("spring", 2000, seed=5)
    await whole.active("spring")
    near = (await whole.http.post(DRIFT, json=AGE)).json()["query_result"][0]["age"]
    await whole.profiled("older", 2000, seed=6, older=20)
    await whole.active("older")
    far = (await whole.http.post(DRIFT, json=AGE)).json()["query_result"][0]["age"]
    assert near < 0.1 < far
    holder = whole.cell.settings
    holder.current = holder.current.model_copy(update={"reference_ref": "spring"})
    await whole.active("spring")
    again = (await whole.http.post(DRIFT, json=AGE)).json()
    assert again["query_result"][0]["age"] == near
    assert again["computed_from"] == "partials"


async def test_a_reference_that_is_named_but_not_there_is_waited_for(whole):
    holder = whole.cell.settings
    holder.current = holder.current.model_copy(update={"reference_ref": "later"})
    await whole.send(300)
    await whole.profiled("spring", 2000, seed=5)
    status = await whole.status()
    assert status["activeReference"] is None
    answer = await whole.http.post(DRIFT, json=AGE)
    assert (answer.status_code, "reference" in answer.json()["error"]) == (400, True)
    await whole.profiled("later", 2000, seed=5)
    await whole.active("later")


async def test_only_this_models_id_and_key_are_answered(whole):
    other = await whole.http.post(DRIFT.replace(IDENTITY.model_id, "another"), json=AGE)
    assert other.status_code == 404
    assert (await whole.http.post(DRIFT, json=AGE, headers={"Authorization": "x"})).status_code == 401
    job = job_key(KEY, "profile", "0" * 64)
    assert (await whole.http.post(DRIFT, json=AGE, headers={"Authorization": job})).status_code == 403


async def test_an_archived_model_takes_no_reference_data_but_answers(whole):
    await whole.profiled("spring", 2000, seed=5)
    await whole.active("spring")
    await whole.send(300)
    holder = whole.cell.settings
    holder.current = holder.current.model_copy(update={"archived": True})
    files = [("reference_data", ("x.parquet", parquet(people(10))))]
    refused = await whole.http.post(f"{MODEL}/reference_data", params={"dataset": "new"}, files=files)
    assert (refused.status_code, "archived" in refused.json()["error"]) == (409, True)
    assert (await whole.http.post(DRIFT, json=AGE)).status_code == 200


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"properties": "age"}', b"x" * (2 << 20)])
async def test_a_body_that_is_no_query_is_a_400(whole, body):
    assert (await whole.http.post(DRIFT, content=body)).status_code == 400


async def test_every_question_about_distributions_has_its_door(whole):
    await whole.profiled("spring", 2000, seed=5)
    await whole.active("spring")
    await whole.send(400)
    labels = [
        {
            "partner_inference_id": f"i-{i}",
            "ground_truth_timestamp": "2026-04-01T00:00:00Z",
            "ground_truth_data": {"paid": i % 2},
        }
        for i in range(300)
    ]
    assert (await whole.http.patch(f"{MODEL}/ground_truth", json=labels)).json()["counts"]["success"] == 300
    sides = {"base": {"source": "reference"}, "target": {"source": "inference"}}
    asked = {
        "data_drift": sides | {"properties": ["paid"], "metric": "JSDivergence"},
        "data_drift_psi_bucket_calculation_table": sides | {"property": "age"},
        "data_quality": {"properties": ["age", "income"]},
        "distributions": {"x": {"property": "paid", "num_bins": 2}},
    }
    found = {}
    for name, body in asked.items():
        answer = await whole.http.post(f"{MODEL}/inferences/query/{name}", json=body)
        assert answer.status_code == 200, answer.text
        found[name] = answer.json()["query_result"]
    assert found["data_drift"][0]["paid"] == pytest.approx(0, abs=0.01)
    assert sum(r["target_count_per_bucket"] for r in found["data_drift_psi_bucket_calculation_table"]) == 400
    assert found["data_quality"][0]["rows"] == 400
    assert [row["count"] for row in found["distributions"]] == [150, 150]
    wrong = await whole.http.post(f"{MODEL}/inferences/query/data_quality", json={"properties": ["x"]})
    assert (wrong.status_code, "properties" in wrong.json()["error"]) == (400, True)
    quality = (await whole.status())["dataQuality"]
    assert quality["lag"]["p95Seconds"] is not None


async def test_no_index_of_any_room_holds_an_id_that_was_forgotten(whole):
    upkeep = whole.cell.store.maintenance
    upkeep.pace = replace(upkeep.pace, look=0.02, grace=0.0)
    await whole.profiled("spring", 2000, seed=5)
    await whole.active("spring")
    await whole.send(300)
    labels = [
        {
            "partner_inference_id": f"i-{i}",
            "ground_truth_timestamp": "2026-04-01T00:00:00Z",
            "ground_truth_data": {"paid": i % 2},
        }
        for i in range(200)
    ]
    assert (await whole.http.patch(f"{MODEL}/ground_truth", json=labels)).status_code == 207
    assert (await whole.http.post(DRIFT, json=AGE | {"properties": ["paid"]})).status_code == 200
    asked = (
        await whole.http.post(f"{MODEL}/forget", json={"partner_inference_ids": ["i-7", "i-250"]})
    ).json()
    async with asyncio.timeout(120):
        while (await whole.http.get(f"{MODEL}/forget/{asked['id']}")).json()["state"] != "done":
            await asyncio.sleep(0.02)
    assert holding(whole.cell.folder, "i-7", "i-250") == []
    assert holding(whole.cell.folder, "i-8") != [], "they are kept by the hash that was looked for"


def holding(folder: Path, *names: str) -> list[str]:
    """Files that hold the key of one of these ids, or the id itself."""
    asked = [*(key.tobytes() for key in id_keys(list(names))), *(f'"{name}"'.encode() for name in names)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(found in path.read_bytes() for found in asked)]
