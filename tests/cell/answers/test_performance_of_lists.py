"""Ranked lists, tokens and several labels, asked of a whole cell in process: sums give what rows give, also
after late and replaced labels, by group and by day; what sums do not hold is read from rows.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import census_like
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_stories import attribute, categories
from query_rooms import until

from modelwarden_server.analysis.performance.groups import group_rules
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.list_metrics import ranked_metrics
from modelwarden_server.analysis.performance.outcome import outcome_of_lists
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.query.performance.baseline import ReferenceRows, counted
from modelwarden_server.schema.compiled import ARROW_TYPES
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
SEX = attribute("sex", "STRING", "PIPELINE_INPUT", 0, monitorForBias=True, **categories("f", "m"))
OFFERS = [
    SEX,
    attribute("offers", "RANKED_LIST", "PREDICTED_VALUE", 0, attributeLink="bought"),
    attribute("bought", "ARRAY(STRING)", "GROUND_TRUTH", 0, attributeLink="offers"),
]
ODDS = [SEX, attribute("odds", "TOKEN_LIKELIHOODS", "PREDICTED_VALUE", 0)]
TOPICS = [
    SEX,
    *(attribute(f"p{n}", "FLOAT", "PREDICTED_VALUE", n, attributeLink=f"y{n}") for n in (0, 1)),
    *(attribute(f"y{n}", "INTEGER", "GROUND_TRUTH", n, attributeLink=f"p{n}") for n in (0, 1)),
]
ITEMS = [f"item {n}" for n in range(25)]
# True of every row, and no sum knows it.
BY_ROWS = json.dumps([{"property": "sex", "comparator": "in", "value": ["f", "m"]}])
MARCH = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-04T00:00:00Z"}


class Asked:
    """A client of one cell."""

    def __init__(self, cell: Cell, http: httpx.AsyncClient) -> None:
        self._model, self.http = f"/api/v3/models/{cell.identity.model_id}", http

    async def send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Row n as `i-n`, a hundred a day."""
        sent = [
            {"partner_inference_id": f"i-{n}", "inference_timestamp": f"2026-03-0{1 + n // 100}T00:00:00Z",
             "inference_data": dict(row)}
            for n, row in enumerate(rows)
        ]  # fmt: skip
        told = (await self.http.post(f"{self._model}/inferences", json=sent)).json()
        assert told["counts"]["success"] == len(rows), told

    async def label(self, labels: Mapping[int, Mapping[str, Any]]) -> None:
        sent = [
            {"partner_inference_id": f"i-{n}", "ground_truth_timestamp": "2026-03-20T00:00:00Z",
             "ground_truth_data": dict(label)}
            for n, label in labels.items()
        ]  # fmt: skip
        told = (await self.http.patch(f"{self._model}/inferences", json=sent)).json()
        assert told["counts"]["success"] == len(labels), told

    async def ask(self, **parameters: str) -> dict[str, Any]:
        found = await self.http.get(f"{self._model}/performance", params=parameters)
        assert found.status_code == 200, found.text
        return found.json()

    async def query(self, function: str, **parameters: int) -> None:
        """A function of a query by day, by sums and by rows."""
        one = {"function": function, "parameters": parameters, "alias": "v"}
        asked: dict[str, Any] = {"select": [one], "rollup": "day"}
        told = []
        for more, source in (({}, "partials"), ({"filter": json.loads(BY_ROWS)}, "rows")):
            found = await self.http.post(f"{self._model}/inferences/query", json=asked | more)
            assert found.json()["computed_from"] == source, (function, found.text)
            told.append([day["v"] for day in found.json()["query_result"]])
        assert len(told[0]) == 3
        assert told[0] == pytest.approx(told[1], abs=1e-8)

    async def both(self, **parameters: str) -> list[dict[str, Any]]:
        """The windows by sums; rows say the same."""
        by_sums = await self.ask(**parameters)
        by_rows = await self.ask(**parameters, filter=BY_ROWS)
        assert (by_sums["source"], by_rows["source"]) == ("partials", "rows")
        assert len(by_sums["query_result"]) == len(by_rows["query_result"])
        for one, other in zip(by_sums["query_result"], by_rows["query_result"], strict=True):
            assert (one["start"], one["rows"]) == (other["start"], other["rows"])
            for name in ("labelled", "coverage", "provisional"):
                assert one[name] == other[name], name
            for name, metric in other["metrics"].items():
                # Scores within one bin of the grid are a tie to the sums.
                bound = 0.01 if name.startswith("auc") else 1e-6
                assert one["metrics"][name]["value"] == pytest.approx(metric["value"], abs=bound), name
        return by_sums["query_result"]


