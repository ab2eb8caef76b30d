"""The census story with fewer people, on a real node: from kubectl apply to the drift in the status, and
through mishaps.

The tests run in any order: each leaves the same rows behind.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import delta_witness
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import recall_score

from examples.census import bundle, data, demo, findings, train
from examples.census.kubectl import Kubectl, Waiting, condition, wait_for
from examples.census.telling import Told, tell
from examples.census.watched_model import ENRICHMENTS, MODEL, REASONS, WatchedModel
from modelwarden.client import Cell
from modelwarden.resources.identity import model_id
from testbed.cluster import Cluster
from testbed.progress import Reporter

NAMESPACE = "census-e2e"
NAMESPACES = (NAMESPACE,)
REFERENCE_ROWS = 5000
PARTNER_MODEL_ID = "census-employment-ma-2015"


@dataclass(frozen=True)
class Scene:
    """The model after the story was told once."""

    cluster: Cluster
    model: WatchedModel
    story: train.Story
    told: Told

    def cell(self) -> Cell:
        return Cell(self.cluster.reach(NAMESPACE, MODEL, 8080), self.model.key(), self.model.model_id())

    @property
    def inferences(self) -> Path:
        return self.told.tables / "inferences"

    @property
    def truth(self) -> Path:
        return self.told.tables / "ground_truth"

    @property
    def rows(self) -> int:
        return self.story.replay.num_rows

    @property
    def labels(self) -> int:
        """Labels of November: those of December become known after the story."""
        return self.told.counts.labels.sent


def slice_of(story: train.Story) -> train.Story:
    """5,000 people as the reference, and every other one of the two months between which the feed changes;
    labels become known one month after their month.
    """
    stamps = story.replay.column("inference_timestamp")
    months = pc.strftime(pc.floor_temporal(stamps, unit="month"), format="%Y-%m")
    places = pc.indices_nonzero(pc.is_in(months, pa.array(["2017-11", "2017-12"])))[::2]
    replay = story.replay.take(places)
    labels = story.labels.take(places)
    known = data.known_after(replay.column("inference_timestamp"), months=1)
    labels = story.labels.take(places).set_column(1, "ground_truth_timestamp", known)
    return train.Story(story.model, story.reference.slice(0, REFERENCE_ROWS), replay, labels)


def _apply(model: WatchedModel) -> None:
    """The demo's objects, but that labels come after one month, not after three."""
    model.apply(bundle.text(train.story(data.cache_folder()).model))
    settings = {"spec": {"monitoring": {"labelDelay": "31d"}}}
    patch = ("patch", "mmodel", MODEL, "--type", "merge", "--patch", json.dumps(settings))
    model.kubectl.run(*patch, "--namespace", NAMESPACE)


@pytest.fixture(scope="module")
def scene(
    cluster: Cluster,
    new_namespace: Callable[[str], str],
    reporter: Reporter,
    tmp_path_factory: pytest.TempPathFactory,
) -> Scene:
    story = slice_of(train.story(data.cache_folder()))
    model = WatchedModel(cluster, new_namespace(NAMESPACE), reporter)
    _apply(model)
    url = cluster.reach(NAMESPACE, MODEL, 8080)
    with Cell(url, model.key(), model.model_id()) as cell:
        told = tell(model, cell, story, tmp_path_factory.mktemp("tables"))
    model.wait_for_rows(told.counts.rows.acknowledged, told.counts.labels.acknowledged)
    return Scene(cluster, model, story, told)


def test_every_acknowledged_row_is_in_the_table_once(scene: Scene) -> None:
    counts = scene.told.counts
    assert counts.rows.sent == scene.rows
    assert counts.rows.rejected == counts.labels.rejected == 0
    assert counts.all_there
    assert delta_witness.count(scene.inferences) == (scene.rows, scene.rows)


