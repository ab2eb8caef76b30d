"""The status of an Enrichment: what its model's cell says of it, and what keeps it from having any effect."""

from dataclasses import replace
from typing import Any

import pytest
from model_worlds import NOW, live_model
from training_worlds import declared

from modelwarden.errors import DependencyMissing, InvalidSpec
from modelwarden.reconcile.enrichment.status import summarise
from modelwarden.reconcile.enrichment.world import World, hindrance_of
from modelwarden.reconcile.monitoredmodel.status import status_in
from modelwarden.resources.enrichment import Enrichment, EnrichmentStatus

READY = {"state": "Ready", "reason": "Trained", "message": "trained and in use", "artefactHash": "ef"}


def world(
    enrichment: Enrichment | None = None, *others: Enrichment, answers: bool = True, **trained: Any
) -> World:
    """`trained`: what the model's status says of it, with the settings of this object read."""
    own = enrichment or declared()
    meta = own.metadata
    entry = {
        "kind": "anomaly",
        "type": own.spec.type,
        "declaredBy": meta.name,
        "observedGeneration": meta.generation,
    }
    store = {
        "type": "StoreAvailable",
        "status": "True" if answers else "False",
        "reason": "Answering",
        "lastTransitionTime": NOW.isoformat(),
    }
    status = {"conditions": [store], "enrichments": [entry | trained] if trained else []}
    model = live_model(status=status)
    return World({}, own, (own, *others), model, status_in(model))


def status(given: World) -> EnrichmentStatus:
    return summarise(given, hindrance_of(given), NOW)


def conditions(of: EnrichmentStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in of.conditions}


def kstatus(of: EnrichmentStatus) -> str:
    states = {c.type: c.status for c in of.conditions}
    if states["Reconciling"] == "True":
        return "InProgress"
    if states["Stalled"] == "True":
        return "Failed"
    return "Current" if states["Ready"] == "True" else "InProgress"


WAITS = {"state": "Pending", "reason": "Waiting", "message": "waits for labels"}
FAILED = {
    "state": "Failed",
    "reason": "OutOfMemory",
    "message": "raise spec.training.resources.limits.memory",
}


@pytest.mark.parametrize(
    ("spec", "trained", "state", "ready", "trained_too", "seen"),
    [
        ({}, {}, "Pending", ("Unknown", "StoreNotReady"), "Unknown", "InProgress"),
        ({}, WAITS, "Pending", ("False", "Waiting"), "False", "InProgress"),
        (
            {},
            {"state": "Training", "reason": "Training"},
            "Training",
            ("False", "Training"),
            "False",
            "InProgress",
        ),
        ({}, READY, "Ready", ("True", "Trained"), "True", "Current"),
        ({}, FAILED, "Failed", ("False", "OutOfMemory"), "False", "Failed"),
        # What was trained before works on while its successor is made, or waits for what it needs.
        ({}, READY | {"reason": "Replacing"}, "Ready", ("True", "Replacing"), "True", "InProgress"),
        ({}, WAITS | {"artefactHash": "ef"}, "Pending", ("True", "Waiting"), "True", "InProgress"),
        ({}, FAILED | {"artefactHash": "ef"}, "Failed", ("False", "OutOfMemory"), "True", "Failed"),
        # Asked for, and not for such a model.
        (
            {},
            {"state": "Disabled", "reason": "NotForThisModel", "message": "not for TIME_SERIES"},
            "Disabled",
            ("False", "NotForThisModel"),
            "False",
            "Failed",
        ),
        (
            {"enabled": False},
            {"state": "Disabled", "reason": "TurnedOff"},
            "Disabled",
            ("True", "Disabled"),
            "False",
            "Current",
        ),
        # The store has not read this version of the object yet.
        (
            {},
            {"state": "Disabled", "reason": "TurnedOff", "observedGeneration": 0},
            "Pending",
            ("False", "SettingsPending"),
            "False",
            "InProgress",
        ),
        ({}, READY | {"declaredBy": "other"}, "Ready", ("False", "SettingsPending"), "True", "InProgress"),
        (
            {"enabled": False},
            READY | {"observedGeneration": 0},
            "Ready",
            ("False", "SettingsPending"),
            "True",
            "InProgress",
        ),
    ],
)
def test_each_word_of_the_store_has_one_meaning(
    spec: Any, trained: Any, state: str, ready: tuple[str, str], trained_too: str, seen: str
) -> None:
    found = status(world(declared(**spec), **trained))
    assert found.state == state
    assert conditions(found)["Ready"] == ready
    assert conditions(found)["Trained"][0] == trained_too
    assert kstatus(found) == seen
    # kstatus takes Stalled and Reconciling each for the whole truth.
    assert not (conditions(found)["Stalled"][0] == conditions(found)["Reconciling"][0] == "True")


