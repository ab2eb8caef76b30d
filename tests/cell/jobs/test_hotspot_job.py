"""Hotspots from rows and labels to insights, over loopback: windows, batches, the reference, questions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from query_rooms import until
from risky_town import as_file, identity, loans
from served_cell import Served, served
from store_process import KEY

from modelwarden.resources.cell import EnrichmentSettings, HotspotSettings
from modelwarden.resources.keys import job_key
from modelwarden_server.apps import furnish
from modelwarden_server.jobs.command import DONE, run

LOANS = identity()
BATCHED = identity("batched", isBatch=True)


def turn(store: Served, *, on: bool = True, **settings: Any) -> None:
    told = EnrichmentSettings(hotspots=HotspotSettings(enabled=on, **settings))
    holder = store.cell.settings
    holder.current = holder.current.model_copy(update={"enrichments": told})


def entry(store: Served) -> dict[str, Any]:
    return next(e for e in store.status()["enrichments"] if e["kind"] == "hotspots")


def train(store: Served) -> None:
    """Run the Job that is due."""
    told = entry(store)
    assert told["due"], told
    arguments = ["train", "--store", store.url, "--kind", "hotspots", "--input-hash", told["wanted"]]
    assert (
        run(arguments, {"MODELWARDEN_JOB_KEY": job_key(KEY, "train", f"hotspots_{told['wanted']}")}) == DONE
    )


def send(store: Served, table: Any, **fields: str) -> None:
    model = f"/api/v3/models/{store.cell.identity.model_id}"
    parts = [("inference_data", ("x.parquet", as_file(table)))]
    expected = store.cell.store.tables.truth.rows + table.num_rows
    answer = store.http.post(f"{model}/inferences/file", files=parts, data=fields)
    assert answer.json()["counts"]["success"] == table.num_rows, answer.text
    # Not by the status, which decides what is to be searched.
    newest = pc.max(table.column("inference_timestamp")).cast(pa.int64()).as_py()
    until(lambda: store.cell.store.ledger.totals.newest_event == newest)
    assert store.cell.store.tables.truth.rows == expected


def get(store: Served, path: str, **params: Any) -> Any:
    answer = store.http.get(f"/api/v3/models/{store.cell.identity.model_id}/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A cell with eight days of labelled loans, of which the first seven are searched."""
    with served(tmp_path_factory.mktemp("cell"), furnish, LOANS) as found:
        turn(found)
        assert entry(found)["missing"] == ["inferences", "labels"]
        send(found, loans(6000, seed=1))
        train(found)
        yield found


def test_the_planted_hotspot_is_found_in_the_window_that_is_complete(store: Served) -> None:
    assert entry(store)["state"] == "Ready"
    found = get(store, "enrichments/hotspots/find", metric="accuracy", threshold=0.6)
    assert (found["window_start"], found["window_end"]) == ("2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z")
    (node,) = found["data"]
    assert set(node["rules"]) == {"age", "town"}
    assert node["rules"]["town"] == {"eq": "south"}
    assert 58 <= node["rules"]["age"]["gt"] <= 62
    assert node["left"] is node["right"] is None
    assert node["interval"][0] <= node["accuracy"] <= node["interval"][1]
    assert node["accuracy"] < 0.5 < 0.8 < node["rest"]["value"]
    assert node["p_adjusted"] < 1e-6
    assert sum(one["count"] for one in node["gt_to_info"].values()) == node["n"]
    assert node["feature"] == "age"
    assert node["cutoff"] == node["rules"]["age"]["gt"]


def test_the_rows_of_a_hotspot_can_be_asked_for_by_its_filter(store: Served) -> None:
    (node,) = get(store, "enrichments/hotspots/find", threshold=0.6)["data"]
    query = {"select": [{"function": "count", "alias": "n"}], "filter": node["filter"]}
    model = f"/api/v3/models/{LOANS.model_id}"
    answer = store.http.post(f"{model}/inferences/query", json=query)
    assert answer.json()["query_result"] == [{"n": node["rows"]}]


