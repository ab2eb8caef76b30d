"""Predictions in a real store: durable, monitored as inferences, shown, forgotten; without attributes too."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import census_like
import pyarrow.parquet as pq
import pytest
from query_rooms import until
from sent_runs import RUNS, run, send
from served_cell import Served, served
from store_process import KEY

from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.cell import CellIdentity, SamplingSettings, ServingSettings
from modelwarden.resources.keys import job_key
from modelwarden.resources.serving import FlowStage

FLOW = (FlowStage(model_type="SKLEARN", file="model.pkl"),)
MONITORED = census_like.identity()
BARE = MONITORED.model_copy(update={"attributes": (), "input_type": None, "output_type": None})
MODEL = f"/api/v3/models/{MONITORED.model_id}"
POINTS = [[41, 12.5, "MA", True], [30, 1.0, "NY", False]]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("monitored")) as store:
        yield store


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("bare"), BARE) as store:
        yield store


def mapped(store: Served, inputs: Any, outputs: Any) -> None:
    """The model is served with these maps from now on."""
    served_as = ServingSettings.model_validate({"flow": FLOW, "inputs": inputs, "outputs": outputs})
    settings = store.cell.settings
    settings.current = settings.current.model_copy(update={"serving": served_as})


@contextmanager
def serving(
    folder: Path, identity: CellIdentity = MONITORED, inputs: Any = (), outputs: Any = (), **settings: Any
) -> Iterator[Served]:
    with served(folder, identity=identity) as store:
        served_as = ServingSettings.model_validate({"flow": FLOW, "inputs": inputs, "outputs": outputs})
        store.cell.settings.current = store.cell.settings.current.model_copy(
            update={"serving": served_as, **settings}
        )
        yield store


def stored(store: Served, prediction_id: str) -> dict[str, Any]:
    """The inference of that id, as soon as it can be read."""
    path = f"{MODEL}/inferences/query/{prediction_id}"

    def found() -> bool:
        answer = store.http.get(path)
        assert answer.status_code in (200, 404), answer.text
        return answer.status_code == 200

    until(found)
    return store.http.get(path).json()["query_result"][0]


def test_a_prediction_is_an_inference_and_gets_its_label_later(tmp_path):
    with serving(tmp_path) as store:
        told = send(store.http, run(POINTS, [0.25, 0.75], ids=["p1", "p2"], run_id="r1"))
        assert told == {"run_id": "r1", "monitored": 2, "reason": None}
        row = stored(store, "p2")
        assert (row["age"], row["state"], row["pred"]) == (30, "NY", 0.75)
        label = {"partner_inference_id": "p2", "ground_truth_timestamp": census_like.NOW}
        answer = store.http.patch(f"{MODEL}/ground_truth", json=[label | {"ground_truth_data": {"gt": 1}}])
        assert answer.json()["counts"]["success"] == 1
        until(lambda: stored(store, "p2").get("gt") == 1)
        kept = store.http.get(f"{MODEL}/predictions/p2").json()
        assert (kept["data"], kept["result"], kept["run_id"]) == (POINTS[1], 0.75, "r1")
        assert kept["monitored"] is True
        assert kept["failure"] is None
        assert kept["run_time_ms"] == 12.5


@pytest.mark.parametrize(
    ("point", "result", "inputs", "outputs"),
    [
        ({"age": 41, "income": 1, "state": "MA", "married": True, "note": "x"}, {"pred": 0.5}, (), ()),
        ([41.0, 1, "MA", True], [0.5, 0.5], (), ()),
        (
            {"person": {"years": 41}, "rest": [1, "MA", True]},
            {"probabilities": [0.5, 0.5]},
            [
                {"attribute": "age", "field": "person.years"},
                {"attribute": "income", "field": "rest.0"},
                {"attribute": "state", "field": "rest.1"},
                {"attribute": "married", "field": "rest.2"},
            ],
            [{"attribute": "pred", "field": "probabilities.1"}],
        ),
    ],
)
def test_fields_of_data_and_result_become_attributes(monitored, point, result, inputs, outputs):
    one = uuid.uuid4().hex
    mapped(monitored, inputs, outputs)
    try:
        assert send(monitored.http, run([point], [result], ids=[one]))["monitored"] == 1
    finally:
        mapped(monitored, (), ())
    row = stored(monitored, one)
    assert (row["age"], row["income"], row["state"], row["married"]) == (41, 1.0, "MA", True)
    assert row["pred"] == 0.5


@pytest.mark.parametrize(
    ("point", "result", "words"),
    [
        ([41, 12.5], 0.5, "2 values and the model 4 inputs"),
        ({"age": 41}, 0.5, "no field income"),
        (POINTS[0], [1, 2, 3], "3 values and the model 1 predicted"),
        (POINTS[0], {"other": 1}, "no field pred"),
        (["old", 12.5, "MA", True], 0.5, "age"),
        (POINTS[0], "spam", "pred"),
    ],
)
def test_what_does_not_fit_is_kept_with_the_reason_and_not_monitored(monitored, point, result, words):
    odd, good = uuid.uuid4().hex, uuid.uuid4().hex
    told = send(monitored.http, run([point, POINTS[1]], [result, 0.5], ids=[odd, good]))
    assert told["monitored"] == 1
    assert words in told["reason"]
    kept = monitored.http.get(f"{MODEL}/predictions/{odd}").json()
    assert (kept["monitored"], kept["data"], kept["result"]) == (False, point, result)
    assert words in kept["reason"]
    assert stored(monitored, good)["pred"] == 0.5


def test_a_failed_prediction_is_recorded_as_such(tmp_path):
    with serving(tmp_path) as store:
        failed = run(
            POINTS, None, failure="stage 1 (SKLEARN): the model failed: ValueError", ids=["f1", "f2"]
        )
        assert send(store.http, failed)["monitored"] == 0
        send(store.http, run(POINTS[:1], [0.5]))
        found = store.http.get(f"{MODEL}/predictions", params={"failed": "true"}).json()
        assert [(row["prediction_id"], row["result"]) for row in found["data"]] == [
            ("f2", None),
            ("f1", None),
        ]
        assert "ValueError" in found["data"][0]["failure"]
        assert found["total_count"] == 2
        assert 'modelwarden_predictions_total{result="failed"} 2.0' in store.http.get("/metrics").text


def test_a_model_without_attributes_keeps_predictions_raw_and_takes_no_rows(tmp_path):
    with serving(tmp_path, BARE) as store:
        told = send(store.http, run([{"any": ["thing"]}, 7], ["a", {"b": 1}], ids=["p1", "p2"]))
        assert told["monitored"] == 0
        assert "no attributes" in told["reason"]
        page = store.http.get(f"{MODEL}/predictions", params={"page_size": 1, "page": 2}).json()
        assert (page["total_pages"], page["data"][0]["data"]) == (2, {"any": ["thing"]})
        row = {"partner_inference_id": "x", "inference_timestamp": census_like.NOW, "inference_data": {}}
        refused = store.http.post(f"{MODEL}/inferences", json=[row])
        assert refused.status_code == 400
        assert "no attributes" in refused.json()["error"]
        status = store.status()
        assert status["ready"]
        assert status["server"]["predictions"] == 2


def test_attributes_may_be_given_later_and_what_was_kept_stays(tmp_path):
    with serving(tmp_path, BARE) as store:
        send(store.http, run(POINTS, [0.1, 0.2], ids=["before", "before2"]))
    with serving(tmp_path) as store:
        assert send(store.http, run(POINTS[:1], [0.3], ids=["after"]))["monitored"] == 1
        assert stored(store, "after")["pred"] == 0.3
        found = store.http.get(f"{MODEL}/predictions").json()["data"]
        assert [row["prediction_id"] for row in found] == ["after", "before2", "before"]


def test_a_run_that_is_sent_again_is_kept_once_also_after_a_restart(tmp_path):
    content = run(POINTS, [0.25, 0.75])
    with serving(tmp_path) as store:
        assert send(store.http, content) == send(store.http, content)
    with serving(tmp_path) as store:
        assert send(store.http, content)["repeated"]
        assert store.http.get(f"{MODEL}/predictions").json()["total_count"] == 2
        until(lambda: store.status()["rows"]["stored"] == 2)


def test_forgetting_an_inference_forgets_its_prediction(tmp_path):
    with serving(tmp_path) as store:
        send(store.http, run(POINTS, [0.25, 0.75], ids=["gone", "stays"]))
        stored(store, "gone")
        assert store.http.get(f"{MODEL}/predictions").json()["total_count"] == 2
        answer = store.http.post(f"{MODEL}/forget", json={"partner_inference_ids": ["gone"]})
        assert answer.status_code < 300, answer.text
        store.cell.store.maintenance.wake()
        until(lambda: store.http.get(f"{MODEL}/predictions/gone").status_code == 404)
        assert store.http.get(f"{MODEL}/predictions/stays").status_code == 200
    files = (tmp_path / "tables" / "predictions").glob("*.parquet")
    assert [row for file in files for row in pq.read_table(file)["partner_inference_id"].to_pylist()] == [
        "stays"
    ]


def test_sensitive_and_sampled_out_values_never_reach_the_disk(tmp_path):
    with serving(tmp_path, sensitivity={"state": Sensitivity.HASH}) as store:
        send(store.http, run([[41, 1.0, "Zanzibar", True]], [0.5], ids=["p"]))
        send(store.http, run([[41, 1.0, "Zanzibar", True]], None, failure="said Zanzibar", ids=["f"]))
        assert stored(store, "p")["state"] not in (None, "Zanzibar")
        kept = store.http.get(f"{MODEL}/predictions/p").json()
        assert (kept["data"], kept["result"]) == (None, None)
        ingest = store.cell.settings.current.ingest.model_copy(
            update={"sampling": SamplingSettings(share=0.0)}
        )
        store.cell.settings.current = store.cell.settings.current.model_copy(
            update={"ingest": ingest, "sensitivity": {}}
        )
        told = send(store.http, run([[41, 1.0, "Timbuktu", True]], [0.5], ids=["s"]))
        assert "sampling" in told["reason"]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Zanzibar" not in content
            assert b"Timbuktu" not in content


def test_results_that_do_not_pair_with_data_are_kept_unmonitored(monitored):
    told = send(monitored.http, run(POINTS, [0.5], ids=["one"]))
    assert told["monitored"] == 0
    kept = monitored.http.get(f"{MODEL}/predictions/one").json()
    assert (kept["data"], kept["result"]) == (POINTS, 0.5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "shorter"),
        (b"\0" * 20, "header"),
        (run([1], [2], ids=["a", "a"]), "each once"),
        (run([1], [2], ids=[""]), "characters"),
        (run([1], None), "or a failure"),
        (run([1], [2], started="2026-01-01T00:00:00"), "time zone"),
    ],
)
def test_what_is_no_run_is_refused_with_the_reason(bare, content, words):
    answer = bare.http.post(RUNS, content=content)
    assert answer.status_code == 400
    assert words in json.loads(answer.content)["error"]


def test_a_jobs_key_brings_no_predictions(bare):
    key = job_key(KEY, "profile", "abc")
    answer = bare.http.post(RUNS, content=run([1], [2]), headers={"Authorization": key})
    assert answer.status_code == 403
