"""The status of a model: every state of the world has one meaning, short, stable and in kstatus's shape."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_worlds import INSTALL, NOW, drift, feature, pod, report, settled, world

from modelwarden.errors import Bug, DependencyMissing, InvalidSpec, Transient
from modelwarden.reconcile.monitoredmodel.decide import decide
from modelwarden.reconcile.monitoredmodel.status import hindered, leaving, summarise, worth_writing
from modelwarden.reconcile.ports import Silence
from modelwarden.resources.modelstatus import MonitoredModelStatus

SILENT = Silence("StoreUnreachable", "The store's address does not answer")
TYPES = [
    "Ready", "Reconciling", "Stalled",
    "StorageReady", "StoreAvailable", "DataFlowing", "ReferenceLoaded", "ModelHealthy",
]  # fmt: skip


def status(says: Any = None, troubles: Any = (), **given: Any) -> MonitoredModelStatus:
    full, plan = settled(says, **given)
    return summarise(full, plan, troubles, "http://cell", NOW)


def condition(of: MonitoredModelStatus, type_: str) -> tuple[str, str]:
    found = next(c for c in of.conditions if c.type == type_)
    return found.status, found.reason


def kstatus(of: MonitoredModelStatus, generation: int = 3) -> str:
    """As the kstatus library computes it."""
    if of.observed_generation != generation:
        return "InProgress"
    states = {c.type: c.status for c in of.conditions}
    if states.get("Reconciling") == "True":
        return "InProgress"
    if states.get("Stalled") == "True":
        return "Failed"
    return "Current" if states.get("Ready") == "True" else "InProgress"


@pytest.mark.parametrize(
    ("says", "given", "troubles", "expected"),
    [
        (None, {}, (), "InProgress"),
        (SILENT, {}, (), "InProgress"),
        (report(), {}, (), "Current"),
        (report(newest_arrival=None), {}, (), "Current"),
        (report(settings_generation=2), {}, (), "InProgress"),
        (report(phase="Failed", ready=False, reason="disk full"), {}, (), "InProgress"),
        (None, {"lifecycle": "Archived"}, (), "Current"),
        (report(), {}, (InvalidSpec("NotSupportedYet", "no"),), "Failed"),
        (report(), {}, (DependencyMissing("NameTaken", "no"),), "Failed"),
        (report(), {}, (Transient("ApiServerError", "no"),), "InProgress"),
        (report(), {}, (Bug("no"),), "InProgress"),
    ],
)
def test_kstatus_reads_the_state_that_a_person_would(
    says: Any, given: Any, troubles: Any, expected: str
) -> None:
    assert kstatus(status(says, troubles, **given)) == expected


@pytest.mark.parametrize(
    ("says", "pods", "expected"),
    [
        (report(), (), ("True", "Answering")),
        (None, (), ("False", "Starting")),
        (SILENT, (), ("False", "Starting")),
        (SILENT, (pod(containerStatuses=[{"started": True}]),), ("False", "StoreUnreachable")),
        (report(ready=False, phase="Recovering"), (), ("False", "Recovering")),
        (report(ready=False, phase="Draining"), (), ("False", "Draining")),
        (report(ready=False, phase="Failed", reason="held by another"), (), ("False", "StoreFailed")),
        (report(model_id="somebody"), (), ("False", "WrongCell")),
        (
            SILENT,
            (pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "no cpu"}]),),
            ("False", "Unschedulable"),
        ),
        (SILENT, (pod(state={"waiting": {"reason": "ImagePullBackOff"}}),), ("False", "ImagePullFailed")),
        (SILENT, (pod(state={"waiting": {"reason": "ErrImagePull"}}),), ("False", "ImagePullFailed")),
        (
            SILENT,
            (pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}),),
            ("False", "ContainerConfigError"),
        ),
        (
            SILENT,
            (
                pod(
                    state={"waiting": {"reason": "CrashLoopBackOff"}},
                    last={"terminated": {"exitCode": 1, "reason": "Error"}},
                ),
            ),
            ("False", "CrashLooping"),
        ),
        (
            SILENT,
            (pod(state={"running": {}}, last={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}),),
            ("False", "OutOfMemory"),
        ),
        (SILENT, (pod(reason="Evicted"),), ("False", "Evicted")),
        # The store's own word counts most: it answers, whatever another pod is doing.
        (report(), (pod(state={"waiting": {"reason": "ImagePullBackOff"}}),), ("True", "Answering")),
    ],
)
def test_the_store_s_state_is_told_by_its_own_word_else_by_its_pod(
    says: Any, pods: Any, expected: tuple[str, str]
) -> None:
    found = status(says, pods=pods)
    assert condition(found, "StoreAvailable") == expected
    if expected[0] == "False":
        assert condition(found, "Ready") == ("False", expected[1])


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (report(), ("True", "Arriving")),
        (report(newest_arrival=None), ("False", "NoData")),
        (report(newest_arrival=NOW - timedelta(days=1, seconds=1)), ("False", "Stale")),
        (SILENT, ("Unknown", "StoreUnreachable")),
    ],
)
def test_data_flow_while_rows_arrive_within_the_window(says: Any, expected: tuple[str, str]) -> None:
    assert condition(status(says), "DataFlowing") == expected


@pytest.mark.parametrize(
    ("says", "spec", "expected"),
    [
        (report(), {}, ("True", "Loaded")),
        (report(active_reference=None, reference=[]), {}, ("False", "NoReference")),
        (report(), {"referenceRef": "train"}, ("True", "Loaded")),
        (report(), {"referenceRef": "other"}, ("False", "ReferenceNotFound")),
    ],
)
def test_a_reference_is_loaded_when_its_profile_is_in_use(
    says: Any, spec: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert condition(status(says, **spec), "ReferenceLoaded") == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [("open", "ReferenceOpen"), ("closed", "ReferenceProfiling"), ("failed", "ReferenceFailed")],
)
def test_a_reference_that_is_not_in_use_yet_says_what_is_missing(state: str, expected: str) -> None:
    says = report(active_reference=None, reference=[{"name": "train", "state": state, "created_at": NOW}])
    assert condition(status(says), "ReferenceLoaded") == ("False", expected)


@pytest.mark.parametrize(
    ("verdict", "spec", "expected"),
    [
        (drift(feature("a")), {}, ("True", "WithinBounds")),
        (drift(feature("a", drifted=True), feature("b"), feature("c")), {}, ("True", "WithinBounds")),
        (drift(feature("a", drifted=True), feature("b")), {}, ("False", "InputsDrifted")),
        (
            drift(feature("a", drifted=True), feature("b")),
            {"monitoring": {"driftedShare": 0.9}},
            ("True", "WithinBounds"),
        ),
        (
            drift(feature("a"), feature("p", drifted=True, stage="PREDICTED_VALUE")),
            {},
            ("False", "PredictionsDrifted"),
        ),
        (drift(state="InsufficientData"), {}, ("Unknown", "InsufficientData")),
        (drift(state="NoReference"), {}, ("Unknown", "NoReference")),
        (None, {}, ("Unknown", "NoVerdictYet")),
    ],
)
def test_a_model_is_unhealthy_when_its_predictions_or_enough_of_its_inputs_have_drifted(
    verdict: Any, spec: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert condition(status(report(drift=verdict), **spec), "ModelHealthy") == expected


def test_a_drifting_model_is_not_a_broken_monitor() -> None:
    found = status(report(drift=drift(feature("a", drifted=True))))
    assert condition(found, "ModelHealthy")[0] == "False"
    assert condition(found, "Ready") == ("True", "Available")


def test_without_a_verdict_no_attribute_is_counted_as_drifted() -> None:
    found = status(report(drift=drift(feature("a", score=9, drifted=True), state="InsufficientData")))
    assert found.drift is not None
    assert (found.drift.drifted, found.drift.checked, found.drift.top) == (None, None, ())


def test_a_silent_pipeline_is_not_ready_and_fine() -> None:
    assert condition(status(report(newest_arrival=None)), "Ready") == ("True", "AvailableNoData")
    assert condition(status(report(newest_arrival=NOW - timedelta(days=9))), "Ready")[1] == "AvailableStale"


def test_settings_that_the_store_refuses_make_it_not_ready() -> None:
    assert condition(status(report(settings_error="not JSON")), "Ready") == ("False", "SettingsRefused")


def test_a_claim_without_a_volume_shows_with_the_cluster_s_reason() -> None:
    full, plan = settled()
    key = ("PersistentVolumeClaim", "census-data")
    pending = dict(full.children[key]) | {"status": {"phase": "Pending"}}
    waiting = replace(
        full, children={**full.children, key: pending}, claim_trouble='storageclass "x" not found'
    )
    found = summarise(waiting, plan, (), "http://cell", NOW)
    assert condition(found, "StorageReady") == ("False", "WaitingForVolume")
    message = next(c.message for c in found.conditions if c.type == "StorageReady")
    assert "not found" in message


def test_every_condition_is_there_from_the_first_status_on_and_bears_the_generation() -> None:
    bare = world()
    found = summarise(bare, decide(bare, INSTALL), (), "http://cell", NOW)
    assert [c.type for c in found.conditions] == TYPES
    assert {c.observed_generation for c in found.conditions} == {3}
    assert condition(found, "Ready")[0] == "False"
    assert condition(found, "Reconciling")[0] == "True"


def test_the_last_known_facts_stay_while_the_store_is_silent() -> None:
    first = status(report())
    later = status(SILENT, status=first.model_dump(mode="json", by_alias=True))
    assert later.rows == first.rows
    assert later.newest_inference == first.newest_inference


def test_the_status_tells_of_labels_and_of_those_that_wait_for_their_inference() -> None:
    labels = {"acknowledged": 9, "stored": 8, "waiting": 3, "repeated": 2, "sampled_out": 1}
    told = status(report(rows={"acknowledged": 10, "stored": 10, "labels": labels})).rows
    assert told is not None
    assert (told.labels.acknowledged, told.labels.stored, told.labels.waiting) == (9, 8, 3)


def test_a_transition_time_moves_only_with_its_status() -> None:
    first = status(report(newest_arrival=None))
    full, plan = settled(report(), status=first.model_dump(mode="json", by_alias=True))
    later = summarise(full, plan, (), "http://cell", NOW + timedelta(minutes=5))
    times = {c.type: c.last_transition_time for c in later.conditions}
    assert times["DataFlowing"] == NOW + timedelta(minutes=5)
    assert times["Ready"] == NOW


def test_facts_alone_wait_for_their_interval_and_transitions_do_not() -> None:
    first = status(report())
    facts = status(report(rows={"acknowledged": 11}))
    flipped = status(report(newest_arrival=None))
    assert not worth_writing(first, first, facts_are_due=True)
    assert not worth_writing(first, facts, facts_are_due=False)
    assert worth_writing(first, facts, facts_are_due=True)
    assert worth_writing(first, flipped, facts_are_due=False)
    assert worth_writing(None, first, facts_are_due=False)


def test_an_object_that_cannot_be_read_is_stalled_and_keeps_what_was_known() -> None:
    known = status(report()).model_dump(mode="json", by_alias=True)
    full, _ = settled(status=known)
    found = hindered(full.live, InvalidSpec("InvalidSpec", "spec.x: unknown"), NOW)
    assert kstatus(found) == "Failed"
    assert found.rows is not None
    assert condition(found, "StoreAvailable") == ("True", "Answering")


def test_a_model_that_is_leaving_says_what_it_waits_for() -> None:
    full, _ = settled()
    found = leaving(full.live, "the store's pod to end", NOW)
    assert condition(found, "Ready") == ("False", "Deleting")
    assert [c.type for c in found.conditions] == TYPES


@given(st.text(max_size=400))
def test_no_message_is_long_or_has_more_than_one_line(text: str) -> None:
    found = status(report(ready=False, phase="Failed", reason=text))
    for one in found.conditions:
        assert len(one.message) <= 200
        assert "\n" not in one.message


def test_messages_do_not_carry_names_that_the_cluster_makes_up() -> None:
    refused = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": 'pods "census-5d4f9c-" is forbidden: violates PodSecurity "restricted:latest"',
    }
    full, plan = settled(SILENT)
    deployment = dict(full.children["Deployment", "census"])
    deployment["status"] = dict(deployment["status"]) | {"conditions": [refused]}
    found = replace(full, children={**full.children, ("Deployment", "census"): deployment})
    shown = summarise(found, plan, (), "http://cell", NOW)
    assert condition(shown, "StoreAvailable") == ("False", "PodRefused")
    message = next(c.message for c in shown.conditions if c.type == "StoreAvailable")
    assert "5d4f9c" not in message
    assert "PodSecurity" in message