def test_what_is_missing_is_in_the_status_and_in_the_condition() -> None:
    found = status(world(**WAITS))
    assert found.message == "waits for labels"
    assert next(c.message for c in found.conditions if c.type == "Ready") == "waits for labels"


def test_what_was_trained_and_when_is_told() -> None:
    found = status(world(**READY, trainedAt=NOW.isoformat()))
    assert (found.artefact_hash, found.trained_at) == ("ef", NOW)


def test_while_the_store_does_not_answer_nothing_is_claimed() -> None:
    found = status(world(answers=False, **READY))
    assert conditions(found)["Ready"] == ("Unknown", "StoreNotReady")
    assert found.state == "Ready", "the last that is known"


def test_the_younger_of_two_of_one_type_is_stalled_and_names_the_older() -> None:
    older, younger = declared("first"), declared("second", age=1)
    trouble = hindrance_of(world(younger, older, **READY))
    assert isinstance(trouble, InvalidSpec)
    found = status(world(younger, older, **READY))
    assert conditions(found)["Stalled"] == ("True", "DuplicateEnrichment")
    assert "Enrichment first is older" in found.message
    assert (found.state, found.artefact_hash) == ("Pending", None)
    assert hindrance_of(world(older, younger, **READY)) is None


def test_of_another_type_there_may_be_one_beside_it() -> None:
    assert hindrance_of(world(declared("b", age=1), declared("a", type="Hotspots"))) is None


@pytest.mark.parametrize("model", [None, live_model(meta={"deletionTimestamp": "2026-11-21T11:00:00Z"})])
def test_a_model_that_is_not_there_or_going_is_a_missing_dependency(model: Any) -> None:
    given = replace(world(**READY), model=model)
    assert isinstance(hindrance_of(given), DependencyMissing)
    assert conditions(status(given))["Stalled"] == ("True", "ModelMissing")


@pytest.mark.parametrize(
    ("enabled", "said", "ready", "explainer", "seen"),
    [
        (True, {}, ("Unknown", "StoreNotReady"), "Unknown", "InProgress"),
        (True, {"state": "Ready", "reason": "Explaining"}, ("True", "Explaining"), "True", "Current"),
        (True, {"state": "Ready", "reason": "Fetching"}, ("True", "Fetching"), "True", "InProgress"),
        (True, {"state": "Ready", "reason": "FilesBefore"}, ("False", "FilesBefore"), "True", "Failed"),
        (True, {"state": "Training", "reason": "Loading"}, ("False", "Loading"), "False", "InProgress"),
        (True, {"state": "Failed", "reason": "CodeFailed"}, ("False", "CodeFailed"), "False", "Failed"),
        (False, {"state": "Disabled", "reason": "TurnedOff"}, ("True", "Disabled"), "False", "Current"),
    ],
)
def test_explanations_are_ready_when_rows_can_be_explained(
    enabled: bool, said: dict[str, Any], ready: tuple[str, str], explainer: str, seen: str
) -> None:
    found = status(world(declared(type="Explainability", enabled=enabled), **said))
    assert conditions(found)["Ready"] == ready
    assert conditions(found)["ExplainerReady"][0] == explainer
    assert "Trained" not in conditions(found)
    assert kstatus(found) == seen


def test_an_archived_model_s_enrichment_rests_and_is_no_failure() -> None:
    given = world(**READY)
    assert given.model is not None
    given.model["spec"]["lifecycle"] = "Archived"
    found = status(given)
    assert (kstatus(found), conditions(found)["Ready"][1]) == ("Current", "Archived")
