"""How a real API server serves our kinds: established, structural, listed, explained, read and written."""

import os
import subprocess
from typing import Any

import pytest
from crd_objects import DEFINITIONS, Objects, condition, definitions
from crd_rule_cases import MODEL
from model_stories import STORIES

from modelwarden.resources import enrichment, monitoredmodel, referencedataset
from modelwarden.resources.cell import identity_of
from testbed.api_client import ApiError
from testbed.apiserver import ApiServer

pytestmark = pytest.mark.api

SPOTS = {"modelRef": {"name": "x"}, "type": "Hotspots"}


def kubectl(server: ApiServer, *arguments: str) -> str:
    """What kubectl prints."""
    return subprocess.run(
        [server.programs / "kubectl", *arguments],
        env=os.environ | {"KUBECONFIG": str(server.kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout


@pytest.mark.parametrize("name", [body["metadata"]["name"] for body in definitions()])
def test_a_definition_is_established_and_structural(objects: Objects, name: str) -> None:
    live = objects.client.get(f"{DEFINITIONS}/{name}")
    assert condition(live, "Established") == "True"
    assert condition(live, "NamesAccepted") == "True"
    assert condition(live, "NonStructuralSchema") in (None, "False")


@pytest.mark.parametrize("story", STORIES)
def test_every_model_that_the_documented_client_registers_is_accepted(objects: Objects, story: str) -> None:
    live = objects.create("MonitoredModel", STORIES[story])
    declared = {a["name"] for a in STORIES[story]["attributes"]}
    resolved = identity_of(monitoredmodel.parse(live)).attributes
    assert {a.name for a in resolved if not a.implicit} == declared


def test_what_is_left_out_is_filled_in_as_the_models_say(objects: Objects) -> None:
    live = objects.create("MonitoredModel", MODEL)
    served = monitoredmodel.MonitoredModelSpec.model_validate(live["spec"])
    assert served == monitoredmodel.MonitoredModelSpec.model_validate(MODEL)
    assert live["spec"]["monitoring"]["driftMetric"] == "PSI"
    assert "driftThreshold" not in live["spec"]["monitoring"]  # learnt from the reference
    assert live["spec"]["storage"]["persistentVolumeClaim"]["size"] == "10Gi"
    assert live["spec"]["attributes"] == MODEL["attributes"]


def test_the_other_kinds_are_filled_in_as_the_models_say(objects: Objects) -> None:
    dataset = objects.create("ReferenceDataset", {"modelRef": {"name": "x"}})
    assert referencedataset.parse(dataset).spec == referencedataset.ReferenceDatasetSpec.model_validate(
        {"modelRef": {"name": "x"}}
    )
    explained = {"modelRef": {"name": "x"}, "type": "Explainability", "explainability": {}}
    made = objects.create("Enrichment", explained)
    assert enrichment.parse(made).spec == enrichment.EnrichmentSpec.model_validate(explained)


def test_an_unknown_field_is_refused_by_strict_validation_and_pruned_otherwise(objects: Objects) -> None:
    wrong = MODEL | {"novelty": 1, "monitoring": {"windw": "1d"}}
    with pytest.raises(ApiError, match="windw") as caught:
        objects.create("MonitoredModel", wrong)
    assert "novelty" in str(caught.value)
    live = objects.create("MonitoredModel", wrong, "x", "fieldValidation=Ignore")
    assert "novelty" not in live["spec"]
    assert "windw" not in live["spec"]["monitoring"]


def test_affinity_is_passed_on_as_it_is(objects: Objects) -> None:
    affinity = {
        "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone"}]}
    }
    live = objects.create("MonitoredModel", MODEL | {"pod": {"affinity": affinity}})
    assert live["spec"]["pod"]["affinity"] == affinity
    assert monitoredmodel.parse(live).spec.pod.affinity == affinity


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "modelId": "id",
    "conditions": [
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
        for type_, status, reason in (("Ready", "True", "AllGood"), ("ModelHealthy", "False", "Drifted"))
    ],
    "endpoint": {"url": "http://x"},
    "rows": {"stored": 70, "acknowledged": 71, "waiting": 1, "lastHour": 42},
    "newestInference": "2026-01-01T00:00:00Z",
    "drift": {
        "windowStart": "2026-01-01T00:00:00Z",
        "windowEnd": "2026-01-02T00:00:00Z",
        "state": "Ok",
        "drifted": 3,
        "checked": 16,
        "top": [{"name": "age", "score": 0.4, "threshold": 0.2}],
    },
    "reference": {"name": "r", "profileHash": "p", "records": 9},
    "store": {"phase": "Ready", "version": "0.1.0"},
}


