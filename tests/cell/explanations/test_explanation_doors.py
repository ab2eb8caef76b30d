"""What people and pods ask of explanations over HTTP, of a real cell with a scripted model server."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from explained_rows import CODE, TOWNS, explained_row, sent, stream
from query_rooms import IDENTITY, people, until
from scripted_explainer import Holder, ScriptedExplainer
from served_cell import INFERENCES, Served, served
from store_process import KEY

from modelwarden.resources.cell import ExplainabilitySettings, ServerSettings
from modelwarden.resources.keys import job_key
from modelwarden_server.innerwire import TASKS

MODEL = f"/api/v3/models/{IDENTITY.model_id}"


@dataclass
class Explained:
    """A served cell, its scripted explainer, and rows with ids r-0 …"""

    served: Served
    explainer: ScriptedExplainer

    @property
    def http(self) -> httpx.Client:
        return self.served.http

    def why(self, identifier: str, **parameters: object) -> httpx.Response:
        return self.http.get(f"{INFERENCES}/{identifier}/explanation", params=parameters)

    def query(self, **query: object) -> list[dict]:
        answer = self.http.post(f"{INFERENCES}/query", json=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["query_result"]

    def set(self, **explainability: object) -> None:
        holder = self.served.cell.settings
        enrichments = holder.current.enrichments
        changed = enrichments.explainability.model_copy(update=explainability)
        holder.current = holder.current.model_copy(
            update={"enrichments": enrichments.model_copy(update={"explainability": changed})}
        )


ROWS = people(60, seed=7).to_pylist()


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explained]:
    explainer = ScriptedExplainer()
    with explainer.running(), served(tmp_path_factory.mktemp("cell")) as store:
        holder = store.cell.settings
        explainability = ExplainabilitySettings(enabled=True, algorithm="shap")
        enrichments = holder.current.enrichments.model_copy(update={"explainability": explainability})
        server = ServerSettings(url=explainer.url)
        holder.current = holder.current.model_copy(update={"enrichments": enrichments, "server": server})
        body = [sent(row, f"r-{place}") for place, row in enumerate(ROWS)]
        answer = store.http.post(INFERENCES, json=body)
        assert answer.json()["counts"]["failure"] == 0, answer.text
        with Holder(store.url, "pod-1").at_work() as holder:
            until(lambda: holder.rows == len(ROWS))
        until(lambda: explained(store) == len(ROWS))
        yield Explained(store, explainer)


def explained(store: Served) -> int:
    found = store.status()["server"]["explanations"]
    return 0 if found is None else found["explained"]


def values_of(place: int) -> list[float]:
    return explained_row(ROWS[place] | {"id": ""})["values"]


def test_a_stored_explanation_is_told_in_the_documented_shape(cell: Explained) -> None:
    answer = cell.why("r-3")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    (found,) = body["explanation"]
    assert (found["algorithm"], found["predicted_attribute_name"]) == ("shap", "p")
    scores = {one["attribute_name"]: one["explanation_value"] for one in found["importance_scores"]}
    assert scores == dict(zip(("age", "income", "town"), values_of(3), strict=True))
    assert body["expected_value"] == [{"predicted_attribute_name": "p", "expected_value": 0.3}]
    assert (body["computed_from"], body["path"], body["code_hash"]) == ("stored", "linear", CODE)


@pytest.mark.parametrize(
    ("sort", "order"),
    [("attribute_name", ["age", "income", "town"]), ("-attribute_name", ["town", "income", "age"])],
)
def test_scores_are_sorted_and_paged_as_asked(cell: Explained, sort: str, order: list[str]) -> None:
    def names(**more: object) -> list[str]:
        (found,) = cell.why("r-3", sort=sort, **more).json()["explanation"]
        return [one["attribute_name"] for one in found["importance_scores"]]

    assert names() == order
    assert names(page=2, page_size=2) == order[2:]


def test_another_number_of_samples_asks_the_model_server_once(cell: Explained) -> None:
    before = len(cell.explainer.asked)
    first, again = cell.why("r-4", n_samples=500), cell.why("r-4", n_samples=500)
    assert first.json()["computed_from"] == "model_server"
    assert again.json()["computed_from"] == "cache"
    assert again.json()["explanation"] == first.json()["explanation"]
    (meta,) = cell.explainer.asked[before:]
    assert meta[b"samples"] == b"500"
    assert cell.explainer.keys[-1] == KEY


def test_an_unknown_inference_is_not_explained(cell: Explained) -> None:
    assert cell.why("nobody").status_code == 404


@pytest.mark.parametrize(
    "parameters",
    [{"algorithm": "guess"}, {"n_samples": "1"}, {"page_size": "9999"}, {"sort": "colour"}, {"x": "1"}],
)
def test_a_bad_parameter_is_named(cell: Explained, parameters: dict[str, str]) -> None:
    answer = cell.why("r-1", **parameters)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(next(iter(parameters)))


WHAT_IF = {"age": 40, "income": 20.5, "town": "west"}


def what_if(cell: Explained, given: dict[str, object], **parameters: object) -> httpx.Response:
    body = {"model_pipeline_input": [{"attribute_name": n, "attribute_value": v} for n, v in given.items()]}
    return cell.http.post(f"{MODEL}/what_if", json=body, params=parameters)


def test_what_if_predicts_and_explains_a_row_that_never_was(cell: Explained) -> None:
    answer = what_if(cell, WHAT_IF)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    values = [0.04, float(np.log(20.5)) / 10, TOWNS["west"]]
    assert body["predicted_values"] == [{"attribute_name": "p", "attribute_value": 0.3 + sum(values)}]
    assert [o["explanation_value"] for o in body["explanation"][0]["importance_scores"]] == values
    assert body["expected_value"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"age": 40, "income": 1.0}, "town"),
        (WHAT_IF | {"age": "old"}, "age"),
        (WHAT_IF | {"p": 0.5}, "p"),
    ],
)
def test_what_if_names_what_is_wrong(cell: Explained, given: dict[str, object], named: str) -> None:
    answer = what_if(cell, given)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{named}:")


def test_a_slow_explanation_is_fetched_later(cell: Explained) -> None:
    begun = what_if(cell, WHAT_IF | {"age": 41}, **{"async": "true"})
    assert begun.status_code == 202
    job = f"{MODEL}/explanations/jobs/{begun.json()['job_id']}"
    assert begun.headers["location"] == job
    until(lambda: cell.http.get(job).json()["status"] == "done")
    result = cell.http.get(job).json()["result"]
    assert result["predicted_values"] == what_if(cell, WHAT_IF | {"age": 41}).json()["predicted_values"]
    assert cell.http.get(f"{MODEL}/explanations/jobs/unknown").status_code == 404


def test_a_busy_server_is_told_with_a_time_to_come_again(cell: Explained) -> None:
    cell.explainer.status = 503
    try:
        answer = what_if(cell, WHAT_IF | {"age": 42})
    finally:
        cell.explainer.status = 200
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "7"


def test_a_server_that_is_not_there_is_told_with_a_time_to_come_again(cell: Explained) -> None:
    there = cell.explainer.url
    holder = cell.served.cell.settings
    try:
        gone = ServerSettings(url="http://127.0.0.1:9")
        holder.current = holder.current.model_copy(update={"server": gone})
        answer = what_if(cell, WHAT_IF | {"age": 43})
    finally:
        holder.current = holder.current.model_copy(update={"server": ServerSettings(url=there)})
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_an_answer_that_is_no_explanation_is_refused(cell: Explained) -> None:
    before, cell.explainer.answer = cell.explainer.answer, lambda _rows: stream([])
    try:
        assert what_if(cell, WHAT_IF | {"age": 44}).status_code == 502
    finally:
        cell.explainer.answer = before


def test_while_it_is_turned_off_nothing_new_is_explained(cell: Explained) -> None:
    cell.set(enabled=False)
    try:
        assert what_if(cell, WHAT_IF).status_code in (200, 409)
        assert what_if(cell, WHAT_IF | {"age": 77}).status_code == 409
        assert cell.why("r-3").status_code == 200
    finally:
        cell.set(enabled=True)


def test_global_importance_is_the_mean_of_absolute_values(cell: Explained) -> None:
    body = cell.http.get(f"{MODEL}/explanations/importance").json()
    expected = np.abs([values_of(place) for place in range(len(ROWS))]).mean(axis=0)
    (found,) = body["global_importance"]
    importance = {one["attribute_name"]: one["importance"] for one in found["importance"]}
    assert body["explained"] == len(ROWS)
    assert [importance[name] for name in ("age", "income", "town")] == pytest.approx(expected, abs=1e-8)
    odd = cell.http.get(
        f"{MODEL}/explanations/importance",
        params={"start": "2026-03-01T12:01:00Z", "end": "2026-03-01T13:00:00Z"},
    )
    assert odd.status_code == 400
    assert odd.json()["error"].startswith("start")


def test_a_query_gets_a_row_for_each_value_of_an_explanation(cell: Explained) -> None:
    names = ("explainer_algorithm", "explainer_predicted_attribute", "explainer_attribute", "explainer_score")
    found = cell.query(
        **{"from": "enriched"},
        select=[{"property": name} for name in names],
        filter=[{"property": "partner_inference_id", "comparator": "eq", "value": "r-5"}],
    )
    assert [tuple(row.values()) for row in found] == [
        ("shap", "p", name, value)
        for name, value in zip(("age", "income", "town"), values_of(5), strict=True)
    ]


def test_a_query_tells_what_matters_in_a_region(cell: Explained) -> None:
    west = [place for place, row in enumerate(ROWS) if row["town"] == "west"]
    expected = np.abs([values_of(place) for place in west]).mean(axis=0)
    (one,) = cell.query(
        **{"from": "enriched"},
        select=[
            {"function": "regionalFeatureImportance", "alias": "town", "parameters": {"property": "town"}},
            {"function": "regionalFeatureImportances", "alias": "all"},
        ],
        filter=[{"property": "town", "comparator": "eq", "value": "west"}],
    )
    assert one["town"] == pytest.approx(expected[2])
    assert list(one["all"].values()) == pytest.approx(expected)
    grouped = cell.query(
        **{"from": "enriched"},
        select=[
            {"property": "explainer_attribute"},
            {"function": "avgAbs", "alias": "importance", "parameters": {"property": "explainer_score"}},
        ],
        filter=[{"property": "town", "comparator": "eq", "value": "west"}],
        group_by=[{"property": "explainer_attribute"}],
    )
    assert [row["importance"] for row in grouped] == pytest.approx(expected)


def test_a_whole_explanation_stands_in_one_column(cell: Explained) -> None:
    (row,) = cell.query(
        **{"from": "enriched"},
        select=[{"property": "shap_importance"}, {"property": "lime_importance"}],
        filter=[{"property": "partner_inference_id", "comparator": "eq", "value": "r-6"}],
    )
    assert row["shap_importance"] == {"p": dict(zip(("age", "income", "town"), values_of(6), strict=True))}
    assert row["lime_importance"] is None


def test_the_status_and_the_series_say_the_same(cell: Explained) -> None:
    status = cell.served.status()
    report = status["server"]["explanations"]
    assert report["explained"] == 60
    assert report["top"][0][0] in ("income", "town")
    entry = next(one for one in status["enrichments"] if one["kind"] == "explainability")
    assert (entry["type"], entry["state"], entry["due"]) == ("Explainability", "Pending", False)
    series = cell.http.get("/metrics").text
    assert 'modelwarden_explanations_rows_total{outcome="explained"} 60.0' in series
    assert f'modelwarden_explanations_importance{{attribute="{report["top"][0][0]}"}}' in series


def test_the_inner_doors_ask_for_the_cells_key(cell: Explained) -> None:
    key = job_key(KEY, "train", "x")
    assert cell.http.post(TASKS, params={"holder": "a"}, headers={"Authorization": key}).status_code == 403
    assert cell.http.post(TASKS).status_code == 400
    idle = cell.http.post(TASKS, params={"holder": "a"})
    if idle.status_code == 204:  # else it is a piece of another test's rows
        assert int(idle.headers["retry-after"]) > 0


def test_a_late_answer_and_an_odd_one_are_refused(cell: Explained) -> None:
    late = cell.served.status()["server"]["explanations"]["late"]
    assert (
        cell.http.put(f"{TASKS}/1", content=stream([explained_row(ROWS[0] | {"id": "r-0"})])).status_code
        == 409
    )
    assert cell.served.status()["server"]["explanations"]["late"] == late + 1
    assert cell.http.put(f"{TASKS}/1/failure", json={"message": "no"}).status_code == 409
    row = sent(ROWS[0], "odd-1")
    cell.http.post(INFERENCES, json=[row])

    def failed() -> bool:
        """Whether our row failed alone: a piece with another test's row beside it comes again in halves."""
        taken = cell.http.post(TASKS, params={"holder": "b"})
        if taken.status_code != 200:
            return False
        with pa.ipc.open_stream(taken.content) as reader:
            ids = reader.read_all().column("id").to_pylist()
        place = f"{TASKS}/{taken.headers['x-modelwarden-task']}"
        assert cell.http.put(place, content=b"nonsense").status_code == 400
        assert cell.http.put(f"{place}/failure", json={"message": "cannot"}).status_code == 200
        return ids == ["odd-1"]

    until(failed)
    until(lambda: cell.served.status()["server"]["explanations"]["failed"] >= 1)
    refused = cell.why("odd-1", algorithm="shap")
    assert refused.status_code == 200  # asked anew: this time the server can
    assert refused.json()["computed_from"] == "model_server"


def test_an_inference_whose_id_has_slashes_is_explained(cell: Explained, tmp_path: Path) -> None:
    cell.http.post(INFERENCES, json=[sent(ROWS[1], "a/b 1")])
    answer = cell.why("a/b 1", n_samples=100)
    assert answer.status_code == 200, answer.text