@contextlib.asynccontextmanager
async def serving(folder: Path, attributes: list[dict], **spec: Any) -> AsyncIterator[Asked]:
    settings = SettingsHolder(census_like.settings(), KEY)
    cell = Cell(census_like.identity(attributes, **spec), settings, folder, Pace(rows=10**6, seconds=300))
    furnish(cell)
    transport = httpx.ASGITransport(store_app(cell), raise_app_exceptions=False)
    headers = {"Authorization": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as http:
        cell.start()
        await asyncio.to_thread(until, lambda: cell.unready() is None)
        try:
            yield Asked(cell, http)
        finally:
            cell.drain()
            assert await asyncio.to_thread(cell.close, 120)


async def test_ranked_lists(tmp_path):
    rng = np.random.default_rng(1)
    async with serving(tmp_path, OFFERS, outputType="RANKED_LIST") as cell:
        await cell.label({n: {"bought": ["item 3"]} for n in range(50)})  # before their inferences
        rows = [
            {"sex": "fm"[n % 2], "offers": [{"item_id": i} for i in rng.permutation(ITEMS)[:12]]}
            for n in range(300)
        ]
        rows[299]["offers"] = [{"item_id": i} for i in ITEMS]
        await cell.send(rows)
        bought = {n: {"bought": list(rng.choice(ITEMS, rng.integers(0, 6)))} for n in range(30, 240)}
        await cell.label(bought)  # some of them for the second time
        (window,) = await cell.both(**MARCH, k="5")
        assert (window["rows"], window["labelled"], window["provisional"]) == (300, 240, True)
        days = await cell.both(**MARCH, k="20", rollup="day")
        assert [day["rows"] for day in days] == [100, 100, 100]
        (women,) = (await cell.ask(**MARCH, attribute="sex"))["query_result"][0]["groups"][:1]
        (same,) = (await cell.ask(**MARCH, filter=BY_ROWS.replace(', "m"', "")))["query_result"]
        assert women["group"] == "f"
        mine, theirs = (w["metrics"]["ndcg_at_10"]["value"] for w in (women, same))
        assert mine == pytest.approx(theirs, abs=1e-6)
        await cell.query("precisionAtK", k=3)
        await cell.query("nDCGAtK", k=20)
        await cell.query("meanReciprocalRank")
        told = (await cell.http.get("/status")).json()["performance"]
        assert [m["metric"] for m in told["metrics"][:2]] == ["ndcg_at_10", "mrr"]
        assert told["estimated"]["withheld"].startswith("estimates without labels are of")
        assert "modelwarden_performance_worse 0.0" in (await cell.http.get("/metrics")).text
        assert (await cell.ask(**MARCH, k="21"))["source"] == "rows"
        await cell.label({250: {"bought": [f"other {n}" for n in range(31)]}})
        assert (await cell.ask(**MARCH))["source"] == "rows", "more items than are remembered"
        assert (await cell.ask(**(MARCH | {"end": "2026-03-02T00:00:00Z"})))["source"] == "partials"
    async with serving(tmp_path, OFFERS, outputType="RANKED_LIST") as cell:
        await cell.label({n: {"bought": ["item 4", "item 5"]} for n in (10, 40, 250)})
        (window,) = await cell.both(**MARCH)
        assert window["labelled"] == 241
        await cell.label({299: {"bought": [ITEMS[24]]}})
        (window,) = (await cell.ask(**MARCH))["query_result"]
        paired = window["metrics"]["mrr"]["n"]
        assert window["mrr_at_most_higher"] == pytest.approx(1 / 21 / paired), "one may stand in place 21"


async def test_tokens(tmp_path):
    rng = np.random.default_rng(2)
    async with serving(tmp_path, ODDS, outputType="TOKEN_SEQUENCE", inputType="NLP") as cell:
        odds = rng.uniform(0.5, 1, (300, 6))
        steps = [[{"a": p, "b": 1 - p} for p in row[: 2 + n % 4]] for n, row in enumerate(odds)]
        await cell.send([{"sex": "f", "odds": row} for row in steps])
        (window,) = await cell.both(**MARCH)
        length = window["metrics"]["sequence_length"]
        assert length["lower"] < length["value"] < length["upper"]
        assert len(await cell.both(**MARCH, rollup="day")) == 3
        told = (await cell.http.get("/status")).json()["performance"]
        assert (told["worse"], told["provisional"], told["coverage"]) == (False, False, None)
        assert told["reason"] == "tokens have no labels: what is told is not judged"


async def test_several_labels(tmp_path):
    rng = np.random.default_rng(3)
    async with serving(tmp_path, TOPICS, outputType="MULTILABEL") as cell:
        scores = rng.random((300, 2))
        await cell.send([{"sex": "f", "p0": float(a), "p1": float(b)} for a, b in scores])
        for turned in (True, False):  # first the wrong ones
            true = rng.random((200, 2)) < (1 - scores[:200] if turned else scores[:200])
            await cell.label({n: {"y0": int(a), "y1": int(b)} for n, (a, b) in enumerate(true)})
        (window,) = await cell.both(**MARCH, threshold="0.3")
        each = [window["metrics"][f"accuracy[p{n}]"]["value"] for n in (0, 1)]
        assert window["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(each))
        (one,) = await cell.both(**MARCH, **{"class": "p1"})
        assert {name.partition("[")[2] for name in one["metrics"]} == {"p1]"}
        assert (await cell.ask(**MARCH, threshold="0.12345"))["source"] == "rows"


async def test_of_several_classes_the_door_says_why_nothing_is_estimated(tmp_path):
    classes = [
        SEX,
        *(attribute(f"p{c}", "FLOAT", "PREDICTED_VALUE", n, gtClassLink=c) for n, c in enumerate("abc")),
        attribute("kind", "STRING", "GROUND_TRUTH_CLASS", 0, **categories("a", "b", "c")),
    ]
    async with serving(tmp_path, classes, outputType="MULTICLASS") as cell:
        await cell.send([{"sex": "f", "pa": 0.5, "pb": 0.3, "pc": 0.2}] * 100)
        (window,) = (await cell.ask(**MARCH))["query_result"]
        why = "there is no reference with labels to calibrate scores on"
        assert window["estimated"] == {"withheld": why, "metrics": {}}
        (window,) = (await cell.ask(**MARCH, **{"class": "pa"}))["query_result"]
        assert window["estimated"] is None


def test_the_reference_is_counted_from_its_files(tmp_path):
    cell = census_like.identity(OFFERS, outputType="RANKED_LIST")
    rng = np.random.default_rng(4)
    items = [[{"item_id": i} for i in rng.permutation(ITEMS)[:9]] for _ in range(200)]
    columns = {"sex": pa.array(["f", "m"] * 100), "offers": pa.array(items, ARROW_TYPES["RANKED_LIST"])}
    columns["bought"] = pa.array([[ITEMS[n % 25]] for n in range(200)], ARROW_TYPES["ARRAY(STRING)"])
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    outcome = outcome_of_lists(cell.attributes, cell.output_type)
    space = OutcomeSpace(Definition(outcome, groups=group_rules(cell.attributes, {})))
    totals = counted(space, ReferenceRows("h", (tmp_path / "x.parquet",)))
    hits = [n for n, row in enumerate(items) if ITEMS[n % 25] in [i["item_id"] for i in row]]
    told = {v.metric: v.value for v in ranked_metrics(space.everybody, totals, 9)}
    assert told["recall_at_9"] == pytest.approx(len(hits) / 200)
