"""Rows in over HTTP, labels weeks later, questions over HTTP: complete, and with the numbers of pandas."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import census_like
import httpx
import numpy as np
import pandas as pd
import pytest
from query_rooms import IDENTITY, people, profile_of, until
from reference_rooms import parquet
from sklearn import metrics
from sql_rooms import call

from modelwarden.resources.keys import job_key
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.analysis.profile_format import to_json
from modelwarden_server.apps import Rooms, furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.query.sql.answer import QuerySources
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
MODEL = f"/api/v3/models/{IDENTITY.model_id}"
QUERY = f"{MODEL}/inferences/query"
ROWS = 600
START = pd.Timestamp("2026-03-01T00:00:00Z")
COUNT = call("count")
TOWN = {"property": "town", "comparator": "eq"}


@dataclass
class Asked:
    """A cell, a client with its key, and the rows it was sent."""

    cell: Cell
    rooms: Rooms
    http: httpx.AsyncClient
    data: pd.DataFrame

    async def ask(self, *select: Any, **query: Any) -> list[dict[str, Any]]:
        return (await self.answer(select=list(select), **query))["query_result"]

    async def answer(self, **query: Any) -> dict[str, Any]:
        reply = await self.http.post(QUERY, json=query)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def covered(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The coverage of the newest window, as soon as it is as it should become."""
        await self.ask(COUNT)  # only a question makes the writer write
        found: dict[str, Any] | None = None
        until = time.monotonic() + 120
        while time.monotonic() < until:
            told = (await self.http.get("/status")).json()["coverage"]
            found = None if told is None else told["newest"]
            if found is not None and holds(found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"the coverage stays {found}")

    async def send(self, first: int, last: int) -> None:
        inputs = self.data.iloc[first:last]
        body = [
            {
                "partner_inference_id": f"i-{i}",
                "inference_timestamp": inputs.at[i, "time"].isoformat(),
                "inference_data": {n: inputs.at[i, n] for n in ("age", "income", "town", "remark", "p")},
            }
            for i in inputs.index
        ]
        content = json.dumps(body, default=lambda value: value.item())
        reply = await self.http.post(f"{MODEL}/inferences", content=content)
        assert reply.json()["counts"]["success"] == last - first

    async def label(self, labels: dict[str, int]) -> None:
        body = [
            {
                "partner_inference_id": key,
                "ground_truth_timestamp": "2026-06-01T00:00:00Z",
                "ground_truth_data": {"paid": value},
            }
            for key, value in labels.items()
        ]
        reply = await self.http.patch(f"{MODEL}/inferences", json=body)
        assert reply.json()["counts"]["success"] == len(labels), reply.text


@pytest.fixture
async def asked(tmp_path: Path) -> AsyncIterator[Asked]:
    pace = Pace(rows=10**6, seconds=300)  # only a question makes the writer write
    cell = Cell(IDENTITY, SettingsHolder(census_like.settings(), KEY), tmp_path, pace)
    rooms = furnish(cell)
    headers = {"Authorization": KEY}
    transport = httpx.ASGITransport(store_app(cell), raise_app_exceptions=False)
    data = people(ROWS).to_pandas()
    hours = np.random.default_rng(5).integers(0, 24 * 60, ROWS)
    data["time"] = START + pd.to_timedelta(hours, unit="h") + pd.to_timedelta(range(ROWS), unit="s")
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as http:
        early = await http.post(QUERY, json={"select": ["*"]})
        assert (early.status_code, "Retry-After" in early.headers) == (503, True)
        cell.start()
        await asyncio.to_thread(until, lambda: cell.unready() is None)
        yield Asked(cell, rooms, http, data)
        cell.drain()
        assert await asyncio.to_thread(cell.close, 120)