def test_every_acknowledged_label_is_in_the_table_once_and_none_before_its_time(scene: Scene) -> None:
    assert 0 < scene.labels < scene.rows
    assert scene.told.counts.labels_to_come == scene.rows - scene.labels
    assert delta_witness.count(scene.truth) == (scene.labels, scene.labels)
    ((employed, matched),) = delta_witness.ask(
        "SELECT sum(employed), count(*) FILTER (epoch(i.inference_timestamp) < 1512086400) "
        "FROM delta_scan(?) t JOIN delta_scan(?) i USING (partner_inference_id)",
        str(scene.truth),
        str(scene.inferences),
    )
    known = scene.story.labels.slice(0, scene.labels).column(data.LABEL)
    assert (employed, matched) == (pc.sum(known).as_py(), scene.labels)


def test_the_months_show_which_labels_have_come_and_what_they_say(scene: Scene) -> None:
    november, december = (scene.told.labelled.iloc[month] for month in (0, 1))
    assert (november["rows"] + december["rows"], november["labelled"], december["labelled"]) == (
        scene.rows, 1.0, 0.0,
    )  # fmt: skip
    assert 0.85 < november["auc"] < 0.95
    assert december.isna()["auc"]


def test_the_rows_in_the_table_are_the_rows_that_were_sent(scene: Scene) -> None:
    sent = scene.story.replay
    query = "SELECT RELP, count(*), round(sum(employed_probability), 4), min(inference_timestamp)::VARCHAR"
    stored = delta_witness.ask(
        f"{query} FROM delta_scan(?) GROUP BY RELP ORDER BY RELP", str(scene.inferences)
    )
    expected = sent.group_by("RELP").aggregate(
        [([], "count_all"), (train.PREDICTION, "sum"), ("inference_timestamp", "min")]
    )
    wanted = sorted(expected.to_pylist(), key=lambda row: str(row["RELP"]))
    assert [row[:2] for row in stored] == [[row["RELP"], row["count_all"]] for row in wanted]
    assert [row[2] for row in stored] == pytest.approx(
        [row[f"{train.PREDICTION}_sum"] for row in wanted], abs=1e-3
    )


def test_the_status_tells_the_truth_about_the_rows(scene: Scene) -> None:
    status = _told(scene)
    assert status["rows"]["acknowledged"] == status["rows"]["stored"] == scene.rows
    assert status["rows"]["waiting"] == status["rows"]["rejected"] == status["rows"]["sampledOut"] == 0
    assert status["rows"]["labels"] == {
        "acknowledged": scene.labels, "stored": scene.labels, "waiting": 0,
    }  # fmt: skip
    newest = pc.max(scene.story.replay.column("inference_timestamp")).as_py()
    assert abs(datetime.fromisoformat(status["newestInference"]) - newest) < timedelta(seconds=1)
    assert status["modelId"] == model_id(NAMESPACE, PARTNER_MODEL_ID)


def test_the_status_tells_the_truth_about_the_reference(scene: Scene) -> None:
    model = _told(scene)
    dataset = (scene.model.dataset() or {})["status"]
    assert (dataset["state"], dataset["records"], dataset["partnerRecordCount"]) == (
        "Profiled", REFERENCE_ROWS, REFERENCE_ROWS,
    )  # fmt: skip
    assert (model["reference"]["name"], model["reference"]["records"]) == ("employment-2015", REFERENCE_ROWS)
    loaded = {one["type"]: one["status"] for one in model["conditions"]}["ReferenceLoaded"]
    assert loaded == "True"


def test_the_drift_is_where_the_feed_changed(scene: Scene) -> None:
    november, december = (scene.told.scores.iloc[month] for month in (0, 1))
    assert list(november[november > 0.2].index) == ["RELP"]
    assert december["RELP"] > 2
    assert (december > 0.2).sum() >= 8
    assert december[["SEX", "NATIVITY"]].max() < 0.1


def test_people_unlike_the_reference_are_told_where_the_feed_changed(scene: Scene) -> None:
    november, december = scene.told.findings.anomalies.values()
    assert november["scored"] + december["scored"] == scene.rows
    assert not november["raised"]
    assert december["raised"]
    assert december["rate"] > 2 * december["expected_rate"]


