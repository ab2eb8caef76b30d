"""What stands in the way of a model, and what is still done."""

from dataclasses import replace
from typing import Any

import pytest
from model_factory import attribute, binary_attributes
from model_worlds import INSTALL, settled, world

from modelwarden.errors import DependencyMissing, InvalidSpec, Transient
from modelwarden.reconcile.monitoredmodel.decide import decide
from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.resources.attributes import ValueType


def test_the_types_that_may_be_declared_are_those_that_the_store_can_keep() -> None:
    from modelwarden_server.schema.compiled import ARROW_TYPES

    assert frozenset(ARROW_TYPES) == frozenset(ValueType)


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"stream": {"kafka": {"bootstrapServers": "kafka:9092"}}}, "spec.stream.kafka"),
        (
            {"storage": {"objectStore": {"uri": "s3://bucket/path"}, "log": {"size": "1Gi"}}},
            "spec.storage.objectStore",
        ),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name_and_nothing_is_made(
    spec: dict[str, Any], named: str
) -> None:
    plan = decide(world(**spec), INSTALL)
    (trouble,) = plan.troubles
    assert isinstance(trouble, InvalidSpec)
    assert trouble.reason == "NotSupportedYet"
    assert named in trouble.message
    assert plan.intents == ()


def test_a_model_with_the_id_of_an_older_one_makes_nothing_and_names_it() -> None:
    plan = decide(replace(world(), namesake="churn"), INSTALL)
    (trouble,) = plan.troubles
    assert (type(trouble), trouble.reason) == (InvalidSpec, "ModelIdTaken")
    assert "churn" in trouble.message
    assert "spec.partnerModelId" in trouble.message
    assert plan.intents == ()


def test_attributes_that_do_not_fit_are_named_and_only_some_of_many() -> None:
    broken = binary_attributes()
    for item in broken:
        item["position"] = 0
    broken[2]["attributeLink"] = "nobody"
    broken[3]["attributeLink"] = "nobody"
    plan = decide(world(attributes=broken), INSTALL)
    (trouble,) = plan.troubles
    assert (type(trouble), trouble.reason) == (InvalidSpec, "InvalidAttributes")
    assert "attribute" in trouble.message
    assert "more" in trouble.message


def test_attributes_that_no_config_map_can_hold_are_refused_with_their_size() -> None:
    wide = [
        attribute(
            f"x{n}", "PIPELINE_INPUT", 2 + n, valueType="STRING", categorical=True,
            categories=[{"value": f"{m:0200}"} for m in range(100)],
        )
        for n in range(60)
    ]  # fmt: skip
    plan = decide(world(attributes=[*binary_attributes(), *wide]), INSTALL)
    (trouble,) = plan.troubles
    assert (type(trouble), trouble.reason) == (InvalidSpec, "InvalidAttributes")
    assert "KiB" in trouble.message
    assert plan.intents == ()


def test_a_foreign_child_keeps_the_store_from_starting_and_the_rest_is_applied() -> None:
    full, _ = settled()
    plan = decide(_with(full, ("ServiceAccount", "census"), ownerReferences=[]), INSTALL)
    (trouble,) = plan.troubles
    assert (type(trouble), trouble.reason) == (DependencyMissing, "NameTaken")
    kinds = {intent["kind"] for intent in plan.intents}
    assert "Deployment" not in kinds
    assert {"Secret", "Service", "PersistentVolumeClaim"} <= kinds


def test_a_foreign_service_does_not_keep_the_store_from_starting() -> None:
    full, _ = settled()
    plan = decide(_with(full, ("Service", "census"), ownerReferences=[]), INSTALL)
    assert {trouble.reason for trouble in plan.troubles} == {"NameTaken"}
    assert "Deployment" in {intent["kind"] for intent in plan.intents}


def test_what_a_deleted_namesake_left_is_waited_for() -> None:
    full, _ = settled()
    before = [{"kind": "MonitoredModel", "name": "census", "uid": "an older one"}]
    plan = decide(_with(full, ("Deployment", "census"), ownerReferences=before), INSTALL)
    (trouble,) = plan.troubles
    assert (type(trouble), trouble.reason) == (Transient, "PreviousChildren")


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({"labels": {}}, "NameTaken"),
        ({"annotations": {"modelwarden.dev/model-id": "another"}}, "ForeignData"),
    ],
)
def test_a_claim_is_only_taken_with_our_label_and_the_same_model_id(
    meta: dict[str, Any], reason: str
) -> None:
    full, _ = settled()
    plan = decide(_with(full, ("PersistentVolumeClaim", "census-data"), **meta), INSTALL)
    assert [trouble.reason for trouble in plan.troubles] == [reason]
    assert not {"Deployment", "PersistentVolumeClaim"} & {intent["kind"] for intent in plan.intents}


def test_an_old_identity_goes_only_when_the_store_has_been_rolled_out() -> None:
    full, plan = settled()
    old = {
        "kind": "ConfigMap",
        "metadata": dict(full.identities[0]["metadata"]) | {"name": "census-identity-old"},
    }
    both = replace(full, identities=(*full.identities, old))
    assert decide(both, INSTALL).obsolete == (old,)
    deployment = dict(full.children["Deployment", "census"]) | {"status": {"observedGeneration": 0}}
    rolling = replace(both, children={**full.children, ("Deployment", "census"): deployment})
    assert decide(rolling, INSTALL).obsolete == ()
    assert plan.obsolete == ()


def _with(full: World, child: tuple[str, str], **meta: Any) -> World:
    changed = dict(full.children[child])
    changed["metadata"] = dict(changed["metadata"]) | meta
    return replace(full, children={**full.children, child: changed})
