"""The status of a ReferenceDataset: the store's word decides, the Job only explains."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from model_factory import reference_dataset
from model_worlds import NOW, live_model, pod

from modelwarden.errors import DependencyMissing
from modelwarden.reconcile.ports import Refusal, Silence
from modelwarden.reconcile.referencedataset.build import ProfileOrder, build_job, build_job_key
from modelwarden.reconcile.referencedataset.status import summarise
from modelwarden.reconcile.referencedataset.world import World, hindrance_of
from modelwarden.resources.keys import cell_key, verify_job_key
from modelwarden.resources.pod import PodSpec
from modelwarden.resources.referencedataset import ReferenceDatasetStatus, parse
from modelwarden.resources.report import ReferenceReport

HASH = "ab" * 32
CLOSED = {"state": "closed", "content_hash": HASH, "records": 7, "closed_at": NOW}


def entry(**fields: Any) -> ReferenceReport:
    return ReferenceReport.model_validate({"name": "train", "created_at": NOW} | fields)


def world(says: Any = None, *, job: Any = None, pods: Any = (), status: Any = None, **spec: Any) -> World:
    live = reference_dataset("shop", **spec)
    live["metadata"] |= {"uid": "d", "generation": 2, "resourceVersion": "1"}
    if status:
        live["status"] = status
    return World(live=live, dataset=parse(live), model=live_model(), entry=says, job=job, pods=tuple(pods))


def job(*conditions: str) -> Any:
    found = [{"type": c, "status": "True", "reason": "BackoffLimitExceeded"} for c in conditions]
    return {"metadata": {"name": "train-profile-abababab"}, "status": {"conditions": found}}


def conditions(of: ReferenceDatasetStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in of.conditions}


@pytest.mark.parametrize(
    ("given", "uploaded", "profiled", "ready"),
    [
        (
            world(),
            ("Unknown", "StoreNotReady"),
            ("False", "WaitingForData"),
            ("Unknown", "StoreNotReady"),
        ),
        (
            world(Silence("StoreUnreachable", "no")),
            ("Unknown", "StoreNotReady"),
            ("False", "WaitingForData"),
            ("Unknown", "StoreNotReady"),
        ),
        (
            world(entry()),
            ("False", "WaitingForData"),
            ("False", "WaitingForData"),
            ("False", "WaitingForData"),
        ),
        (
            world(Refusal(409, "10 and 7")),
            ("False", "CountMismatch"),
            ("False", "WaitingForData"),
            ("False", "CountMismatch"),
        ),
        (
            world(Refusal(400, "a bad name")),
            ("False", "RefusedByStore"),
            ("False", "WaitingForData"),
            ("False", "RefusedByStore"),
        ),
        (
            world(entry(**CLOSED), job=job()),
            ("True", "Closed"),
            ("False", "Profiling"),
            ("False", "Profiling"),
        ),
        # That the Job says it is done proves nothing: the store must have the profile.
        (
            world(entry(**CLOSED), job=job("Complete")),
            ("True", "Closed"),
            ("False", "Profiling"),
            ("False", "Profiling"),
        ),
        (
            world(entry(**CLOSED), job=job("Failed")),
            ("True", "Closed"),
            ("False", "ProfileFailed"),
            ("False", "ProfileFailed"),
        ),
        (
            world(
                entry(**CLOSED),
                job=job(),
                pods=[pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "no"}])],
            ),
            ("True", "Closed"),
            ("False", "Unschedulable"),
            ("False", "Unschedulable"),
        ),
        (
            world(entry(**CLOSED | {"state": "profiled", "profile_hash": "cd"})),
            ("True", "Closed"),
            ("True", "Profiled"),
            ("True", "Profiled"),
        ),
        (
            world(entry(**CLOSED | {"state": "failed", "message": "column x holds no number"})),
            ("False", "ReferenceFailed"),
            ("False", "Profiling"),
            ("False", "ReferenceFailed"),
        ),
    ],
)
def test_each_state_of_store_and_job_has_one_meaning(
    given: World, uploaded: Any, profiled: Any, ready: Any
) -> None:
    found = conditions(summarise(given, (), NOW))
    assert found["Uploaded"] == uploaded
    assert found["Profiled"] == profiled
    assert found["Ready"] == ready
    # kstatus takes Stalled and Reconciling each for the whole truth.
    assert not (found["Stalled"][0] == "True" and found["Reconciling"][0] == "True")


def test_facts_are_mirrored_and_the_last_known_stay_while_the_store_is_silent() -> None:
    first = summarise(world(entry(**CLOSED)), (), NOW)
    assert (first.state, first.records, first.content_hash) == ("Closed", 7, HASH)
    known = first.model_dump(mode="json", by_alias=True)
    silent = Silence("StoreUnreachable", "no")
    later = summarise(world(silent, status=known), (), NOW + timedelta(hours=1))
    assert (later.state, later.records, later.content_hash) == ("Closed", 7, HASH)


@pytest.mark.parametrize("model", [None, live_model(meta={"deletionTimestamp": "2026-11-21T11:00:00Z"})])
def test_a_model_that_is_not_there_or_going_is_a_missing_dependency(model: Any) -> None:
    trouble = hindrance_of(replace(world(), model=model))
    assert isinstance(trouble, DependencyMissing)
    assert "census" in trouble.message


def test_a_job_s_key_opens_only_its_purpose_and_content_and_is_not_in_the_job() -> None:
    secret = cell_key(b"s" * 32, "shop", "census", 0)
    order = ProfileOrder(
        namespace="shop", dataset="train", owner_uid="d", model="census", content_hash=HASH,
        store_url="http://census.shop.svc:8080", image="i", pull_policy="IfNotPresent", pod=PodSpec(),
        cell_key=secret,
    )  # fmt: skip
    made = build_job(order)
    key = build_job_key(order, {"metadata": {"uid": "j"}})
    import base64

    text = base64.b64decode(key["data"]["key"]).decode()
    claim = verify_job_key(secret, text)
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("profile", HASH)
    assert text not in repr(made)
    assert secret not in repr((made, key, order))
    assert made["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert "persistentVolumeClaim" not in repr(made)
