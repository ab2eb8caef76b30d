"""The Job that trains: named by its inputs, with a key for them alone, with the model's own amounts."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_worlds import INSTALL, PLACE
from training_worlds import WANTED

from modelwarden.reconcile.jobs import job_of, key_of
from modelwarden.reconcile.monitoredmodel.build.training import TrainingOrder, training_plan
from modelwarden.reconcile.monitoredmodel.build.tries import is_as_planned, over
from modelwarden.reconcile.names import train_job
from modelwarden.resources.keys import verify_job_key
from modelwarden.resources.pod import Resources
from modelwarden.resources.quantities import parse_quantity

ORDER = TrainingOrder(
    place=PLACE,
    model_uid="uid-1",
    kind="anomaly",
    input_hash=WANTED,
    resources=INSTALL.training_resources,
)


def amounts(**parts: Any) -> Resources:
    return Resources.model_validate(parts)


def test_it_is_told_what_to_train_and_has_neither_claim_nor_token() -> None:
    job = job_of(training_plan(ORDER))
    assert job["metadata"]["name"] == "census-train-anomaly-abababab"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("MonitoredModel", "census", "uid-1")
    spec = job["spec"]["template"]["spec"]
    store = f"--store={PLACE.store_url}"
    args = spec["containers"][0]["args"]
    assert args == ["job", "train", store, "--kind=anomaly", f"--input-hash={WANTED}"]
    assert spec["automountServiceAccountToken"] is False
    assert "persistentVolumeClaim" not in json.dumps(job)
    assert spec["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"memory": "2Gi"},
    }


def test_its_events_wake_the_model_and_its_pods_may_speak_to_the_store_alone() -> None:
    job = job_of(training_plan(ORDER))
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels["modelwarden.dev/model"] == "census"
        assert "modelwarden.dev/reference-dataset" not in labels
        # The policy that opens a way out for Jobs that load data is for another purpose.
        assert labels["modelwarden.dev/purpose"] == "train"


def test_its_key_opens_one_training_and_a_later_round_has_a_secret_of_its_own() -> None:
    names = set()
    for round_ in (1, 2):
        plan = training_plan(ORDER, round_)
        job = job_of(plan)
        secret = key_of(plan, {"metadata": {"uid": "j"}})
        names.add(secret["metadata"]["name"])
        mounted = next(v for v in job["spec"]["template"]["spec"]["volumes"] if v["name"] == "key")
        assert mounted["secret"]["secretName"] == secret["metadata"]["name"]
        claim = verify_job_key(PLACE.cell_key, base64.b64decode(secret["data"]["key"]).decode())
        assert claim is not None
        assert (claim.purpose, claim.input_hash) == ("train", f"anomaly_{WANTED}")
        assert PLACE.cell_key not in repr((plan, job, secret, ORDER))
    assert len(names) == 2


def test_the_round_alone_makes_no_other_plan_and_everything_else_does() -> None:
    job = job_of(training_plan(ORDER))
    assert is_as_planned(job, training_plan(ORDER, 3))
    others = [
        replace(ORDER, declared="uid/2"),
        replace(ORDER, resources=amounts(limits={"memory": "4Gi"})),
        replace(ORDER, place=replace(PLACE, image="newer")),
        replace(ORDER, place=replace(PLACE, cell_key="another key of the cell")),
    ]
    assert not any(is_as_planned(job, training_plan(other)) for other in others)
    del job["metadata"]["annotations"]
    assert not is_as_planned(job, training_plan(ORDER))


@given(model=st.from_regex(r"[a-z]([-a-z0-9]{0,48}[a-z0-9])?", fullmatch=True))
def test_every_name_is_one_that_a_job_may_have(model: str) -> None:
    for kind in ("loss", "hotspots", "a" * 16):
        name = train_job(model, kind, WANTED)
        assert len(name) <= 63
        assert not name.startswith("-")
        assert name.endswith(f"-train-{kind}-{WANTED[:8]}")
        assert "--train" not in name or "--train" in f"{model}-train"


def test_models_whose_names_begin_alike_have_jobs_of_different_names() -> None:
    one, other = "m" * 49 + "a", "m" * 49 + "b"
    assert train_job(one, "hotspots", WANTED) != train_job(other, "hotspots", WANTED)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}),
        (
            {"limits": {"memory": "8Gi"}},
            {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "8Gi"}},
        ),
        (
            {"limits": {"cpu": "50m", "memory": "256Mi"}},
            {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "50m", "memory": "256Mi"}},
        ),
        (
            {"requests": {"cpu": "2", "memory": "1Gi"}},
            {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        ),
    ],
)
def test_a_model_s_amounts_go_over_the_install_s_one_by_one(own: Any, expected: Any) -> None:
    found = over(INSTALL.training_resources, amounts(**own) if own else None)
    assert found == Resources.model_validate(expected)


SIZES = st.none() | st.integers(1, 10_000).map(lambda number: f"{number}Mi")


@given(request=SIZES, limit=SIZES)
def test_no_request_is_above_its_limit(request: str | None, limit: str | None) -> None:
    found = over(INSTALL.training_resources, amounts(requests={"memory": request}, limits={"memory": limit}))
    assert found.requests is not None
    assert found.limits is not None
    assert found.requests.memory is not None
    assert found.limits.memory is not None
    assert parse_quantity(found.requests.memory) <= parse_quantity(found.limits.memory)