def test_numbers_are_those_of_the_rows_themselves(store: Served) -> None:
    """What is measured in both halves is what pandas says of the rule on all rows, up to the halves."""
    (node,) = get(store, "enrichments/hotspots/find", threshold=0.6)["data"]
    frame = loans(6000, seed=1).to_pandas()
    frame = frame[frame["inference_timestamp"] < "2026-03-08"]
    inside = frame[(frame["town"] == "south") & (frame["age"] > node["rules"]["age"]["gt"])]
    assert len(inside) == node["rows"]
    right = ((inside["p"] >= 0.5) == (inside["y"] == 1)).mean()
    spread = np.sqrt(right * (1 - right) / node["n"])
    assert abs(right - node["accuracy"]) < 4 * spread
    assert abs(node["n"] / node["rows"] - 0.5) < 0.1


def test_any_metric_and_threshold_can_be_asked_without_another_search(store: Served) -> None:
    assert get(store, "enrichments/hotspots/find", threshold=0.2)["data"] == []
    for metric in ("precision", "recall", "f1"):
        (node,) = get(store, "enrichments/hotspots/find", metric=metric, threshold=0.65)["data"]
        assert node["metric"] == metric
        assert node[metric] == node["value"] < 0.65
    refused = store.http.get(
        f"/api/v3/models/{LOANS.model_id}/enrichments/hotspots/find", params={"metric": "absolute_error"}
    )
    assert refused.status_code == 400
    assert "accuracy" in refused.json()["error"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"date": "2026-03-05"}, 200),
        ({"date": "2026-03-08"}, 404),
        ({"date": "soon"}, 400),
        ({"batch_id": "b"}, 404),
        ({"ref_set_id": "people"}, 404),
        ({"date": "2026-03-05", "batch_id": "b"}, 400),
        ({"threshold": "nan"}, 400),
        ({"metric": "beauty"}, 400),
    ],
)
def test_what_is_asked_is_found_or_refused_with_a_reason(
    store: Served, params: dict[str, str], status: int
) -> None:
    answer = store.http.get(f"/api/v3/models/{LOANS.model_id}/enrichments/hotspots/find", params=params)
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]


def test_people_are_told_once_and_can_take_note(store: Served) -> None:
    page = get(store, "insights", status="new")
    (one,) = page["data"]
    assert (page["total_count"], page["page"]) == (1, 1)
    assert one["metric_type"] == "accuracyhotspot"
    assert one["region"] == get(store, "enrichments/hotspots/find", threshold=0.6)["data"][0]["rules"]
    assert one["window_end"] == "2026-03-08T00:00:00Z"
    (group,) = get(store, "insights/group_counts")["data"]
    assert (group["window_start"], group["count"]) == (one["window_start"], 1)
    model = f"/api/v3/models/{LOANS.model_id}"
    answer = store.http.patch(f"{model}/insights/{one['id']}", json={"status": "Acknowledged"})
    assert answer.json() == {"updated_count": 1}
    assert get(store, f"insights/{one['id']}")["status"] == "Acknowledged"
    assert get(store, "insights", status="New")["data"] == []
    assert store.http.patch(f"{model}/insights", json={"status": "New"}).json() == {"updated_count": 1}
    assert store.http.patch(f"{model}/insights", json={"status": "Gone"}).status_code == 400
    assert store.http.patch(f"{model}/insights/x", json={"status": "New"}).status_code == 404
    assert get(store, "insights", end_time="2026-03-08T00:00:00Z")["data"] == []


def test_the_status_and_the_series_tell_the_worst_region(store: Served) -> None:
    told = store.status()["hotspots"]
    assert (told["count"], told["metric"], told["rows"]) == (1, "accuracy", told["labelled"])
    assert "age > " in told["worst"]
    assert "town is one value" in told["worst"], "towns are not declared: only rows tell them"
    assert told["worstValue"] < 0.5 < told["worstRest"]
    series = store.http.get("/metrics").text
    assert 'modelwarden_hotspots{metric="accuracy"} 1.0' in series
    assert 'modelwarden_insights{status="New"}' in series
    assert "south" not in series


