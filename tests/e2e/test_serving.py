"""Predictions on a real node: the documented image example, called as its page says; what becomes of each
prediction; files that break; a model that is deployed from Python and has no attributes at first.

The tests run in any order.
"""

import concurrent.futures
import json
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flow_files
import numpy as np
import pandas as pd
import pytest
from model_place import SECONDS, ModelPlace
from served_flows import image_bundle, zipped
from sklearn.linear_model import LogisticRegression

from examples.census.kubectl import Kubectl, Waiting, wait_for
from modelwarden.client.conduit import Conduit, model_type
from testbed.cluster import Cluster

NAMESPACE = "serve-e2e"
NAMESPACES = (NAMESPACE,)
PICTURES, BARE = "pictures", "bare"
KNOWN = pd.Timestamp("2026-11-20", tz="UTC")
ATTRIBUTES = [
    {"name": "scene", "valueType": "STRING", "stage": "PIPELINE_INPUT", "categorical": True},
    {"name": "bright", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "is_bright",
     "isPositivePredictedAttribute": True},
    {"name": "is_bright", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "attributeLink": "bright",
     "categorical": True},
]  # fmt: skip
SHAPE: dict[str, Any] = {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": ATTRIBUTES}
FLOW = {"modelType": "SKLEARN_CLASSIFIER", "file": "model.pkl"}
FLOW |= {"pre": "functions:pre_process", "post": "functions:named"}


def brightness(data, files):  # type: ignore[no-untyped-def]
    """As a user writes it: its source is bundled."""
    import numpy as np
    from PIL import Image

    labelled = {d: Image.open(f) for d, f in zip(data, files)}  # noqa: B905 - as in the documented example
    return np.array([[np.asarray(image.convert("L")).mean() / 255.0] for image in labelled.values()])


@dataclass(frozen=True)
class Asked:
    """An answer as curl had it."""

    status: int
    body: dict[str, Any]


@dataclass
class Scene:
    """Both models, predicting."""

    pictures: ModelPlace
    bare: ModelPlace
    folder: Path
    endpoint: str
    """That `deploy` returned."""

    def curl(self, place: ModelPlace, data: list[str], files: dict[str, bytes]) -> Asked:
        """The request of the documentation, word for word."""
        parts = []
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            parts += ["-F", f"files=@{self.folder / name}"]
        server = place.cluster.reach(NAMESPACE, f"{place.model}-server", 8080)
        url = f"{server}/v1/{NAMESPACE}/{place.model}/predict"
        command = ["curl", "--silent", "--location", "--request", "POST", url, "--max-time", "200"]
        command += [
            "--header",
            f"Authorization: {place.key}",
            "--header",
            "Content-Type: multipart/form-data",
        ]
        command += ["-F", f"data={json.dumps(data)}", *parts, "--write-out", "\n%{http_code}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
        body, _, status = done.stdout.rpartition("\n")
        return Asked(int(status), json.loads(body))

    def kept(self, place: ModelPlace, **query: str) -> list[dict[str, Any]]:
        """The store's raw predictions, the newest first."""
        with place.cell() as cell:
            return list(cell.ask("/predictions", **query)["data"])


def _deployed(cluster: Cluster, folder: Path) -> str:
    x = np.linspace(0, 1, 40)[:, None]
    (folder / "bright.pkl").write_bytes(pickle.dumps(LogisticRegression(C=100.0).fit(x, x[:, 0] > 0.5)))
    conduit = Conduit(
        BARE,
        [(model_type.SKLEARN_CLASSIFIER, str(folder / "bright.pkl"), {"pre": brightness})],
        cpu=1,
        memory=1,
        max_replicas=1,
    )
    return conduit.deploy(NAMESPACE, options=("--kubeconfig", str(cluster.kubeconfig)), timeout=SECONDS)


@pytest.fixture(scope="module")
def scene(
    cluster: Cluster,
    kubectl: Kubectl,
    new_namespace: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("serving")
    new_namespace(NAMESPACE)
    pictures = ModelPlace(cluster, kubectl, NAMESPACE, PICTURES)
    pictures.keep("files-1", {"files.zip": image_bundle(folder / "bundle")})
    files = {"configMap": {"name": "files-1", "key": "files.zip"}}
    serving = {"flow": [FLOW], "files": files, "cpu": "1", "memory": "1Gi", "maxReplicas": 1}
    pictures.apply("MonitoredModel", PICTURES, **SHAPE, serving=serving)
    with pytest.MonkeyPatch.context() as patch, concurrent.futures.ThreadPoolExecutor(1) as pool:
        patch.setenv("PATH", f"{cluster.programs}{os.pathsep}{os.environ['PATH']}")
        deploying = pool.submit(_deployed, cluster, folder)
        pictures.until("Ready", "True")
        endpoint = deploying.result(timeout=SECONDS + 60)
    yield Scene(pictures, ModelPlace(cluster, kubectl, NAMESPACE, BARE), folder, endpoint)
    gone = ("--ignore-not-found", "--timeout=300s")
    kubectl.run("delete", "mmodel", PICTURES, BARE, "-n", NAMESPACE, *gone, seconds=310)


def test_the_documented_request_with_files_has_the_documented_answer(scene: Scene) -> None:
    files = {"night.png": flow_files.picture(5), "day.png": flow_files.picture(250)}
    asked = scene.curl(scene.pictures, ["n", "d"], files)
    assert asked.status == 200, asked.body
    assert set(asked.body) == {"result", "run_id", "run_time_ms", "prediction_ids"}
    assert isinstance(asked.body["run_time_ms"], float)
    night, day = asked.body["result"]
    assert (night["image"], night["file"], day["image"], day["file"]) == ("n", "night.png", "d", "day.png")
    assert night["bright"] < 0.2
    assert day["bright"] > 0.8
    assert len(set(asked.body["prediction_ids"])) == 2
    told = scene.pictures.status()["server"]
    host = f"http://{PICTURES}-server.{NAMESPACE}.svc:8080"
    assert told["predictUrl"] == f"{host}/v1/{NAMESPACE}/{PICTURES}/predict"


def test_predictions_are_inferences_and_labels_find_them_by_their_ids(scene: Scene) -> None:
    place = scene.pictures
    files = {"dusk.png": flow_files.picture(90), "noon.png": flow_files.picture(255)}
    asked = scene.curl(place, ["dusk", "noon"], files)
    first, second = asked.body["prediction_ids"]
    with place.cell() as cell:
        label = {"partner_inference_id": second, "ground_truth_timestamp": KNOWN, "is_bright": 1}
        assert cell.send_labels(pd.DataFrame([label])).acknowledged == 1

        def labelled() -> tuple[bool, str]:
            found = cell.query({"select": [{"property": "*"}], "from": "inference"})
            return {first, second} <= set(found["partner_inference_id"]), str(len(found))

        wait_for("both are stored", labelled, Waiting(SECONDS))
        one, other = cell.inference(first), cell.inference(second)
    assert (one.row["scene"], other.row["scene"]) == ("dusk", "noon")
    predicted = [entry["bright"] for entry in asked.body["result"]]
    assert [one.row["bright"], other.row["bright"]] == pytest.approx(predicted)
    assert (len(one.labels), len(other.labels), other.row["is_bright"]) == (0, 1, 1)
    kept = {entry["prediction_id"]: entry for entry in scene.kept(place, run_id=asked.body["run_id"])}
    assert kept.keys() == {first, second}
    assert all(entry["monitored"] for entry in kept.values())
    place.until("Monitored", "True Monitored")


def test_what_pre_processing_cannot_read_is_recorded_as_failed(scene: Scene) -> None:
    asked = scene.curl(scene.pictures, ["torn"], {"torn.png": b"no picture at all"})
    assert asked.status == 500
    assert set(asked.body) == {"error", "run_id", "run_time_ms", "prediction_ids"}
    assert "pre_process" in asked.body["error"]
    assert "cannot identify image file" in asked.body["error"]
    (kept,) = scene.kept(scene.pictures, run_id=asked.body["run_id"], failed="true")
    assert [kept["prediction_id"]] == asked.body["prediction_ids"]
    assert (kept["data"], kept["result"], kept["monitored"]) == ("torn", None, False)
    assert "cannot identify image file" in kept["failure"]


def test_files_that_cannot_be_loaded_leave_the_ones_before_at_work(scene: Scene) -> None:
    place, before = scene.pictures, set(scene.pictures.pods("server"))
    folder = scene.folder / "broken"
    image_bundle(folder)
    (folder / "functions.py").write_text("import a_module_that_nobody_has\n")
    place.keep("files-2", {"files.zip": zipped(folder)})
    try:
        _use(place, "files-2")
        wait_for("the new files have failed", lambda: _failed(place), Waiting(SECONDS))
        still = scene.curl(place, ["n"], {"n.png": flow_files.picture(1)})
        assert still.status == 200, still.body
        assert "a_module_that_nobody_has" in place.until("ServerAvailable", "True FilesBefore")
        place.until("Stalled", "True FilesBefore")
    finally:
        _use(place, "files-1")
    wait_for("the files before are at work alone", lambda: _mended(place), Waiting(SECONDS))
    place.until("ServerAvailable", "True Serving")
    assert set(place.pods("server")) == before


def test_a_model_without_attributes_predicts_and_is_monitored_once_it_has_them(scene: Scene) -> None:
    place = scene.bare
    assert scene.endpoint == place.status()["server"]["predictUrl"]
    assert place.conditions()["Monitored"][:2] == ("False", "NoAttributes")
    asked = scene.curl(place, ["n"], {"n.png": flow_files.picture(3)})
    assert asked.status == 200, asked.body
    (dark, bright) = asked.body["result"][0]
    assert dark > bright
    (kept,) = scene.kept(place, run_id=asked.body["run_id"])
    assert (kept["data"], kept["result"], kept["monitored"]) == ("n", [dark, bright], False)
    place.patch("mmodel", BARE, **SHAPE)
    place.until("Monitored", "True Monitored")
    place.pods("store")
    place.pods("server")
    place.until("Ready", "True")
    wait_for("predictions are inferences", lambda: _monitored(scene), Waiting(SECONDS))
    assert scene.kept(place, run_id=asked.body["run_id"]) == [kept]


def test_what_serves_may_reach_its_store_and_nothing_else(scene: Scene) -> None:
    for place in (scene.pictures, scene.bare):
        policy = place.kubectl.get("networkpolicy", f"{place.model}-server", NAMESPACE)
        assert policy is not None
        opened = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert opened == {53, 8080}
        (pod,) = place.pods("server").values()
        assert pod["spec"]["automountServiceAccountToken"] is False
        (runs,) = (one for one in pod["spec"]["containers"] if one["name"] == "model-server")
        assert runs["securityContext"]["readOnlyRootFilesystem"] is True
    with scene.pictures.http(f"{PICTURES}-server") as server:
        nobody = server.post("/predict", json=["n"], headers={"Authorization": "guessed"})
    assert nobody.status_code in (401, 403)


def _use(place: ModelPlace, config_map: str) -> None:
    place.patch(
        "mmodel", PICTURES, serving={"files": {"configMap": {"name": config_map, "key": "files.zip"}}}
    )


def _codes(place: ModelPlace) -> list[dict[str, Any]]:
    with place.cell() as cell:
        pods = (cell.status().get("server") or {}).get("pods", [])
    return [code for pod in pods for code in pod["codes"]]


def _failed(place: ModelPlace) -> tuple[bool, str]:
    codes = _codes(place)
    failed = any(code["state"] == "Failed" and "a_module_that" in code["message"] for code in codes)
    return failed, str(codes)


def _mended(place: ModelPlace) -> tuple[bool, str]:
    codes = _codes(place)
    return {code["state"] for code in codes} == {"Ready"}, str(codes)


def _monitored(scene: Scene) -> tuple[bool, str]:
    asked = scene.curl(scene.bare, ["later"], {"later.png": flow_files.picture(200)})
    if asked.status != 200:
        return False, str(asked)
    (kept,) = scene.kept(scene.bare, run_id=asked.body["run_id"])
    return bool(kept["monitored"]), str(kept)