async def test_labels_sent_weeks_later_give_the_numbers_of_pandas(asked):
    for first in range(0, ROWS, 200):
        await asked.send(first, first + 200)
        assert await asked.ask(COUNT) == [{"count": first + 200}]
    truth = np.random.default_rng(6).integers(0, 2, ROWS)
    await asked.label({f"i-{i}": 1 - int(truth[i]) for i in range(100)})
    await asked.label({f"i-{i}": int(truth[i]) for i in range(0, ROWS, 2)})
    newest = {i: (1 - truth[i] if i % 2 else truth[i]) for i in range(ROWS) if i % 2 == 0 or i < 100}
    data = asked.data.assign(paid=pd.Series(newest))
    given = data.dropna(subset="paid")

    labelled = [{"property": "paid", "comparator": "NotNull"}]
    found = await asked.ask(COUNT, **{"from": "ground_truth"}, filter=labelled)
    assert found == [{"count": len(given)}]
    scores = (await asked.ask(call("accuracyRate"), call("auc"), call("rmse"), call("f1", threshold=0.3)))[0]
    paid = given.paid.astype(int)
    assert scores == {
        "accuracyRate": pytest.approx(metrics.accuracy_score(paid, given.p >= 0.5)),
        "auc": pytest.approx(metrics.roc_auc_score(paid, given.p)),
        "rmse": pytest.approx(metrics.root_mean_squared_error(paid, given.p)),
        "f1": pytest.approx(metrics.f1_score(paid, given.p >= 0.3)),
    }
    by_town = {"property": "town"}
    rows = await asked.ask(call("accuracyRate"), COUNT, by_town, group_by=[by_town], rollup="month")
    months = given.time.dt.strftime("%Y-%m-01T00:00:00Z")
    for row in rows:
        mine = (given.town == row["town"]) & (months == row["rollup"])
        assert row["accuracyRate"] == pytest.approx(metrics.accuracy_score(paid[mine], given.p[mine] >= 0.5))
        everyone = (data.town == row["town"]) & (data.time.dt.strftime("%Y-%m-01T00:00:00Z") == row["rollup"])
        assert row["count"] == everyone.sum()
    assert len(rows) == 6


async def test_labels_that_come_late_raise_the_coverage_that_the_status_and_the_series_tell(asked):
    await asked.send(0, 100)
    await asked.ask(COUNT)
    assert (await asked.http.get("/status")).json()["coverage"] is None, "without a reference nobody counts"
    await profiled(asked)
    newest = int(asked.data.time[:100].argmax())
    await asked.label({f"i-{newest}": 1})
    await asked.covered(lambda window: window["labelled"] == 1)
    await asked.label({f"i-{i}": 1 for i in range(100)})
    window = await asked.covered(lambda window: window["labelled"] == window["rows"])
    assert (window["share"], window["rows"] > 0) == (1.0, True)
    metrics = (await asked.http.get("/metrics")).text
    assert 'modelwarden_label_coverage_ratio{window="newest"} 1.0' in metrics


async def test_one_inference_shows_all_labels_it_ever_had(asked):
    await asked.send(0, 10)
    missing = await asked.http.get(f"{QUERY}/i-99")
    assert (missing.status_code, "no inference" in missing.json()["error"]) == (404, True)
    bare = (await asked.http.get(f"{QUERY}/i-3")).json()
    assert (bare["query_result"][0]["paid"], bare["ground_truth_history"]) == (None, [])
    for value in (1, 0):
        await asked.label({"i-3": value})
    found = (await asked.http.get(f"{QUERY}/i-3")).json()
    row, history = found["query_result"][0], found["ground_truth_history"]
    assert (row["partner_inference_id"], row["age"], row["paid"]) == ("i-3", int(asked.data.age[3]), 0)
    assert [label["ground_truth_data"] for label in history] == [{"paid": 0}, {"paid": 1}]
    assert {label["ground_truth_timestamp"] for label in history} == {"2026-06-01T00:00:00Z"}
    await asked.label({"never/seen": 1})
    waiting = await asked.http.get(f"{QUERY}/never/seen")
    assert (waiting.status_code, "1 labels wait" in waiting.json()["error"]) == (404, True)


