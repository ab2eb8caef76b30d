"""The example Enrichments: one of each type, for the census model, and nothing in them that it lacks."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from modelwarden.resources import monitoredmodel
from modelwarden.resources.cell import EnrichmentSettings
from modelwarden.resources.enrichment import Enrichment, EnrichmentType, parse
from modelwarden.resources.enrichment_settings import enrichment_settings

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def loaded(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(path.read_text())
    read["metadata"]["namespace"] = "census"
    return read


@pytest.fixture(scope="module")
def model() -> monitoredmodel.MonitoredModel:
    return monitoredmodel.parse(loaded(EXAMPLES / "census" / "model.yaml"), strict=True)


@pytest.fixture(scope="module")
def enrichments() -> list[Enrichment]:
    files = sorted((EXAMPLES / "enrichments").glob("*.yaml"))
    return [parse(loaded(path), strict=True) for path in files]


def test_there_is_one_of_each_type_for_the_census_model(
    enrichments: list[Enrichment], model: monitoredmodel.MonitoredModel
) -> None:
    assert sorted(one.spec.type for one in enrichments) == sorted(get_args(EnrichmentType))
    assert {one.spec.model_ref.name for one in enrichments} == {model.metadata.name}


def test_together_they_turn_on_all_that_the_cell_can_train(enrichments: list[Enrichment]) -> None:
    settings = enrichment_settings(enrichments)
    assert all(part["enabled"] for part in settings.model_dump().values())
    assert set(settings.model_dump()) == set(EnrichmentSettings.model_fields)


def test_the_attributes_that_are_named_are_watched_for_bias(
    enrichments: list[Enrichment], model: monitoredmodel.MonitoredModel
) -> None:
    watched = {attribute.name for attribute in model.spec.attributes if attribute.monitor_for_bias}
    named = enrichment_settings(enrichments).bias_mitigation.attributes
    assert named
    assert set(named) <= watched