def test_a_status_is_written_apart_from_the_spec_and_read_back(objects: Objects) -> None:
    live = objects.create("MonitoredModel", MODEL | {"status": STATUS}, "x", "fieldValidation=Ignore")
    assert "status" not in live
    written = objects.write_status(live, STATUS)
    assert written["status"] == STATUS
    assert written["metadata"]["generation"] == 1
    read = monitoredmodel.parse(written).status
    assert read is not None
    assert read.drift is not None
    assert read.drift.top[0].name == "age"


def test_a_condition_twice_or_too_many_top_scores_are_refused(objects: Objects) -> None:
    live = objects.create("MonitoredModel", MODEL)
    twice = {"conditions": [STATUS["conditions"][0]] * 2}
    with pytest.raises(ApiError, match="Duplicate value"):
        objects.write_status(live, twice)
    many = {"drift": {"state": "Ok", "top": [{"name": "a", "score": 1, "threshold": 1}] * 6}}
    with pytest.raises(ApiError, match="must have at most 5 items"):
        objects.write_status(live, many)


def table(text: str) -> list[dict[str, str]]:
    """kubectl's table: the columns start where their headings do."""
    heading, *rows = text.splitlines()
    names = heading.split()
    starts = [heading.index(name) for name in names]
    ends = [*starts[1:], None]
    return [
        {name: row[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)}
        for row in rows
    ]


def test_kubectl_answers_whether_a_model_works_is_healthy_and_gets_rows(
    objects: Objects, api_server: ApiServer
) -> None:
    live = objects.create("MonitoredModel", MODEL, "churn")
    objects.write_status(live, STATUS)
    row = table(kubectl(api_server, "get", "mmodel", "-n", objects.namespace))[0]
    assert list(row) == ["NAME", "READY", "HEALTH", "DRIFTED", "ROWS/H", "NEWEST", "AGE"]
    assert list(row.values())[:5] == ["churn", "True", "False", "3", "42"]
    assert row["NEWEST"].endswith("d")
    wide = table(kubectl(api_server, "get", "mmodel", "-o", "wide", "-n", objects.namespace))[0]
    assert (wide["REASON"], wide["STORED"]) == ("AllGood", "70")


def test_kubectl_answers_for_datasets_and_enrichments(objects: Objects, api_server: ApiServer) -> None:
    dataset = objects.create("ReferenceDataset", {"modelRef": {"name": "churn"}}, "train")
    objects.write_status(dataset, {"state": "Profiled", "records": 30000, "conditions": STATUS["conditions"]})
    objects.create("Enrichment", SPOTS, "spots")
    row = table(kubectl(api_server, "get", "refds", "-n", objects.namespace))[0]
    assert list(row) == ["NAME", "READY", "MODEL", "STATE", "RECORDS", "AGE"]
    assert list(row.values())[:5] == ["train", "True", "churn", "Profiled", "30000"]
    row = table(kubectl(api_server, "get", "enrich", "-n", objects.namespace))[0]
    assert list(row) == ["NAME", "READY", "MODEL", "TYPE", "STATE", "AGE"]
    assert row["TYPE"] == "Hotspots"


def test_the_category_lists_every_kind_and_all_lists_none(objects: Objects, api_server: ApiServer) -> None:
    objects.create("MonitoredModel", MODEL)
    objects.create("ReferenceDataset", {"modelRef": {"name": "x"}})
    objects.create("Enrichment", SPOTS)
    listed = kubectl(api_server, "get", "modelwarden", "-n", objects.namespace, "-o", "name").split()
    assert sorted(listed) == [
        "enrichment.modelwarden.dev/x",
        "monitoredmodel.modelwarden.dev/x",
        "referencedataset.modelwarden.dev/x",
    ]
    assert "modelwarden" not in kubectl(api_server, "get", "all", "-n", objects.namespace, "-o", "name")


def test_datasets_are_found_by_their_model(objects: Objects) -> None:
    for name, model in (("a", "one"), ("b", "two")):
        objects.create("ReferenceDataset", {"modelRef": {"name": model}}, name)
    path = objects.path("ReferenceDataset", "", "fieldSelector=spec.modelRef.name%3Dtwo")
    assert [item["metadata"]["name"] for item in objects.client.get(path)["items"]] == ["b"]


def test_kubectl_explains_a_field(api_server: ApiServer, objects: Objects) -> None:
    text = kubectl(api_server, "explain", "mmodel.spec.monitoring.minimumRows")
    assert "InsufficientData" in text