async def test_an_answer_that_cannot_be_complete_in_time_is_refused_and_not_given(asked, monkeypatch):
    await asked.send(0, 5)
    monkeypatch.setattr(asked.rooms.answers.questions, "seconds", 0.05)
    writer = asked.cell.store.writer
    with monkeypatch.context() as patch:
        patch.setattr(writer, "_pass", lambda: (_ for _ in ()).throw(OSError("the disk is full")))
        reply = await asked.http.post(QUERY, json={"select": [COUNT]})
        assert (reply.status_code, "Retry-After" in reply.headers) == (503, True)
        single = await asked.http.get(f"{QUERY}/i-3")
        assert single.status_code == 503
    monkeypatch.setattr(asked.rooms.answers.questions, "seconds", 120.0)
    assert await asked.ask(COUNT) == [{"count": 5}]


async def test_too_many_questions_at_once_are_held_then_told_when_to_come_back(asked, monkeypatch):
    await asked.send(0, 5)
    monkeypatch.setattr("modelwarden_server.query.http._WAITING", 8)
    replies = await asyncio.gather(*(asked.http.post(QUERY, json={"select": [COUNT]}) for _ in range(12)))
    codes = sorted(reply.status_code for reply in replies)
    assert codes == [200] * 8 + [429] * 4
    assert all("Retry-After" in reply.headers for reply in replies if reply.status_code == 429)
    assert all(
        reply.json()["query_result"] == [{"count": 5}] for reply in replies if reply.status_code == 200
    )
    assert asked.rooms.busy == 0


async def test_a_file_that_was_replaced_while_it_was_read_is_read_where_it_is_now(asked, monkeypatch):
    await asked.send(0, 5)
    door, complete = asked.rooms.answers.door, asked.rooms.answers.door.sources
    gone = iter([True, False, True, True])

    def sources() -> QuerySources:
        found = complete()
        moved = replace(found.inferences, paths=tuple(p.with_suffix(".old") for p in found.inferences.paths))
        return replace(found, inferences=moved) if next(gone) else found

    monkeypatch.setattr(door, "sources", sources)
    everything = {"select": [{"property": "age"}]}
    assert len((await asked.http.post(QUERY, json=everything)).json()["query_result"]) == 5
    reply = await asked.http.post(QUERY, json=everything)
    assert (reply.status_code, "Retry-After" in reply.headers) == (503, True)


async def test_pages_come_from_the_url(asked):
    await asked.send(0, 30)
    body = {"select": [{"property": "partner_inference_id"}]}
    pages = [
        (await asked.http.post(QUERY, json=body, params={"page": n, "page_size": 12})).json()["query_result"]
        for n in (1, 2, 3)
    ]
    assert [row["partner_inference_id"] for page in pages for row in page] == [f"i-{i}" for i in range(30)]
    for wrong in ({"page": "0"}, {"page_size": "x"}, {"page_size": "1000001"}):
        reply = await asked.http.post(QUERY, json=body, params=wrong)
        assert (reply.status_code, next(iter(wrong)) in reply.json()["error"]) == (400, True)


async def test_what_is_no_query_or_not_for_this_cell_is_refused_in_words(asked):
    for body in (b"", b"[]", b"{", b'{"select": [{"property": "agee"}]}', b"x" * (2 << 20)):
        reply = await asked.http.post(QUERY, content=body)
        assert (reply.status_code, isinstance(reply.json()["error"], str)) == (400, True), body[:50]
    other = await asked.http.post(QUERY.replace(IDENTITY.model_id, "another"), json={"select": ["*"]})
    assert other.status_code == 404
    stranger = {"Authorization": "x"}
    assert (await asked.http.post(QUERY, json={"select": ["*"]}, headers=stranger)).status_code == 401
    assert (await asked.http.get(f"{QUERY}/i-1", headers=stranger)).status_code == 401