def test_how_right_the_model_was_is_told_by_labels_and_without_them(scene: Scene) -> None:
    november, december = scene.told.findings.performance
    exact = scene.told.labelled["auc"].iloc[0]
    assert november["metrics"]["auc"]["value"] == pytest.approx(exact, abs=1e-3)
    assert (november["coverage"], december["coverage"]) == (1.0, 0.0)
    estimated = november["estimated"]["metrics"]["auc"]
    assert estimated["lower"] < exact < estimated["upper"]
    assert december["estimated"]["metrics"]["auc"]["value"] < estimated["lower"]


def test_groups_are_told_with_scikit_learns_numbers(scene: Scene) -> None:
    sexes = scene.told.findings.fairness[0]
    labels = scene.story.labels.slice(0, scene.labels).column(data.LABEL).to_numpy()
    sent = scene.story.replay.slice(0, scene.labels)
    found = sent.column(train.PREDICTION).to_numpy() >= 0.5
    codes = np.asarray(sent.column("SEX").to_pylist())
    told = {one["group"]: one["rates"]["true_positive_rate"]["value"] for one in sexes["groups"]}
    expected = {code: recall_score(labels[codes == code], found[codes == code]) for code in ("1", "2")}
    assert {code: told[code] for code in expected} == pytest.approx(expected, abs=1e-9)


def test_the_worst_slice_is_worse_than_the_rest_by_the_labels(scene: Scene) -> None:
    found = scene.told.findings.hotspots
    assert found["labelled"] > 0
    worst = found["data"][0]
    assert worst["value"] < 0.7 < worst["rest"]["value"]
    assert worst["interval"][1] < worst["rest"]["value"]


def test_the_demo_says_all_of_it_in_lines(scene: Scene) -> None:
    lines = findings.lines(scene.told.findings, demo.names())
    for start in ("Unlike the people", "How right it was", "How right it is thought", "Worst slice"):
        assert sum(line.startswith(start) for line in lines) == 1
    assert sum(line.startswith("Groups by") for line in lines) == len(data.PROTECTED)


def test_kubectl_shows_that_what_was_declared_is_at_work(scene: Scene, kubectl: Kubectl) -> None:
    # A test before this one may have replaced the pods.
    scene.model.wait_for_enrichments()
    scene.model.wait_for_server()
    for name in (*ENRICHMENTS, REASONS):
        wait_for(f"{name} is at work", lambda name=name: _at_work(kubectl, name), Waiting(300))
    header, *shown = kubectl.run("get", "enrich", "--namespace", NAMESPACE).splitlines()
    assert header.split()[0] == "NAME"
    assert {line.split()[0] for line in shown} == {*ENRICHMENTS, REASONS}


def test_kubectl_get_answers_what_a_person_asks(scene: Scene, kubectl: Kubectl) -> None:
    _told(scene)
    names: list[str] = []
    values: list[str] = []

    def look() -> tuple[bool, str]:
        nonlocal names, values
        header, line = kubectl.run("get", "mmodel", MODEL, "--namespace", NAMESPACE).splitlines()
        names, values = header.split(), line.split()
        return values[1] == "True" and len(values) == len(names), line

    wait_for("the model is shown as ready", look, Waiting(300))
    assert names == ["NAME", "READY", "HEALTH", "DRIFTED", "ROWS/H", "NEWEST", "AGE"]
    shown = dict(zip(names, values, strict=True))
    assert int(shown["DRIFTED"]) >= 1
    assert int(shown["ROWS/H"]) > 0


def test_rows_sent_again_are_acknowledged_and_not_counted_again(scene: Scene) -> None:
    with scene.cell() as cell:
        again = cell.send(scene.story.replay.slice(0, 1000))
        assert (again.acknowledged, again.refused) == (1000, ())
        wait_for("nothing waits", lambda: (cell.status()["rows"]["waiting"] == 0, ""), Waiting(120))
    assert delta_witness.count(scene.inferences) == (scene.rows, scene.rows)


