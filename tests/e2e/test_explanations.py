"""Explanations on a real node: a forest explained with YAML alone, by the documented example's own settings;
then its code breaks, is mended, and its settings change.

The tests run in any order: each leaves the model explained by the project it began with.
"""

import contextlib
import io
import itertools
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import delta_witness
import numpy as np
import pandas as pd
import pytest
import sklearn
from model_place import SECONDS, ModelPlace
from sklearn.ensemble import RandomForestClassifier

from examples.census.kubectl import Kubectl, Waiting, wait_for
from testbed.cluster import Cluster

NAMESPACE = "why-e2e"
NAMESPACES = (NAMESPACE,)
MODEL, WHY, DATASET = "loans", "loans-why", "loans-training"
INPUTS = ("income", "age", "debts", "years")
ROWS, REFERENCE_ROWS = 300, 50
"""As many reference rows as trees are explained against: what is expected needs no choice among them."""
START = pd.Timestamp("2026-11-01", tz="UTC")
ATTRIBUTES = [
    {"name": "income", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 0},
    {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT", "position": 1},
    {"name": "debts", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 2},
    {"name": "years", "valueType": "INTEGER", "stage": "PIPELINE_INPUT", "position": 3},
    {"name": "risk", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "defaulted",
     "isPositivePredictedAttribute": True},
    {"name": "defaulted", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "attributeLink": "risk",
     "categorical": True},
]  # fmt: skip
ENTRYPOINT = """
import pathlib, pickle

model = pickle.loads((pathlib.Path(__file__).parent / "model.pkl").read_bytes())


def predict(x):
    return model.predict_proba(x)
"""
BROKEN = """
import os, socket

reached = []


def trial(name, attempt):
    try:
        attempt()
    except (OSError, RuntimeError):
        return
    reached.append(name)


trial("a socket", socket.socket)
trial("a process", os.fork)
trial("a shell", lambda: os.execv("/bin/sh", ["sh", "-c", "echo"]))
trial("the token", lambda: os.listdir("/var/run/secrets/kubernetes.io"))
trial("the key", lambda: open("/etc/modelwarden/key/key").read())
trial("the model server", lambda: open(f"/proc/{os.getppid()}/environ").read())
trial("its own code", lambda: open(__file__, "a"))
trial("the root", lambda: open("/var/tmp/left", "w"))
raise ImportError(f"no module named forests; reached: {reached or None}")
"""
SETTINGS = {
    "pythonVersion": "3.8",
    "sdkVersion": "3.25.0",
    "streamingExplainabilityEnabled": True,
    "userPredictFunctionImportPath": "entrypoint",
    "shapExpectedValues": [0],
    "modelServerCpu": "2",
    "modelServerMemory": "1500Mi",
    "modelServerMaxReplicas": 30,
    "explanationNsamples": 2000,
    "explanationAlgo": "shap",
    "inferenceConsumerCpu": "500m",
    "inferenceConsumerMemory": "256Mi",
    "inferenceConsumerScorePercent": 1,
    "inferenceConsumerThreadPoolSize": 5,
}
"""The body of the documented call that turns explanations on, all fourteen keys."""


def people(rows: int, seed: int) -> np.ndarray:
    """Inputs, one row a person."""
    rng = np.random.default_rng(seed)
    income = rng.lognormal(3, 0.5, rows).round(3)
    return np.column_stack(
        [income, rng.integers(18, 90, rows), rng.exponential(8, rows).round(3), rng.integers(0, 30, rows)]
    )


def forest() -> RandomForestClassifier:
    """The user's model."""
    x = people(2000, 1)
    odds = 1.5 * np.log(20 / x[:, 0]) + 0.1 * x[:, 2] - 0.05 * x[:, 3]
    y = np.random.default_rng(1).random(len(x)) < 1 / (1 + np.exp(-odds))
    return RandomForestClassifier(25, max_depth=5, random_state=1).fit(x, y.astype(int))


def project(model: RandomForestClassifier, entrypoint: str = ENTRYPOINT) -> dict[str, bytes]:
    """What a ConfigMap holds of the user's project: the documented archive, its requirements pinned."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("entrypoint.py", entrypoint)
        archive.writestr("requirements.txt", f"scikit-learn=={sklearn.__version__}\n")
        archive.writestr("model.pkl", pickle.dumps(model))
    return {"user_project.zip": made.getvalue()}


def shapley(model: RandomForestClassifier, x: np.ndarray, background: np.ndarray) -> dict[str, float]:
    """Shapley values of the probability for one row by their definition, over all coalitions of inputs."""
    many = len(x)
    sizes = range(many + 1)
    worth = {}
    for coalition in itertools.chain(*(itertools.combinations(range(many), size) for size in sizes)):
        mixed = background.copy()
        mixed[:, list(coalition)] = x[list(coalition)]
        worth[coalition] = model.predict_proba(mixed)[:, 1].mean()
    values = np.zeros(many)
    for one, coalition in itertools.product(range(many), worth):
        if one not in coalition:
            size = len(coalition)
            share = math.factorial(size) * math.factorial(many - size - 1) / math.factorial(many)
            values[one] += share * (worth[tuple(sorted((*coalition, one)))] - worth[coalition])
    return dict(zip(INPUTS, values, strict=True))


@dataclass
class Scene:
    """The model, explained."""

    place: ModelPlace
    model: RandomForestClassifier
    reference: np.ndarray
    first: dict[str, Any] = field(default_factory=dict)
    """The first pod that explained."""
    sent: list[str] = field(default_factory=list)
    """Ids of the inferences that were acknowledged."""

    def frame(self, x: np.ndarray) -> pd.DataFrame:
        """Rows with what the model says of them."""
        rows = pd.DataFrame(x, columns=list(INPUTS)).astype({"age": int, "years": int})
        return rows.assign(risk=self.model.predict_proba(x)[:, 1])

    def send(self, x: np.ndarray, tag: str) -> list[str]:
        """Sends inferences, all of which must be acknowledged; their ids."""
        ids = [f"{tag}-{n}" for n in range(len(x))]
        times = pd.DatetimeIndex(START + pd.Timedelta(minutes=1) * np.arange(len(x)))
        with self.place.cell() as cell:
            report = cell.send(self.frame(x).assign(partner_inference_id=ids, inference_timestamp=times))
        assert (report.acknowledged, report.refused) == (len(x), ())
        self.sent += ids
        return ids

    def explained(self, tag: str) -> dict[str, list[tuple[object, ...]]]:
        """What an independent reader finds in the table of explanations, by id."""
        folder = self.place.cluster.volume_folder(NAMESPACE, f"{MODEL}-data")
        assert folder is not None
        table = folder / "tables" / "explanations"
        found: dict[str, list[tuple[object, ...]]] = {}
        if not (table / "_delta_log").exists():
            return found
        query = "SELECT partner_inference_id, path, algorithm, failure FROM delta_scan(?)"
        for one, *told in delta_witness.ask(query, str(table)):
            if str(one).startswith(f"{tag}-"):
                found.setdefault(str(one), []).append(tuple(told))
        return found

    def until_explained(self, ids: list[str]) -> None:
        """Waits until the store has an explanation of each of these rows."""

        def look() -> tuple[bool, str]:
            with self.place.http() as store:
                asked = [self.why(store, one) for one in (ids[0], ids[-1])]
                told = store.get("/status").json()["server"]["explanations"]
            stored = {answer.get("computed_from") for answer in asked} == {"stored"}
            return stored and told["waiting"] == 0, str(told)

        wait_for("the rows are explained", look, Waiting(SECONDS))

    def until_why(self, one: str) -> dict[str, Any]:
        """Waits until there is an answer to why for a stored inference; a busy server says: ask again."""
        told: dict[str, Any] = {}

        def look() -> tuple[bool, str]:
            nonlocal told
            with self.place.http() as store:
                told = self.why(store, one)
            return bool(told), "no answer yet"

        wait_for(f"{one} is explained on demand", look, Waiting(SECONDS))
        return told

    def why(self, store: Any, one: str, **params: str) -> dict[str, Any]:
        """The answer to why for a stored inference; empty while there is none."""
        path = f"/api/v3/models/{self.place.status()['modelId']}/inferences/{one}/explanation"
        answer = store.get(path, params=params)
        return dict(answer.json()) if answer.status_code == 200 else {}

    def explain(self, **changed: Any) -> None:
        """Changes some keys of the Enrichment."""
        self.place.patch("enrich", WHY, explainability=changed)

    @contextlib.contextmanager
    def changed(self, **keys: Any) -> Iterator[None]:
        """Some keys are other ones as long as the block lasts."""
        self.explain(**keys)
        try:
            yield
        finally:
            self.explain(**{key: SETTINGS.get(key) for key in keys} | _project_of(keys))

    def uids(self) -> dict[str, set[str]]:
        """Which pods are there, by what they are."""
        return {one: set(self.place.pods(one)) for one in ("store", "server")}


def _project_of(keys: dict[str, Any]) -> dict[str, Any]:
    return {"project": _from("project-1")} if "project" in keys else {}


def _from(config_map: str) -> dict[str, Any]:
    return {"configMap": {"name": config_map, "key": "user_project.zip"}}


@pytest.fixture(scope="module")
def scene(cluster: Cluster, kubectl: Kubectl, new_namespace: Callable[[str], str]) -> Iterator[Scene]:
    place = ModelPlace(cluster, kubectl, new_namespace(NAMESPACE), MODEL)
    made = Scene(place, forest(), people(REFERENCE_ROWS, 2))
    place.keep("project-1", project(made.model))
    place.keep("project-2", project(made.model, BROKEN))
    why = {"modelRef": {"name": MODEL}, "type": "Explainability"}
    shape = {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": ATTRIBUTES}
    place.apply("MonitoredModel", MODEL, **shape)
    place.apply("ReferenceDataset", DATASET, modelRef={"name": MODEL})
    place.apply("Enrichment", WHY, **why, explainability=SETTINGS | {"project": _from("project-1")})
    place.until("StoreAvailable", "True")
    with place.cell() as cell:
        reference = made.frame(made.reference).assign(defaulted=0)
        cell.upload_reference(reference, dataset=DATASET)
    place.patch("refds", DATASET, closed=True, totalRecordCount=REFERENCE_ROWS)
    place.until("ExplainerReady", "True Explaining", seconds=450)
    (made.first,) = place.pods("server").values()
    yield made
    if kubectl.get("mmodel", MODEL, NAMESPACE):
        kubectl.run("delete", "mmodel", MODEL, "-n", NAMESPACE, "--timeout=300s", seconds=310)


def test_the_documented_settings_run_and_the_status_says_which_python(scene: Scene) -> None:
    place = scene.place
    told = place.until("EnvironmentReady", "True OtherPython")
    assert "Python 3.8 is asked for" in told
    assert "Python 3.11 runs" in told
    place.until("ExplainerReady", "True Explaining")
    place.until("ServerAvailable", "True")
    place.until_object("enrich", WHY, "Ready")
    assert place.status()["server"]["python"].startswith("3.11")
    limits = {one["name"]: one["resources"]["limits"] for one in scene.first["spec"]["containers"]}
    assert limits["model-server"] == {"cpu": "2", "memory": "1500Mi"}
    assert limits["ingest"] == {"cpu": "500m", "memory": "256Mi"}
    assert [one["restartCount"] for one in scene.first["status"]["containerStatuses"]] == [0, 0]
    scale = place.kubectl.get("hpa", f"{MODEL}-server", NAMESPACE)
    assert scale is not None
    assert (scale["spec"]["minReplicas"], scale["spec"]["maxReplicas"]) == (1, 30)


def test_rows_are_explained_as_they_come_each_once_and_from_the_trees(scene: Scene) -> None:
    ids = scene.send(people(ROWS, 3), "stream")
    scene.until_explained(ids)
    assert scene.explained("stream") == {one: [("trees", "shap", None)] for one in ids}


def test_one_explanation_on_demand_is_what_the_definition_says(scene: Scene) -> None:
    x = np.array([18.25, 44, 12.5, 3])
    expected = shapley(scene.model, x, scene.reference)
    with scene.place.cell() as cell:
        told = cell.what_if(dict(zip(INPUTS, [18.25, 44, 12.5, 3], strict=True)))
    (explanation,) = told["explanation"]
    values = {one["attribute_name"]: one["explanation_value"] for one in explanation["importance_scores"]}
    assert values == pytest.approx(expected, abs=1e-9)
    assert told["path"] == "trees"
    (predicted,) = told["predicted_values"]
    assert predicted["attribute_value"] == pytest.approx(scene.model.predict_proba([x])[0, 1])


def test_a_stored_row_is_explained_by_the_same_values(scene: Scene) -> None:
    x = people(3, 4)
    ids = scene.send(x, "asked")
    scene.until_explained(ids)
    told = scene.until_why(ids[1])
    (explanation,) = told["explanation"]
    values = {one["attribute_name"]: one["explanation_value"] for one in explanation["importance_scores"]}
    assert values == pytest.approx(shapley(scene.model, x[1], scene.reference), abs=1e-9)
    base = scene.model.predict_proba(scene.reference)[:, 1].mean()
    assert told["expected_value"][0]["expected_value"] == pytest.approx(base)


def test_code_that_breaks_is_said_with_its_last_lines_and_touches_no_row(scene: Scene) -> None:
    place, before = scene.place, scene.uids()
    with scene.changed(project=_from("project-2")):
        said = place.until("ExplainerReady", "False CodeFailed", "no module named forests")
        assert "reached: None" in said
        # The Enrichment is told after its model.
        wait_for("the Enrichment says it, too", lambda: _state(place, "Failed"), Waiting(SECONDS))
        ids = scene.send(people(100, 5), "meanwhile")
        wait_for("all are stored", lambda: _all_stored(scene), Waiting(SECONDS))
        assert place.conditions()["Ready"][0] == "True"
        assert scene.explained("meanwhile") == {}
    place.until("ExplainerReady", "True Explaining")
    scene.until_explained(ids)
    assert scene.explained("meanwhile") == {one: [("trees", "shap", None)] for one in ids}
    assert scene.uids() == before


def test_how_rows_are_explained_changes_without_any_restart(scene: Scene) -> None:
    before = scene.uids()
    with scene.changed(explanationAlgo="lime", inferenceConsumerScorePercent=0.0):
        generation = (scene.place.kubectl.get("mmodel", MODEL, NAMESPACE) or {})["metadata"]["generation"]
        assert generation == 1
        wait_for("lime is in force", lambda: _algorithm_of_new_row(scene, "lime"), Waiting(SECONDS))
        ids = scene.send(people(20, 6), "passed-over")
        wait_for("all are stored", lambda: _all_stored(scene), Waiting(SECONDS))
        told = scene.until_why(ids[0])
        assert (told["explanation"][0]["algorithm"], told["computed_from"]) == ("lime", "model_server")
    wait_for("shap is in force again", lambda: _algorithm_of_new_row(scene, "shap"), Waiting(SECONDS))
    # On demand the store says how; rows as they come the pod explains by its plan, which follows later.
    probes = (f"probe{n}" for n in itertools.count())
    wait_for("shap explains rows as they come", lambda: _is_shap(scene, next(probes)), Waiting(SECONDS))
    assert scene.explained("passed-over") == {}
    assert scene.uids() == before


def test_more_memory_replaces_the_server_and_never_the_store(scene: Scene) -> None:
    before = scene.uids()
    scene.explain(modelServerMemory="1600Mi")
    wait_for("another pod explains", lambda: _other_server(scene, before["server"]), Waiting(SECONDS))
    scene.until_explained(scene.send(people(20, 7), "rolled"))
    assert scene.uids()["store"] == before["store"]


def test_what_runs_user_code_holds_no_secret_and_may_talk_to_its_cell_alone(scene: Scene) -> None:
    (pod,) = scene.place.pods("server").values()
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    (runs,) = (one for one in spec["containers"] if one["name"] == "model-server")
    assert runs["securityContext"]["readOnlyRootFilesystem"] is True
    assert runs["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    sources = {volume["name"]: set(volume) - {"name"} for volume in spec["volumes"]}
    assert {kind for mount in runs["volumeMounts"] for kind in sources[mount["name"]]} == {"emptyDir"}
    assert not [entry for entry in runs["env"] if "valueFrom" in entry]
    policy = scene.place.kubectl.get("networkpolicy", f"{MODEL}-server", NAMESPACE)
    assert policy is not None
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    names, store = policy["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert {port["port"] for port in store["ports"]} == {8080}
    (to,) = store["to"]
    (holder,) = scene.place.pods("store").values()
    assert to["podSelector"]["matchLabels"].items() <= holder["metadata"]["labels"].items()
    assert to["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "store"


def _all_stored(scene: Scene) -> tuple[bool, str]:
    with scene.place.cell() as cell:
        rows = cell.status()["rows"]
    return rows["stored"] == rows["acknowledged"] == len(scene.sent), str(rows)


def _state(place: ModelPlace, state: str) -> tuple[bool, str]:
    told = str(((place.kubectl.get("enrich", WHY, NAMESPACE) or {}).get("status") or {}).get("state"))
    return told == state, told


def _is_shap(scene: Scene, tag: str) -> tuple[bool, str]:
    ids = scene.send(people(1, 8), tag)
    scene.until_explained(ids)
    told = scene.explained(tag)
    return told == {ids[0]: [("trees", "shap", None)]}, str(told)


def _algorithm_of_new_row(scene: Scene, algorithm: str) -> tuple[bool, str]:
    given = dict(zip(INPUTS, [21.0, 30, 1.5, 2], strict=True))
    with scene.place.cell() as cell:
        (told,) = cell.what_if(given)["explanation"]
    return told["algorithm"] == algorithm, str(told["algorithm"])


def _other_server(scene: Scene, before: set[str]) -> tuple[bool, str]:
    found = set(scene.place.pods("server"))
    told = scene.place.conditions().get("ExplainerReady", ("not there",))
    ready = scene.place.status()["server"]["readyPods"]
    return bool(found) and not found & before and ready == 1 and told[0] == "True", f"{ready} {told}"