WINDOWS: list[dict[str, Any]] = [
    {"select": [COUNT]},
    {"select": [COUNT], "rollup": "hour"},
    {"select": [COUNT, call("rate", **TOWN, value="north")], "rollup": "day"},
    {
        "select": [call("countIf", property="town", comparator="in", value=["north", "south"])],
        "rollup": "month",
    },
    {"select": [call("rate", property="income", comparator="IsNull", value="")], "rollup": "year"},
    {
        "select": [call("roundTimestamp", "at", property="inference_timestamp", time_interval="day"), COUNT],
        "group_by": [{"alias": "at"}],
        "order_by": [{"alias": "at", "direction": "desc"}],
        "limit": 3,
        "offset": 1,
    },
    {
        "select": [COUNT],
        "rollup": "hour",
        "filter": [
            {"property": "inference_timestamp", "comparator": "gte", "value": "2026-03-02T00:05:00Z"},
            {"property": "inference_timestamp", "comparator": "lt", "value": "2026-03-04T07:40:00Z"},
        ],
    },
]
ROWS_ONLY: list[dict[str, Any]] = [
    {"select": [call("avg", property="age")], "rollup": "day"},
    {"select": [COUNT], "rollup": "minute"},
    {
        "select": [COUNT, call("countIf", **TOWN, value="elsewhere")],
        "rollup": "day",
    },
    {"select": [COUNT], "filter": [TOWN | {"value": "north"}]},
    {
        "select": [COUNT],
        "filter": [{"property": "inference_timestamp", "comparator": "gte", "value": "2026-03-02T00:05:01Z"}],
    },
    {"select": [COUNT, {"property": "town"}], "group_by": [{"property": "town"}]},
    {"select": [COUNT], "sample": 0.5},
    {"select": [COUNT], "from": "ground_truth"},
]


async def profiled(asked: Asked) -> None:
    """A reference goes all the way, so that there are partials of its attributes."""
    data = people(2000, seed=9)
    files = [("reference_data", ("x.parquet", parquet(data)))]
    await asked.http.post(f"{MODEL}/reference_data", params={"dataset": "spring"}, files=files)
    closed = (await asked.http.put("/internal/v1/datasets/spring", json={"closed": True})).json()
    profile = ReferenceProfile(closed["contentHash"], 2000, profile_of(data).columns)
    key = {"Authorization": job_key(KEY, "profile", closed["contentHash"])}
    where = f"/internal/v1/artefacts/profile/{closed['contentHash']}"
    assert (await asked.http.put(where, content=to_json(profile), headers=key)).status_code == 200
    async with asyncio.timeout(120):
        while (await asked.http.get("/status")).json()["activeReference"] != "spring":
            await asyncio.sleep(0.01)


async def test_counts_over_windows_come_from_partials_and_are_those_of_the_rows(asked):
    await asked.send(0, ROWS)
    await profiled(asked)
    for query in WINDOWS:
        quick = await asked.answer(**query)
        assert quick["computed_from"] == "partials", query
        # A condition that all rows fulfil, and that no partial knows of, sends the same question to the rows.
        all_rows = {"property": "partner_inference_id", "comparator": "NotNull"}
        slow = await asked.answer(**query | {"filter": [*query.get("filter", []), all_rows]})
        assert slow["computed_from"] == "rows"
        assert quick["query_result"] == slow["query_result"], query
    for query in ROWS_ONLY:
        assert (await asked.answer(**query))["computed_from"] == "rows", query
    reference = await asked.ask(COUNT, call("avg", property="age"), **{"from": "reference"})
    assert reference == [
        {"count": 2000, "avg": pytest.approx(people(2000, seed=9)["age"].to_pandas().mean())}
    ]


async def test_questions_are_timed_by_kind_and_status(asked):
    await asked.ask(COUNT)
    await asked.http.get(f"{QUERY}/nobody")
    text = (await asked.http.get("/metrics")).text
    assert 'modelwarden_query_seconds_count{kind="query",status="200"} 1.0' in text
    assert 'modelwarden_query_seconds_count{kind="inference",status="404"} 1.0' in text
    assert "nobody" not in text
