"""Enrichments on a real node: what they wait for, their training Jobs, what a Job meets, and what it leaves.

The tests run in any order: each leaves the model with the Enrichments that it found.
"""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import delta_witness
import numpy as np
import pandas as pd
import pytest
from model_place import SECONDS

from examples.census.kubectl import Kubectl, Waiting, condition, wait_for
from modelwarden.client import Cell, Patience
from modelwarden.client.errors import CellError
from testbed.cluster import Cluster

NAMESPACE = "enrich-e2e"
NAMESPACES = (NAMESPACE,)
MODEL, STARVED = "credit", "starved"
REFERENCE_ROWS, ROWS, DAYS = 5000, 4000, 19
START = pd.Timestamp("2026-11-01", tz="UTC")
FAIL_SECONDS = 450.0
"""A Job tries four times, with 10, 20 and 40 seconds between."""
PATIENCE = Patience(total_seconds=SECONDS)
"""For a store that is killed meanwhile, and has to start again."""
OUT_OF_MEMORY = "used more memory than its limit: raise spec.training.resources.limits.memory"
FOR_REFERENCE = "waits for a closed reference dataset"
FOR_ROWS = "waits for inferences and labels"
ATTRIBUTES = [
    {"name": "income", "valueType": "FLOAT", "stage": "PIPELINE_INPUT"},
    {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT"},
    {"name": "city", "valueType": "STRING", "stage": "PIPELINE_INPUT", "categorical": True},
    {"name": "sex", "valueType": "STRING", "stage": "NON_INPUT_DATA", "categorical": True,
     "monitorForBias": True},
    {"name": "risk", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "defaulted",
     "isPositivePredictedAttribute": True},
    {"name": "defaulted", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "attributeLink": "risk",
     "categorical": True},
]  # fmt: skip


def people(rows: int, seed: int) -> pd.DataFrame:
    """People who ask for credit: women get too high a risk, and the model fails old people in Naples."""
    rng = np.random.default_rng(seed)
    sex, city = rng.choice(["f", "m"], rows), rng.choice(["Milan", "Naples", "Rome"], rows)
    age, income = rng.integers(18, 90, rows), np.round(rng.lognormal(10, 0.5, rows), 2)
    odds = 1.2 * np.log(22_000 / income) + 0.02 * (45 - age)
    truth = 1 / (1 + np.exp(-odds))
    failed = (city == "Naples") & (age > 60)
    return pd.DataFrame(
        {
            "income": income,
            "age": age,
            "city": city,
            "sex": sex,
            "risk": 1 / (1 + np.exp(-odds - np.where(sex == "f", 0.4, 0.0))),
            "defaulted": (rng.random(rows) < np.where(failed, 1 - truth, truth)).astype(int),
        }
    )


def inferences(rows: int, seed: int, tag: str) -> pd.DataFrame:
    """The same with ids and times, spread over the days."""
    step = (pd.Timedelta(days=DAYS) / rows).floor("us")
    return people(rows, seed).assign(
        partner_inference_id=[f"{tag}-{n}" for n in range(rows)],
        inference_timestamp=pd.DatetimeIndex(START + step * np.arange(rows)),
    )


@dataclass
class Place:
    """The namespace with both models, through kubectl and through their servers."""

    cluster: Cluster
    kubectl: Kubectl
    sent: int = 0
    """Inferences that the model has acknowledged."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, kind: str, name: str, **spec: Any) -> None:
        """Applies an object with that spec."""
        made = {
            "apiVersion": "modelwarden.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": spec,
        }
        self.kubectl.apply(json.dumps(made), "--force-conflicts")

    def patch(self, kind: str, name: str, **spec: Any) -> None:
        """Changes some fields of a spec."""
        change = ("--type", "merge", "--patch", json.dumps({"spec": spec}))
        self.kubectl.run("patch", kind, name, "--namespace", NAMESPACE, *change)

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object and waits until it is gone."""
        self.kubectl.run("delete", kind, name, "-n", NAMESPACE, "--timeout=300s", seconds=310)

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """An object's status, empty as long as there is none."""
        return dict((self.kubectl.get(kind, name, NAMESPACE) or {}).get("status") or {})

    def trained(self, kind: str, model: str = MODEL) -> dict[str, Any]:
        """What the model's status says of one thing that is trained."""
        known = self.status("mmodel", model).get("enrichments", [])
        return next((dict(one) for one in known if one["kind"] == kind), {})

    def wait(self, kind: str, name: str, **so: str) -> dict[str, Any]:
        """Waits until the status of an Enrichment has those fields for its newest version; that status."""
        generation = (self.kubectl.get(kind, name, NAMESPACE) or {})["metadata"]["generation"]
        now: dict[str, Any] = {}

        def look() -> tuple[bool, str]:
            nonlocal now
            now = self.status(kind, name)
            current = now.get("observedGeneration") == generation
            return current and all(now.get(key) == value for key, value in so.items()), str(now)

        wait_for(f"{name} is {so}", look, Waiting(SECONDS))
        return now

    def wait_trained(self, kind: str, model: str = MODEL, **so: Any) -> dict[str, Any]:
        """Waits until what the model's status says of one thing has those fields; what it says then."""
        now: dict[str, Any] = {}

        def look() -> tuple[bool, str]:
            nonlocal now
            now = self.trained(kind, model)
            return bool(now) and all(now.get(key) == value for key, value in so.items()), str(now)

        wait_for(f"{kind} of {model} is {so}", look, Waiting(FAIL_SECONDS))
        return now

    def wait_ready(self, model: str) -> None:
        """Waits until a model's store takes in rows."""

        def look() -> tuple[bool, str]:
            return condition(self.kubectl.get("mmodel", model, NAMESPACE), "Ready")

        wait_for(f"{model} is Ready", look, Waiting(SECONDS))

    def trainers(self, kind: str) -> tuple[str, ...]:
        """Which pods train one thing of the model, as kubectl is asked for them."""
        selector = f"modelwarden.dev/model={MODEL},modelwarden.dev/trains={kind}"
        return ("pods", "--namespace", NAMESPACE, "--selector", selector)

    @contextlib.contextmanager
    def cell(self, model: str = MODEL) -> Iterator[Cell]:
        """The model's server."""
        template = "go-template={{.data.key | base64decode}}"
        key = self.kubectl.run("get", "secret", f"{model}-key", "-n", NAMESPACE, "-o", template)
        url = self.cluster.reach(NAMESPACE, model, 8080)
        with Cell(url, key, self.status("mmodel", model)["modelId"], patience=PATIENCE) as opened:
            yield opened

    def load(self, model: str) -> None:
        """Uploads reference rows and closes them."""
        dataset = f"{model}-training"
        with self.cell(model) as cell:
            cell.upload_reference(people(REFERENCE_ROWS, 1), dataset=dataset)
        self.patch("refds", dataset, closed=True, totalRecordCount=REFERENCE_ROWS)

    def send(self, rows: pd.DataFrame) -> None:
        """Sends inferences, all of which must be acknowledged."""
        with self.cell() as cell:
            report = cell.send(rows.drop(columns="defaulted"))
        assert (report.acknowledged, report.refused) == (len(rows), ())
        with self._lock:
            self.sent += len(rows)

    @contextlib.contextmanager
    def sending(self, tag: str) -> Iterator[None]:
        """Sends rows, fifty at a time, as long as the block lasts."""
        over, troubles = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                for number in range(2000):
                    self.send(inferences(50, number, f"{tag}-{number}"))
                    if over.wait(0.1):
                        return
            except BaseException as trouble:  # noqa: BLE001 - told by the thread that waits
                troubles.append(trouble)

        sender = threading.Thread(target=work)
        sender.start()
        try:
            yield
        finally:
            over.set()
            sender.join(timeout=SECONDS)
        assert not sender.is_alive()
        assert troubles == []


@dataclass(frozen=True)
class Scene:
    """The place once all is trained, and what was said on the way there."""

    place: Place
    said: list[tuple[str, str, str]]
    """(Enrichment, state, message), in the order in which the API server told them."""
    events: list[dict[str, Any]]
    """About the model."""

    def states(self, name: str) -> list[str]:
        """The states that an Enrichment went through."""
        told = [state for one, state, _ in self.said if one == name]
        return [state for n, state in enumerate(told) if state and (n == 0 or told[n - 1] != state)]


@contextlib.contextmanager
def heard(kubectl: Kubectl, file: Path) -> Iterator[None]:
    """Writes every status of an Enrichment to a file: a look now and then would miss some."""
    words = "{.metadata.name}|{.status.state}|{.status.message}{'\\n'}"
    question = ("get", "enrich", "--namespace", NAMESPACE, "--watch", "--output", f"jsonpath={words}")
    with file.open("w") as out:
        watching = subprocess.Popen(kubectl.command(*question), stdout=out)
        try:
            yield
        finally:
            watching.terminate()
            watching.wait(timeout=60)


def statuses(file: Path) -> list[tuple[str, str, str]]:
    """What was heard so far: (Enrichment, state, message). A line that is still being written is not."""
    whole = file.read_text().split("\n")[:-1]
    told = (line.split("|", 2) for line in whole)
    return [(name, state, message) for name, state, message in told]


def wait_heard(file: Path, name: str, state: str, message: str = "") -> None:
    """Waits until the newest that was heard of an Enrichment is that state, with those words."""

    def look() -> tuple[bool, str]:
        told = [entry for entry in statuses(file) if entry[0] == name]
        return bool(told) and told[-1][1] == state and message in told[-1][2], str(told[-1:])

    wait_for(f"{name} was heard to be {state}", look, Waiting(SECONDS))


def declare(place: Place) -> None:
    """Both models; one of them may use so little memory that no training can."""
    shape = {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": ATTRIBUTES}
    little = {"training": {"resources": {"limits": {"memory": "48Mi"}}}}
    for name, more in ((MODEL, {}), (STARVED, little)):
        place.apply("MonitoredModel", name, **shape, **more)
        place.apply("ReferenceDataset", f"{name}-training", modelRef={"name": name})
    for name in (STARVED, MODEL):
        place.wait_ready(name)


@pytest.fixture(scope="module")
def scene(
    cluster: Cluster,
    kubectl: Kubectl,
    new_namespace: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    new_namespace(NAMESPACE)
    place, file = Place(cluster, kubectl), tmp_path_factory.mktemp("said") / "enrichments"
    declare(place)
    place.load(STARVED)
    with heard(kubectl, file):
        for name, type_ in (("fair", "BiasMitigation"), ("weak", "Hotspots")):
            place.apply("Enrichment", name, modelRef={"name": MODEL}, type=type_)
            place.wait("enrich", name, state="Pending")
        for kind in ("bias", "hotspots"):
            place.wait_trained(kind, state="Pending", reason="Waiting")
        wait_heard(file, "fair", "Pending", FOR_REFERENCE)
        wait_heard(file, "weak", "Pending", FOR_ROWS)
        rows = inferences(ROWS, 2, "first")
        place.send(rows)
        labels = rows[["partner_inference_id", "defaulted"]]
        known = rows["inference_timestamp"] + pd.Timedelta(days=1)
        with place.cell() as cell:
            cell.send_labels(labels.assign(ground_truth_timestamp=known))
        place.load(MODEL)
        place.wait("enrich", "fair", state="Ready")
        place.wait("enrich", "weak", state="Ready")
        place.wait_trained("anomaly", state="Ready")
        for name in ("fair", "weak"):
            wait_heard(file, name, "Ready")
    wait_for("events tell what was trained", lambda: _told_of_trainings(kubectl), Waiting(SECONDS))
    yield Scene(place, statuses(file), _events(kubectl))
    for name in (MODEL, STARVED):
        if kubectl.get("mmodel", name, NAMESPACE):
            place.delete("mmodel", name)


def test_what_is_declared_waits_then_trains_then_is_ready(scene: Scene) -> None:
    for name in ("fair", "weak"):
        states = scene.states(name)
        assert states[0] == "Pending"
        assert states[-1] == "Ready"
        assert "Training" in states
        assert "Failed" not in states
        assert len(scene.place.wait("enrich", name, state="Ready")["artefactHash"]) == 64
    waits = {(one, message) for one, state, message in scene.said if state == "Pending"}
    assert ("fair", FOR_REFERENCE) in waits
    assert ("weak", FOR_ROWS) in waits
    header, *shown = scene.place.kubectl.run("get", "enrich", "-n", NAMESPACE, "-o", "wide").splitlines()
    assert header.split()[-2:] == ["REASON", "MESSAGE"]
    assert {line.split()[0] for line in shown} >= {"fair", "weak"}


def test_anomalies_are_scored_without_any_object(scene: Scene) -> None:
    place = scene.place
    summary = place.wait_trained("anomaly", state="Ready", declaredBy=None)
    assert len(summary["artefactHash"]) == 64
    place.send(inferences(200, 3, "scored"))
    body = {
        "select": [{"property": "partner_inference_id"}, {"property": "anomaly_score"}],
        "from": "enriched",
        "filter": [{"property": "partner_inference_id", "comparator": "eq", "value": "scored-7"}],
    }

    def scored() -> tuple[bool, str]:
        with place.cell() as cell:
            found = cell.query(body)
        return len(found) == 1 and bool(found["anomaly_score"].notna().all()), str(found.to_dict())

    wait_for("the row has a score", scored, Waiting(SECONDS))
    with place.cell() as cell:
        (score,) = cell.query(body)["anomaly_score"]
        judged = cell.status()["anomaly"]
    assert 0 < score < 1
    assert judged["scored"] > 0
    assert 0 <= judged["rate"] < 0.1


def test_applying_an_enrichment_makes_no_model_not_ready(scene: Scene) -> None:
    told = [event for event in scene.events if event["involvedObject"]["kind"] == "MonitoredModel"]
    assert [event["message"] for event in told if event["reason"] == "Starting"] == []
    assert _trained_by(scene.events) >= {"anomaly", "bias", "hotspots"}


def test_off_is_gone_from_the_answers_and_on_gives_the_same_artefact(scene: Scene) -> None:
    place, answers = scene.place, "/enrichments/bias_mitigation"
    curves, thresholds = f"{answers}/curves", f"{answers}/thresholds"
    before = place.wait("enrich", "fair", state="Ready")
    with place.cell() as cell:
        assert cell.ask(curves)["data"]
        place.patch("enrich", "fair", enabled=False)
        try:
            assert "artefactHash" not in place.wait("enrich", "fair", state="Disabled")
            assert not cell.ask(curves)["data"]
            with pytest.raises(CellError, match="404"):
                cell.ask(thresholds)
        finally:
            place.patch("enrich", "fair", enabled=True)
        again = place.wait("enrich", "fair", state="Ready")
        assert again["artefactHash"] == before["artefactHash"]
        assert datetime.fromisoformat(again["trainedAt"]) > datetime.fromisoformat(before["trainedAt"])
        assert cell.ask(curves)["data"]


def test_a_younger_one_of_the_same_type_says_which_one_counts(scene: Scene) -> None:
    place = scene.place
    before = place.wait("enrich", "fair", state="Ready")["artefactHash"]
    with _deleted_after(place, "fairer"):
        place.apply("Enrichment", "fairer", modelRef={"name": MODEL}, type="BiasMitigation", enabled=False)

        said = ""

        def stalled() -> tuple[bool, str]:
            nonlocal said
            so, said = condition(place.kubectl.get("enrich", "fairer", NAMESPACE), "Stalled")
            return so, said

        wait_for("it says so", stalled, Waiting(SECONDS))
        assert "DuplicateEnrichment" in said
        assert "Enrichment fair is older" in said
        assert place.status("enrich", "fair")["artefactHash"] == before


def test_too_little_memory_is_said_in_plain_words_and_more_helps(scene: Scene) -> None:
    place = scene.place
    failed = place.wait_trained("anomaly", STARVED, state="Failed", reason="OutOfMemory")
    assert OUT_OF_MEMORY in failed["message"]
    place.wait_ready(STARVED)
    place.patch("mmodel", STARVED, training={"resources": {"limits": {"memory": "1Gi"}}})
    place.wait_trained("anomaly", STARVED, state="Ready", reason="Trained")
    place.delete("refds", f"{STARVED}-training")
    place.delete("mmodel", STARVED)
    selector = ("--namespace", NAMESPACE, "--selector", f"modelwarden.dev/model={STARVED}")

    def gone() -> tuple[bool, str]:
        left = place.kubectl.run("get", "jobs,secrets,pods", *selector, "-o", "name").split()
        return not left, " ".join(left)

    wait_for("nothing is left of the model's trainings", gone, Waiting(SECONDS))


def test_a_store_that_goes_during_a_training_loses_neither_it_nor_a_row(
    scene: Scene, cluster: Cluster
) -> None:
    place = scene.place
    default = place.wait_trained("anomaly", state="Ready", declaredBy=None)["artefactHash"]
    seed = {"seed": 7}
    known = place.kubectl.run("get", *place.trainers("anomaly"), "-o", "jsonpath={.items[*].metadata.uid}")
    with _deleted_after(place, "odd"), place.sending("during"):
        place.apply(
            "Enrichment", "odd", modelRef={"name": MODEL}, type="AnomalyDetection", anomalyDetection=seed
        )
        _wait_for_new(place, "anomaly", set(known.split()))
        selector = f"modelwarden.dev/model={MODEL},app.kubernetes.io/component=store"
        gone = ("--grace-period=0", "--force", "--wait=false")
        place.kubectl.run("delete", "pods", "-n", NAMESPACE, "--selector", selector, *gone)
        place.wait_ready(MODEL)
        trained = place.wait_trained("anomaly", state="Ready", reason="Trained", declaredBy="odd")
        place.wait("enrich", "odd", artefactHash=trained["artefactHash"], state="Ready")
    assert trained["artefactHash"] != default
    _all_stored_once(place, cluster)
    place.wait_trained("anomaly", state="Ready", reason="Trained", declaredBy=None, artefactHash=default)


def test_what_trains_may_do_little_and_leaves_nothing_behind(scene: Scene) -> None:
    place = scene.place
    wait_for("no Job is at work", lambda: (not _working(place), str(_working(place))), Waiting(SECONDS))
    jobs = [
        job
        for job in place.kubectl.list("jobs", NAMESPACE)
        if job["metadata"]["labels"]["modelwarden.dev/model"] == MODEL
    ]
    trained = {job["metadata"]["labels"].get("modelwarden.dev/trains") for job in jobs}
    assert trained >= {"anomaly", "bias", "hotspots"}
    for job in jobs:
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
        assert all("persistentVolumeClaim" not in volume for volume in pod["volumes"])
        assert _may_reach(place, job["spec"]["template"]["metadata"]["labels"]) == {53, 8080}
    wait_for("nothing is left behind", lambda: (not _left(place), str(_left(place))), Waiting(SECONDS))


@contextlib.contextmanager
def _deleted_after(place: Place, enrichment: str) -> Iterator[None]:
    try:
        yield
    finally:
        place.delete("enrich", enrichment)


def _may_reach(place: Place, labels: dict[str, str]) -> set[int]:
    """The ports to which pods with those labels may connect; only names and the model's own pods have any."""
    ports = set()
    for policy in place.kubectl.list("networkpolicies", NAMESPACE):
        spec = policy["spec"]
        mine = spec["podSelector"]["matchLabels"]
        if not mine.items() <= labels.items():
            continue
        assert "Egress" in spec["policyTypes"]
        for rule in spec["egress"]:
            opened = {port["port"] for port in rule["ports"]}
            assert opened == {53} or rule["to"] == [{"podSelector": {"matchLabels": mine}}]
            ports |= opened
    return ports


def _working(place: Place) -> list[str]:
    """The Jobs of the model that are not finished."""
    finished = {"Complete", "Failed"}
    return [
        job["metadata"]["name"]
        for job in place.kubectl.list("jobs", NAMESPACE)
        if job["metadata"]["labels"]["modelwarden.dev/model"] == MODEL
        and not finished & {c["type"] for c in job.get("status", {}).get("conditions", [])}
    ]


def _left(place: Place) -> list[str]:
    """Secrets and pods of no Job, and of nothing else that is to be there. Three looks, not one: the other
    model's Jobs come and go between them, so one look may tell of what is nobody's but for a moment.
    """
    found = [(kind, thing) for kind in ("secrets", "pods") for thing in place.kubectl.list(kind, NAMESPACE)]
    jobs = {job["metadata"]["uid"] for job in place.kubectl.list("jobs", NAMESPACE)}
    left = []
    for kind, thing in found:
        meta = thing["metadata"]
        owners = meta.get("ownerReferences", [])
        of_model = meta["name"].endswith("-key") if kind == "secrets" else _of_replica_set(owners)
        if not of_model and not jobs & {owner["uid"] for owner in owners}:
            left.append(f"{kind} {meta['name']}")
    return left


def _of_replica_set(owners: list[dict[str, Any]]) -> bool:
    return [owner["kind"] for owner in owners] == ["ReplicaSet"]


def _events(kubectl: Kubectl) -> list[dict[str, Any]]:
    told = kubectl.list("events", NAMESPACE)
    return [event for event in told if event["involvedObject"]["name"] == MODEL]


def _trained_by(events: list[dict[str, Any]]) -> set[str]:
    """What the model's events say was trained."""
    told = [event for event in events if event["involvedObject"]["kind"] == "MonitoredModel"]
    return {event["message"].split(":")[0] for event in told if event["reason"] == "EnrichmentTrained"}


def _told_of_trainings(kubectl: Kubectl) -> tuple[bool, str]:
    """Events follow the status that they tell of."""
    trained = _trained_by(_events(kubectl))
    return trained >= {"anomaly", "bias", "hotspots"}, str(trained)


def _wait_for_new(place: Place, kind: str, before: set[str]) -> None:
    """Returns when a pod that was not there before trains: watched, for it may be over in four seconds, and
    each look takes one or two of them on a busy machine.
    """
    words = "{.metadata.uid}|{.status.phase}{'\\n'}"
    watch = ("get", *place.trainers(kind), "--watch", f"--request-timeout={SECONDS:.0f}s")
    command = place.kubectl.command(*watch, "--output", f"jsonpath={words}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            for line in watching.stdout:
                uid, phase = line.strip().split("|")
                if uid not in before and phase == "Running":
                    return
        finally:
            watching.terminate()
    raise AssertionError("no new pod has trained")


def _all_stored_once(place: Place, cluster: Cluster) -> None:
    def look() -> tuple[bool, str]:
        with place.cell() as cell:
            rows = cell.status()["rows"]
        return rows["stored"] == rows["acknowledged"] == place.sent, f"{rows}, sent {place.sent}"

    wait_for("what was acknowledged is stored", look, Waiting(SECONDS))
    folder = cluster.volume_folder(NAMESPACE, f"{MODEL}-data")
    if folder is not None:
        assert delta_witness.count(folder / "tables" / "inferences") == (place.sent, place.sent)