def test_a_rule_that_stays_is_followed_from_window_to_window(tmp_path: Path) -> None:
    with served(tmp_path, furnish, LOANS) as store:
        turn(store, window="1d", minimum_rows=100)
        for day in range(3):
            send(store, loans(1600, seed=10 + day, days=1, first_day=day, bad=day > 0))
            if day:
                train(store)
        send(store, loans(10, seed=20, days=0.01, first_day=3.5))
        train(store)
        (node,) = get(store, "enrichments/hotspots/find", threshold=0.6)["data"]
        assert (node["windows"], node["first_seen"][:17]) == (2, "window:2026-03-02")
        assert entry(store)["state"] == "Ready"
        earlier = get(store, "enrichments/hotspots/find", threshold=0.6, date="2026-03-01")
        assert earlier["data"] == []
        turn(store, on=False)
        assert entry(store)["state"] == "Disabled"
        assert len(get(store, "insights")["data"]) == 2


def test_a_closed_batch_is_searched_and_again_when_labels_have_come(tmp_path: Path) -> None:
    with served(tmp_path, furnish, BATCHED) as store:
        turn(store)
        table = loans(5000, seed=3)
        few = table.slice(0, 100)
        late = table.slice(100).drop_columns(["y", "ground_truth_timestamp"])
        send_some = [("inference_data", ("x.parquet", as_file(few)))]
        model = f"/api/v3/models/{BATCHED.model_id}"
        assert store.http.post(f"{model}/inferences/file", files=send_some, data={"batch_id": "b"}).is_success
        rest = [("inference_data", ("x.parquet", as_file(late)))]
        assert store.http.post(f"{model}/inferences/file", files=rest, data={"batch_id": "b"}).is_success
        assert "a closed batch" in entry(store)["missing"]
        assert store.http.patch(f"{model}/batches/b", json={"status": "uploaded"}).is_success
        train(store)
        (missing,) = entry(store)["missing"]
        assert "labelled inferences in batch b (there were 100 of 5000)" in missing
        labels = table.slice(100).select(["partner_inference_id", "ground_truth_timestamp", "y"])
        parts = [("ground_truth_data", ("y.parquet", as_file(labels)))]
        assert store.http.post(f"{model}/inferences/file", files=parts).is_success
        until(lambda: store.cell.store.tables.truth.rows == 5000)
        train(store)
        (node,) = get(store, "enrichments/hotspots/find", threshold=0.6, batch_id="b")["data"]
        assert node["rules"]["town"] == {"eq": "south"}
        assert {"property": "batch_id", "comparator": "eq", "value": "b"} in node["filter"]
        (one,) = get(store, "insights", batch_id="b")["data"]
        assert (one["batch_id"], one["window_start"]) == ("b", None)


def test_the_reference_is_searched_too(tmp_path: Path) -> None:
    with served(tmp_path, furnish, LOANS) as store:
        turn(store)
        model = f"/api/v3/models/{LOANS.model_id}"
        table = loans(3000, seed=4).drop_columns(
            ["partner_inference_id", "inference_timestamp", "ground_truth_timestamp"]
        )
        files = [("reference_data", ("x.parquet", as_file(table)))]
        assert store.http.post(f"{model}/reference_data", files=files).json()["counts"]["failure"] == 0
        close = {"status": "uploaded", "total_record_count": 3000}
        assert store.http.patch(f"{model}/reference_data", json=close).is_success
        train(store)
        (node,) = get(store, "enrichments/hotspots/find", threshold=0.6, ref_set_id="default")["data"]
        assert set(node["rules"]) == {"age", "town"}
        assert get(store, "insights")["data"] == []
        assert entry(store)["missing"] == ["inferences", "labels"]
