"""The census YAML is valid and says the same as the census data."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from examples.census import data, train
from modelwarden.resources import enrichment, monitoredmodel, referencedataset
from modelwarden.resources.attributes import Stage
from modelwarden.resources.resolution import resolve_attributes

FOLDER = Path(data.__file__).parent


def loaded(name: str) -> dict[str, Any]:
    read = yaml.safe_load((FOLDER / name).read_text())
    read["metadata"]["namespace"] = "census"
    return dict(read)


@pytest.fixture(scope="module")
def model() -> monitoredmodel.MonitoredModel:
    return monitoredmodel.parse(loaded("model.yaml"), strict=True)


def test_the_model_is_a_binary_classifier_that_breaks_no_rule(
    model: monitoredmodel.MonitoredModel,
) -> None:
    resolved = resolve_attributes(model.spec)
    implicit = {attribute.name for attribute in resolved if attribute.implicit}
    assert len(implicit) == 2, "the negative class and its truth are added"
    positive = [attribute.name for attribute in resolved if attribute.is_positive_predicted_attribute]
    assert positive == [train.PREDICTION]


def test_the_reference_belongs_to_the_model(model: monitoredmodel.MonitoredModel) -> None:
    dataset = referencedataset.parse(loaded("reference.yaml"), strict=True)
    assert dataset.spec.model_ref.name == model.metadata.name
    assert dataset.spec.source.upload is not None
    assert not dataset.spec.closed


def test_the_attributes_are_the_columns_that_are_sent(model: monitoredmodel.MonitoredModel) -> None:
    by_stage: dict[str, list[str]] = {}
    for attribute in model.spec.attributes:
        by_stage.setdefault(attribute.stage, []).append(attribute.name)
    assert by_stage == {
        Stage.PIPELINE_INPUT: list(data.INPUTS),
        Stage.NON_INPUT_DATA: list(data.PROTECTED),
        Stage.PREDICTED_VALUE: [train.PREDICTION],
        Stage.GROUND_TRUTH: [data.LABEL],
    }


def test_the_model_is_watched_for_how_it_treats_people(model: monitoredmodel.MonitoredModel) -> None:
    watched = {attribute.name for attribute in model.spec.attributes if attribute.monitor_for_bias}
    assert watched == {"AGEP", *data.PROTECTED}
    assert all(a.bins or a.categories for a in model.spec.attributes if a.monitor_for_bias)


def test_the_enrichments_belong_to_the_model_and_name_attributes_that_it_is_watched_for(
    model: monitoredmodel.MonitoredModel,
) -> None:
    bodies = list(yaml.safe_load_all((FOLDER / "enrichments.yaml").read_text()))
    for body in bodies:
        body["metadata"]["namespace"] = "census"
    hotspots, mitigation = (enrichment.parse(body, strict=True).spec for body in bodies)
    assert {spec.model_ref.name for spec in (hotspots, mitigation)} == {model.metadata.name}
    assert hotspots.type == "Hotspots"
    assert mitigation.bias_mitigation is not None
    assert mitigation.bias_mitigation.attributes == data.PROTECTED


def test_every_code_has_a_label(model: monitoredmodel.MonitoredModel) -> None:
    unlabelled = [(a.name, c.value) for a in model.spec.attributes for c in a.categories if not c.label]
    assert unlabelled == []
