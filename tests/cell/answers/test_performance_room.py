"""How well a model does, asked of a whole cell in process: sums and rows agree with scikit-learn, the status
tells a verdict, and what cannot be answered is refused by name.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import census_like
import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import pytest_asyncio
from outcome_rooms import IDENTITY
from prometheus_client import generate_latest
from query_rooms import until
from reference_rooms import parquet
from sklearn import metrics as sk

from modelwarden.resources.keys import job_key
from modelwarden.resources.monitoring import Segment
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.profile_format import to_json
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
MODEL = f"/api/v3/models/{IDENTITY.model_id}"
ASKED = f"{MODEL}/performance"
DAY = np.datetime64("2026-03-01T00:00:00")
OLD = Segment.model_validate(
    {"name": "old", "where": [{"attribute": "age", "comparator": "gte", "values": ["60"]}]}
)


def people(rows: int, seed: int, *, turned: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 2, rows)
    risk = 1 - p if turned else p
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "sex": rng.choice(["f", "m"], rows),
            "p": p,
            "paid": (rng.random(rows) < risk).astype(int),
        }
    )


@dataclass
class Whole:
    """A cell and a client with its key."""

    cell: Cell
    http: httpx.AsyncClient

    async def reference(self) -> None:
        data = people(3000, seed=1)
        table = pa.Table.from_pandas(data, preserve_index=False)
        files = [("reference_data", ("x.parquet", parquet(table)))]
        await self.http.post(f"{MODEL}/reference_data", params={"dataset": "train"}, files=files)
        closed = (await self.http.put("/internal/v1/datasets/train", json={"closed": True})).json()
        columns = columns_of(IDENTITY.attributes)
        profiles = tuple(profile_column(c, lambda c=c: table.column(c.name).chunks) for c in columns)
        profile = ReferenceProfile(closed["contentHash"], 3000, profiles)
        key = {"Authorization": job_key(KEY, "profile", closed["contentHash"])}
        where = f"/internal/v1/artefacts/profile/{closed['contentHash']}"
        assert (await self.http.put(where, content=to_json(profile), headers=key)).status_code == 200

    async def day(self, number: int, data: pd.DataFrame, labelled: float = 1.0) -> None:
        """Rows of one day, and labels of some of them."""
        first = number * 100_000
        times = DAY + np.timedelta64(number, "D") + (np.arange(len(data)) * 20).astype("timedelta64[s]")
        rows = [
            {"partner_inference_id": f"i-{first + i}", "inference_timestamp": f"{at}Z", "inference_data": row}
            for i, (at, row) in enumerate(
                zip(times, data.drop(columns="paid").to_dict("records"), strict=True)
            )
        ]
        sent = (await self.http.post(f"{MODEL}/inferences", json=rows)).json()
        assert sent["counts"]["success"] == len(rows), sent
        many = int(labelled * len(data))
        labels = [
            {"partner_inference_id": f"i-{first + i}", "ground_truth_timestamp": "2026-03-20T00:00:00Z",
             "ground_truth_data": {"paid": int(paid)}}
            for i, paid in enumerate(data.paid[:many])
        ]  # fmt: skip
        if labels:
            sent = (await self.http.patch(f"{MODEL}/inferences", json=labels)).json()
            assert sent["counts"]["success"] == many, sent
        await self.ask()  # brings to the tables what was acknowledged

    async def ask(self, **asked: str) -> dict:
        found = await self.http.get(ASKED, params=asked)
        assert found.status_code == 200, found.text
        return found.json()

    async def refused(self, **asked: str) -> str:
        found = await self.http.get(ASKED, params=asked)
        assert found.status_code == 400, found.text
        return found.json()["error"]

    async def told(self, holds) -> dict:
        async with asyncio.timeout(120):
            while True:
                told = (await self.http.get("/status")).json()["performance"]
                if told is not None and holds(told):
                    return told
                await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Whole]:
    settings = census_like.settings()
    monitoring = settings.monitoring.model_copy(update={"segments": (OLD,), "minimum_rows": 200})
    settings = settings.model_copy(update={"monitoring": monitoring})
    cell = Cell(IDENTITY, SettingsHolder(settings, KEY), folder, Pace(rows=10**6, seconds=300))
    furnish(cell)
    transport = httpx.ASGITransport(store_app(cell), raise_app_exceptions=False)
    headers = {"Authorization": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as http:
        cell.start()
        await asyncio.to_thread(until, lambda: cell.unready() is None)
        try:
            yield Whole(cell, http)
        finally:
            cell.drain()
            assert await asyncio.to_thread(cell.close, 120)


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[Whole]:
    async with serving(tmp_path) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_days(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Whole, pd.DataFrame]]:
    """A cell that is only asked, and the rows of its first day, 1200 of them labelled."""
    async with serving(tmp_path_factory.mktemp("cell")) as found:
        await found.reference()
        data = people(1500, seed=2)
        await found.day(0, data, labelled=0.8)
        await found.day(1, people(300, seed=4), labelled=0.5)
        yield found, data


def expected(data: pd.DataFrame, threshold: float) -> dict[str, float]:
    said = data.p >= threshold
    return {
        "accuracy": sk.accuracy_score(data.paid, said),
        "precision": sk.precision_score(data.paid, said),
        "recall": sk.recall_score(data.paid, said),
        "f1": sk.f1_score(data.paid, said),
        "log_loss": sk.log_loss(data.paid, data.p),
        "brier": sk.brier_score_loss(data.paid, data.p),
    }


def values(found: dict) -> dict[str, float]:
    names = ("accuracy", "precision", "recall", "f1", "log_loss", "brier")
    return {name: found["metrics"][name]["value"] for name in names}


@pytest.mark.asyncio(loop_scope="module")
async def test_sums_and_rows_both_give_scikit_learns_values(two_days):
    whole, data = two_days
    day = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
    known = data[:1200]
    found = await whole.ask(**day)
    window = found["query_result"][0]
    assert (found["source"], window["rows"], window["labelled"]) == ("partials", 1500, 1200)
    assert window["provisional"]
    assert values(window) == pytest.approx(expected(known, 0.5), abs=1e-7)
    bound = 0.001
    assert window["metrics"]["auc"]["value"] == pytest.approx(
        sk.roc_auc_score(known.paid, known.p), abs=bound
    )
    assert window["metrics"]["accuracy"]["baseline"] == pytest.approx(0.69, abs=0.03)
    other = await whole.ask(**day, threshold="0.37", segment="old")
    assert values(other["query_result"][0]) == pytest.approx(expected(known[known.age >= 60], 0.37), abs=1e-7)
    groups = (await whole.ask(**day, attribute="sex"))["query_result"][0]["groups"]
    women = next(group for group in groups if group["group"] == "f")
    assert values(women) == pytest.approx(expected(known[known.sex == "f"], 0.5), abs=1e-7)
    off = await whole.ask(**day, threshold="0.12345")
    assert off["source"] == "rows"
    assert values(off["query_result"][0]) == pytest.approx(expected(known, 0.12345), abs=1e-7)
    condition = json.dumps([{"property": "age", "comparator": "lt", "value": 30}])
    young = await whole.ask(**day, filter=condition, rollup="day")
    assert (young["source"], young["query_result"][0]["start"]) == ("rows", "2026-03-01T00:00:00Z")
    assert values(young["query_result"][0]) == pytest.approx(expected(known[known.age < 30], 0.5), abs=1e-7)


QUESTIONS = [
    {"function": "accuracyRate"},
    {"function": "recall", "parameters": {"threshold": 0.37}},
    {
        "function": "confusionMatrix",
        "parameters": {"predicted_property": "p", "ground_truth_property": "paid"},
    },
    {"function": "confusionMatrixRate", "parameters": {"threshold": 0.8}},
    {"function": "f1"},
    {"function": "balancedAccuracyRate"},
    {"function": "count"},
]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_query_api_gives_from_sums_what_it_gives_from_rows(two_days):
    whole, _ = two_days
    asked = {"select": [q | {"alias": f"v{n}"} for n, q in enumerate(QUESTIONS)], "rollup": "day"}
    by_sums = (await whole.http.post(f"{MODEL}/inferences/query", json=asked)).json()
    # One that only rows can tell makes rows tell the others too.
    more = asked | {"select": [*asked["select"], {"function": "auc", "alias": "auc"}]}
    by_rows = (await whole.http.post(f"{MODEL}/inferences/query", json=more)).json()
    assert (by_sums["computed_from"], by_rows["computed_from"]) == ("partials", "rows")
    assert len(by_sums["query_result"]) == 2
    for one, other in zip(by_sums["query_result"], by_rows["query_result"], strict=True):
        del other["auc"]
        assert one == other


async def test_the_status_tells_a_model_that_got_worse_and_prometheus_reads_it(whole):
    await whole.reference()
    await whole.day(0, people(600, seed=10))
    calm = await whole.told(lambda told: told["labelled"] == 600 and told["by"] == "labels")
    assert (calm["worse"], calm["provisional"]) == (False, False)
    for number in (1, 2):
        await whole.day(number, people(600, seed=20 + number, turned=True))
    told = await whole.told(lambda told: told["worse"])
    assert told["by"] == "labels"
    assert "the reference has" in told["reason"]
    first = told["metrics"][0]
    assert (first["metric"], first["worse"]) == ("accuracy", True)
    assert first["upper"] < first["baseline"]
    text = generate_latest(whole.cell.metrics.registry).decode()
    assert 'modelwarden_performance{estimated="false",metric="accuracy",segment=""}' in text
    assert "modelwarden_performance_worse 1.0" in text


async def test_without_labels_the_newest_window_is_estimated(whole):
    await whole.reference()
    data = people(600, seed=30)
    await whole.day(0, data, labelled=0.0)
    told = await whole.told(lambda told: told["estimated"] is not None and told["estimated"]["trusted"])
    assert (told["worse"], told["by"], told["labelled"]) == (False, "estimate", 0)
    accuracy = next(m for m in told["estimated"]["metrics"] if m["metric"] == "accuracy")
    real = sk.accuracy_score(data.paid, data.p >= 0.5)
    assert accuracy["lower"] < real < accuracy["upper"]
    assert accuracy["baseline"] is not None


@pytest.mark.asyncio(loop_scope="module")
async def test_a_question_about_what_the_model_has_not_is_refused_by_parameter(two_days):
    whole, _ = two_days
    for asked, why in [
        ({"class": "q"}, "class: must be one of the predicted attributes: p, not_p"),
        ({"segment": "rich"}, "segment: must be a declared one: old"),
        ({"attribute": "height"}, "attribute: there is no 'height'"),
        ({"batch_id": "b1"}, "batch_id: this model has no batches"),
        ({"threshold": "2"}, "threshold: must be a number from 0 to 1"),
        ({"filter": '[{"property": "height", "comparator": "eq", "value": 1}]'}, "there is no 'height'"),
    ]:
        assert why in await whole.refused(**asked)
