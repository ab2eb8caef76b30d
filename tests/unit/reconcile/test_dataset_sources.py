"""Datasets that a Job loads: what it is given, what it may reach, and what its state means."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from model_factory import reference_dataset
from model_worlds import NOW, PLACE, live_model, pod

from modelwarden.errors import DependencyMissing, InvalidSpec
from modelwarden.reconcile.egress import ports_to_source
from modelwarden.reconcile.jobs import JobPlan, job_of, key_of
from modelwarden.reconcile.ports import Manifest, Refusal
from modelwarden.reconcile.referencedataset.load import (
    build_egress,
    load_plan,
    source_hash_of,
)
from modelwarden.reconcile.referencedataset.status import summarise
from modelwarden.reconcile.referencedataset.world import World, hindrance_of
from modelwarden.resources.keys import verify_job_key
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.referencedataset import parse
from modelwarden.resources.report import ReferenceReport
from modelwarden.resources.sources import Source

CLAIM = {"persistentVolumeClaim": {"claimName": "mine", "path": "train"}}
CONFIG = {"configMap": {"name": "small", "key": "train.parquet"}}
WEB = {"http": {"url": "https://data.example.org/train.parquet?token=x", "sha256": "0" * 64}}
BUCKET = {
    "objectStore": {
        "uri": "s3://bucket/train",
        "endpoint": "http://minio.storage.svc:9000",
        "credentialsSecretRef": {"name": "keys"},
    }
}
SOURCES = {"claim": CLAIM, "config": CONFIG, "web": WEB, "bucket": BUCKET}


def world(source: dict[str, Any], says: Any = None, *, job: Any = None, pods: Any = (), **spec: Any) -> World:
    live = reference_dataset("shop", source=source, **spec)
    live["metadata"] |= {"uid": "d", "generation": 2, "resourceVersion": "1"}
    model = live_model()
    return World(live=live, dataset=parse(live), model=model, entry=says, job=job, pods=tuple(pods))


def entry(given: World, **fields: Any) -> ReferenceReport:
    known = {"name": "train", "created_at": NOW, "source_hash": given.source_hash, "records": 7}
    return ReferenceReport.model_validate(known | fields)


def order(source: dict[str, Any]) -> JobPlan:
    dataset = world(source).dataset
    source_hash = source_hash_of(dataset.spec)
    assert source_hash is not None
    return load_plan(PLACE, dataset, source_hash)


def egress(source: dict[str, Any]) -> Manifest | None:
    return build_egress(order(source), world(source).dataset)


def job(*conditions: str) -> Any:
    found = [{"type": c, "status": "True", "reason": "BackoffLimitExceeded"} for c in conditions]
    return {"metadata": {"name": "train-load-abababab"}, "status": {"conditions": found}}


def verdicts(given: World) -> dict[str, tuple[str, str, str]]:
    return {c.type: (c.status, c.reason, c.message) for c in summarise(given, (), NOW).conditions}


def test_a_source_is_named_by_all_of_it_and_its_format() -> None:
    hashes = {
        source_hash_of(world(s, format=f).dataset.spec) for s in SOURCES.values() for f in ("parquet", "json")
    }
    assert len(hashes) == 8
    assert None not in hashes
    assert source_hash_of(world({"upload": {}}).dataset.spec) is None


@pytest.mark.parametrize("kind", SOURCES)
def test_the_job_is_told_its_source_and_gets_no_claim_of_the_cell_nor_a_token(kind: str) -> None:
    dataset = world(SOURCES[kind]).dataset
    made = job_of(order(SOURCES[kind]))
    spec = made["spec"]["template"]["spec"]
    args = spec["containers"][0]["args"]
    told = next(arg for arg in args if arg.startswith("--source={"))
    assert Source.model_validate_json(told.removeprefix("--source=")) == dataset.spec.source
    assert f"--source-hash={source_hash_of(dataset.spec)}" in args
    assert "census-data" not in json.dumps(made)
    assert spec["automountServiceAccountToken"] is False
    assert len(made["metadata"]["name"]) <= 63
    read_only = {m["name"]: m.get("readOnly") for m in spec["containers"][0]["volumeMounts"]}
    assert {name for name, only in read_only.items() if not only} == {"tmp"}
    wanted = {"claim": "source", "config": "source", "bucket": "credentials", "web": None}[kind]
    assert {"key", "tmp"} ^ {v["name"] for v in spec["volumes"]} == ({wanted} if wanted else set())


def test_a_user_s_claim_is_mounted_read_only_by_the_volume_itself() -> None:
    volumes = job_of(order(CLAIM))["spec"]["template"]["spec"]["volumes"]
    assert volumes[-1] == {"name": "source", "persistentVolumeClaim": {"claimName": "mine", "readOnly": True}}


def test_the_job_s_key_opens_one_source_of_one_dataset() -> None:
    given = order(CONFIG)
    key = key_of(given, {"metadata": {"uid": "j"}})
    claim = verify_job_key(PLACE.cell_key, base64.b64decode(key["data"]["key"]).decode())
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("reference", f"train_{world(CONFIG).source_hash}")
    assert PLACE.cell_key not in repr((given, key, job_of(given)))


def test_only_a_source_that_is_elsewhere_opens_a_way_out_and_never_to_a_node_s_credentials() -> None:
    assert egress(CLAIM) is None
    assert egress(CONFIG) is None
    policy = egress(BUCKET)
    assert policy is not None
    labels = job_of(order(BUCKET))["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {80, 443, 9000}
    blocks = [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer]
    assert all("169.254.0.0/16" in b["except"] for b in blocks if b["cidr"] == "0.0.0.0/0")


def test_a_proxy_s_port_is_open_too() -> None:
    proxied = PodSpec.model_validate({"env": [{"name": "HTTPS_PROXY", "value": "http://proxy.corp:3128"}]})
    assert ports_to_source(world(WEB).dataset.spec.source, proxied) == {80, 443, 3128}


def test_a_profile_job_s_pod_gets_no_way_out() -> None:
    policy = egress(WEB)
    assert policy is not None
    assert policy["spec"]["podSelector"]["matchLabels"]["modelwarden.dev/purpose"] == "reference"


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "CredentialsMissing"),
        ({"metadata": {"name": "keys"}}, "CredentialsNotUsable"),
        (
            {"metadata": {"name": "keys", "labels": {"modelwarden.dev/usable-by-models": "yes"}}},
            "CredentialsNotUsable",
        ),
    ],
)
def test_a_secret_is_used_only_with_its_owner_s_consent(secret: Any, reason: str) -> None:
    given = replace(world(BUCKET), credentials=secret)
    trouble = hindrance_of(given)
    assert isinstance(trouble, DependencyMissing)
    assert (trouble.reason, "keys" in trouble.message) == (reason, True)
    good = {"metadata": {"name": "keys", "labels": {"modelwarden.dev/usable-by-models": "true"}}}
    assert hindrance_of(replace(given, credentials=good)) is None


def test_an_object_store_of_another_kind_is_named() -> None:
    trouble = hindrance_of(world({"objectStore": {"uri": "gs://bucket/x"}}))
    assert isinstance(trouble, InvalidSpec)
    assert (trouble.reason, "spec.source.objectStore.uri" in trouble.message) == ("NotSupportedYet", True)


WAITING = {"type": "PodScheduled", "reason": "Unschedulable", "message": "no node"}


@pytest.mark.parametrize(
    ("fields", "given", "uploaded", "stalled"),
    [
        ({}, {}, ("False", "LoadingSource"), False),
        ({}, {"job": job()}, ("False", "LoadingSource"), False),
        ({}, {"job": job(), "pods": [pod(conditions=[WAITING])]}, ("False", "Unschedulable"), False),
        ({"message": "404"}, {"job": job("Failed")}, ("False", "SourceFailed"), True),
        ({"loaded": True}, {}, ("False", "SourceLoaded"), False),
        ({"loaded": True}, {"closed": True}, ("False", "LoadingSource"), False),
        ({"loaded": True, "message": "8 and 7"}, {"closed": True}, ("False", "CountMismatch"), True),
        ({"loaded": True, "state": "closed", "content_hash": "ab"}, {}, ("True", "Closed"), False),
        (Refusal(409, "8 and 7"), {"closed": True}, ("False", "CountMismatch"), True),
    ],
)
def test_each_state_of_loading_has_one_meaning(
    fields: Any, given: dict[str, Any], uploaded: tuple[str, str], stalled: bool
) -> None:
    bare = world(CONFIG, **given)
    says = fields if isinstance(fields, Refusal) else entry(bare, **fields)
    found = verdicts(replace(bare, entry=says))
    assert found["Uploaded"][:2] == uploaded
    assert (found["Stalled"][0] == "True") is stalled
    assert not (found["Stalled"][0] == "True" and found["Reconciling"][0] == "True")


def test_a_job_that_gave_up_says_what_the_source_s_reader_said() -> None:
    bare = world(WEB, job=job("Failed"))
    says = entry(bare, message="data.example.org answers with status 404")
    assert "status 404" in verdicts(replace(bare, entry=says))["Stalled"][2]


def test_another_source_than_the_store_s_is_loaded_anew() -> None:
    bare = world(CONFIG)
    assert replace(bare, entry=entry(bare, loaded=False)).is_loading
    assert not replace(bare, entry=entry(bare, loaded=True)).is_loading
    assert not world({"upload": {}}, entry(bare)).is_loading
