"""The status of a ReferenceDataset: the store's word decides, the Job only explains."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from model_factory import reference_dataset
from model_worlds import NOW, PLACE, live_model, pod

from modelwarden.errors import DependencyMissing
from modelwarden.reconcile.jobs import job_of, key_of
from modelwarden.reconcile.ports import Refusal, Silence
from modelwarden.reconcile.referencedataset.build import profile_plan
from modelwarden.reconcile.referencedataset.status import summarise
from modelwarden.reconcile.referencedataset.world import World, hindrance_of
from modelwarden.resources.keys import verify_job_key
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
    plan = profile_plan(PLACE, "train", "d", HASH)
    made = job_of(plan)
    key = key_of(plan, {"metadata": {"uid": "j"}})
    text = base64.b64decode(key["data"]["key"]).decode()
    claim = verify_job_key(PLACE.cell_key, text)
    assert claim is not None
    assert (claim.purpose, claim.input_hash) == ("profile", HASH)
    assert text not in repr(made)
    assert PLACE.cell_key not in repr((made, key, plan))
    assert made["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    assert "persistentVolumeClaim" not in repr(made)