def test_labels_sent_again_are_acknowledged_and_not_stored_again(scene: Scene) -> None:
    with scene.cell() as cell:
        again = cell.send_labels(scene.story.labels.slice(0, 1000))
        assert (again.acknowledged, again.refused) == (1000, ())
        counted = cell.status()["rows"]["labels"]
        assert counted["acknowledged"] == counted["stored"] == scene.labels
    assert delta_witness.count(scene.truth) == (scene.labels, scene.labels)


def test_the_rows_survive_the_loss_of_the_pod(scene: Scene, kubectl: Kubectl) -> None:
    selector = ("--namespace", NAMESPACE, "--selector", f"modelwarden.dev/model={MODEL}")
    before = {pod["metadata"]["uid"] for pod in kubectl.list("pods", NAMESPACE)}
    kubectl.run("delete", "pods", *selector, "--grace-period=0", "--force", "--wait=false")
    wait_for("another store is ready", lambda: _another_store(kubectl, before), Waiting(300))
    _same_as_before(scene)
    scene.model.wait_for_server()


def test_a_deleted_and_reapplied_model_finds_its_rows(scene: Scene, kubectl: Kubectl) -> None:
    identity = scene.model.model_id()
    scene.model.delete()
    assert kubectl.get("persistentvolumeclaim", f"{MODEL}-data", NAMESPACE) is not None
    assert kubectl.get("deployment", MODEL, NAMESPACE) is None
    _apply(scene.model)
    assert scene.model.model_id() == identity
    _same_as_before(scene)
    scene.model.close_reference(REFERENCE_ROWS)
    scene.model.wait_for_rows(scene.rows, scene.labels)
    scene.model.wait_for_enrichments()
    scene.model.wait_for_server()


def _told(scene: Scene) -> dict[str, Any]:
    """The status once it is of now: a test before may have replaced the pods or sent rows, and the operator
    asks every few seconds.
    """
    status: dict[str, Any] = {}

    def look() -> tuple[bool, str]:
        nonlocal status
        live = scene.model.model() or {}
        status = live.get("status") or {}
        rows = status.get("rows") or {}
        waiting = (rows.get("waiting"), (rows.get("labels") or {}).get("waiting"))
        answers, said = condition(live, "StoreAvailable")
        ready, why = condition(live, "Ready")
        return answers and ready and waiting == (0, 0), f"{waiting} wait; {said}; {why}"

    scene.model.wait_for_rows(scene.rows, scene.labels)
    wait_for("the status is of now", look, Waiting(300))
    return status


def _at_work(kubectl: Kubectl, enrichment: str) -> tuple[bool, str]:
    """Whether it is Ready; and what is trained has an artefact, as code that explains has none."""
    live = kubectl.get("enrichment", enrichment, NAMESPACE) or {}
    status = live.get("status") or {}
    so, said = condition(live, "Ready")
    trained = enrichment == REASONS or bool(status.get("artefactHash"))
    return so and status.get("state") == "Ready" and trained, said


def _another_store(kubectl: Kubectl, before: set[str]) -> tuple[bool, str]:
    pods = kubectl.list("pods", NAMESPACE)
    ready = [
        pod["metadata"]["name"]
        for pod in pods
        if pod["metadata"]["uid"] not in before
        and pod["metadata"]["labels"].get("app.kubernetes.io/component") == "store"
        and condition(pod, "Ready")[0]
    ]
    return bool(ready), f"{len(pods)} pods"


def _same_as_before(scene: Scene) -> None:
    """The rows, and what is computed of them, are what they were."""
    with scene.cell() as cell:
        rows = cell.status()["rows"]
        assert (rows["acknowledged"], rows["stored"]) == (scene.rows, scene.rows)
        assert (rows["labels"]["acknowledged"], rows["labels"]["stored"]) == (scene.labels, scene.labels)
        scores = cell.drift(list(scene.told.scores.columns), rollup="month")
    assert scores.equals(scene.told.scores)
    assert delta_witness.count(scene.inferences) == (scene.rows, scene.rows)
