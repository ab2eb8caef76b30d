"""Predictions by a whole cell of real processes: the documented examples, and parts that fail."""

import flow_files
import numpy as np
import pyarrow as pa
import pytest
from served_flows import BARE, classifier_bundle, image_bundle, served_flow
from store_process import START_SECONDS, wait_for

pytestmark = pytest.mark.faults
DATA = [[1.0, 0.5, 0.0], [-2.0, 0.1, 1.0]]
BREAKING = """
def check(data):
    if data[0][0] > 100:
        raise RuntimeError("too large for me")
    return data
"""


def test_the_documented_image_example_is_served_without_attributes(tmp_path):
    stage = {"pre": "functions:pre_process", "post": "functions:named"}
    bundle = image_bundle(tmp_path / "bundle")
    with served_flow(tmp_path / "cell", bundle, BARE, webhooks=True, **stage) as cell:
        cell.until_code("Ready")
        files = [
            ("files", ("night.png", flow_files.picture(5), "image/png")),
            ("files", ("day.png", flow_files.picture(250), "image/png")),
        ]
        answer = cell.pod.post(cell.path, data={"data": '["n", "d"]'}, files=files)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"result", "run_id", "run_time_ms", "prediction_ids"}
        night, day = body["result"]
        assert (night["image"], night["file"], night["bright"] < 0.2) == ("n", "night.png", True)
        assert (day["image"], day["bright"] > 0.8) == ("d", True)
        assert len(set(body["prediction_ids"])) == 2
        assert isinstance(body["run_time_ms"], float)
        kept = cell.kept()
        assert [row["prediction_id"] for row in reversed(kept)] == body["prediction_ids"]
        assert [file["name"] for file in kept[0]["files"]] == ["night.png", "day.png"]
        assert kept[0]["monitored"] is False

        # The pod sends nothing to itself or its node.
        inner = {"data": '["n"]', "webhook_endpoint": "http://127.0.0.1:9/done"}
        refused = cell.pod.post(cell.path, data=inner, files=files[:1])
        assert refused.status_code == 400
        assert "inside" in refused.json()["error"]


def test_served_predictions_are_inferences_and_faults_of_any_part_lose_none(tmp_path):
    bundle = classifier_bundle(tmp_path / "bundle", BREAKING)
    with served_flow(tmp_path / "cell", bundle, pre="functions:check") as cell:
        cell.until_code("Ready")
        answer = cell.pod.post("/predict", json=DATA)
        assert answer.status_code == 200, answer.text
        first, second = answer.json()["prediction_ids"]
        expected = flow_files.classifier().predict_proba(DATA)
        assert answer.json()["result"] == [pytest.approx(row) for row in expected.tolist()]

        # An inference under the prediction's id, and its label later.
        path = f"{cell.model}/inferences/query/{second}"
        wait_for(lambda: cell.http.get(path).status_code == 200)
        row = cell.http.get(path).json()["query_result"][0]
        assert (row["a"], row["pred"]) == (-2.0, pytest.approx(expected[1][1]))
        label = {
            "partner_inference_id": first,
            "ground_truth_timestamp": "2026-11-21T12:00:00Z",
            "ground_truth_data": {"gt": 1},
        }
        answer = cell.http.patch(f"{cell.model}/ground_truth", json=[label])
        assert answer.json()["counts"]["success"] == 1

        # The flow fails: said, and recorded as such.
        failed = cell.pod.post("/predict", json=[[1000, 0, 0]])
        assert failed.status_code == 500
        assert "too large for me" in failed.json()["error"]
        assert "functions.py, line 4" in failed.json()["error"]
        (one,) = cell.kept(failed="true")
        assert [one["prediction_id"]] == failed.json()["prediction_ids"]
        assert (one["data"], one["result"]) == ([1000, 0, 0], None)

        # The store is gone: no answer that it does not have; back again, all that was answered is there.
        cell.store.kill()
        assert cell.pod.post("/predict", json=DATA).status_code == 503
        answered = [first, second]
        cell.store.start()
        again = wait_for(lambda: (a := cell.pod.post("/predict", json=DATA)).status_code == 200 and a.json())
        answered += again["prediction_ids"]
        known = {row["prediction_id"] for row in cell.kept()}
        assert known >= set(answered)

        # The model server is killed: rows are taken in all the same, and predictions come back by themselves.
        cell.model_server.kill()
        assert cell.pod.post("/predict", json=DATA).status_code == 503
        row = {"partner_inference_id": "x", "inference_timestamp": "2026-11-21T12:00:00Z"}
        row["inference_data"] = {"a": 1.0, "b": 2.0, "c": 3.0, "pred": 0.5}
        taken = cell.pod.post(f"{cell.model}/inferences", json=[row])
        assert taken.json()["counts"]["success"] == 1
        cell.model_server.start()
        wait_for(lambda: cell.pod.post("/predict", json=DATA).status_code == 200, START_SECONDS)


def test_a_flow_that_cannot_be_loaded_is_reported_and_its_fix_rolls_out(tmp_path):
    broken = classifier_bundle(tmp_path / "bundle", "import nothing_of_that_name\n")
    with served_flow(tmp_path / "cell", broken, pre="functions:check") as cell:
        (failure, *_) = cell.deployed(broken)
        assert "nothing_of_that_name" in failure
        assert "nothing_of_that_name" in cell.code()["message"]
        refused = cell.pod.post("/predict", json=DATA)
        assert refused.status_code == 503
        assert "nothing_of_that_name" in refused.json()["error"]
        fixed = classifier_bundle(tmp_path / "bundle", BREAKING)
        cell.upload(fixed)
        assert cell.deployed(fixed) == []
        assert cell.pod.post("/predict", json=DATA).status_code == 200


def test_a_served_model_without_a_project_is_explained_by_its_flow(tmp_path):
    bundle = classifier_bundle(tmp_path / "bundle", BREAKING)
    with served_flow(tmp_path / "cell", bundle, explained=True, pre="functions:check") as cell:
        x, y = flow_files.rows(400, seed=8)
        probabilities = flow_files.classifier().predict_proba(x)[:, 1]
        columns = {name: x[:, place] for place, name in enumerate("abc")}
        cell.upload_reference(pa.table(columns | {"pred": probabilities, "gt": y}))
        wait_for(lambda: (cell.code().get("path") or "") != "", START_SECONDS)

        answer = cell.pod.post("/predict", json=DATA)
        assert answer.status_code == 200, answer.text
        first, _ = answer.json()["prediction_ids"]
        path = f"{cell.model}/inferences/{first}/explanation"
        wait_for(lambda: cell.http.get(path).json().get("computed_from") == "stored", START_SECONDS)
        told = cell.http.get(path).json()
        assert (told["path"], told["units"]) == ("linear", "margin"), told["why"]
        scores = told["explanation"][0]["importance_scores"]
        values = {one["attribute_name"]: one["explanation_value"] for one in scores}
        expected = flow_files.classifier().coef_[0] * (np.array(DATA[0]) - x.mean(axis=0))
        assert values == pytest.approx(dict(zip("abc", expected, strict=True)), abs=1e-9)
