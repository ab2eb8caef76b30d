"""Of several Enrichments of one type the oldest counts; what it says is what the cell is told."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from model_factory import enrichment

from modelwarden.resources.cell import (
    AnomalySettings,
    EnrichmentSettings,
    ExplainabilitySettings,
    HotspotSettings,
    MitigationSettings,
    canonical_json,
)
from modelwarden.resources.enrichment import Enrichment, ExplainabilityConfig, parse
from modelwarden.resources.enrichment_settings import counting, enrichment_settings

OLD = datetime(2026, 1, 1, tzinfo=UTC)


def made(name: str, *, age: int = 0, leaving: bool = False, **spec: Any) -> Enrichment:
    """An Enrichment that was made `age` seconds after the oldest."""
    live = enrichment("shop", name, **spec)
    live["metadata"] |= {
        "uid": f"uid-{name}",
        "creationTimestamp": (OLD + timedelta(seconds=age)).isoformat(),
    }
    if leaving:
        live["metadata"]["deletionTimestamp"] = OLD.isoformat()
    return parse(live)


def test_without_an_object_anomaly_detection_alone_is_on() -> None:
    settings = enrichment_settings(())
    assert settings == EnrichmentSettings()
    on = {name for name, part in settings.model_dump().items() if part["enabled"]}
    assert on == {"anomaly_detection"}


def test_of_one_type_the_oldest_counts_in_whatever_order_they_come() -> None:
    objects = (made("a", age=2), made("b", age=1), made("c", age=1), made("x", type="AnomalyDetection"))
    for order in permutations(objects):
        assert {kind: one.metadata.name for kind, one in counting(order).items()} == {
            "Hotspots": "b",
            "AnomalyDetection": "x",
        }


def test_what_is_being_deleted_is_as_if_it_were_not_there() -> None:
    gone, next_one = made("a", leaving=True, enabled=False), made("b", age=1)
    assert counting((gone, next_one))["Hotspots"] is next_one
    assert enrichment_settings((gone,)) == EnrichmentSettings()


def test_objects_of_a_folder_which_have_no_age_go_by_their_names() -> None:
    plain = [parse(enrichment("shop", name)) for name in ("b", "a")]
    assert counting(plain)["Hotspots"].metadata.name == "a"


# The documented keys that are the cell's business, and one that is not.
SEED = {
    "pythonVersion": "3.8",
    "explanationAlgo": "shap",
    "explanationNsamples": 500,
    "shapExpectedValues": [0.2, 0.8],
    "inferenceConsumerScorePercent": 0.5,
    "inferenceConsumerThreadPoolSize": 2,
    "streamingExplainabilityEnabled": False,
    "userPredictFunctionImportPath": "entry.point",
    "modelServerMaxReplicas": 3,
}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"type": "AnomalyDetection", "enabled": False},
            EnrichmentSettings(anomaly_detection=AnomalySettings(enabled=False)),
        ),
        (
            {"type": "AnomalyDetection", "anomalyDetection": {"seed": 7}},
            EnrichmentSettings(anomaly_detection=AnomalySettings(seed=7)),
        ),
        (
            {"type": "BiasMitigation"},
            EnrichmentSettings(bias_mitigation=MitigationSettings(enabled=True)),
        ),
        (
            {
                "type": "BiasMitigation",
                "biasMitigation": {"attributes": ["sex", "age"], "constraints": ["equalized_odds"]},
            },
            EnrichmentSettings(
                bias_mitigation=MitigationSettings(
                    enabled=True, attributes=("age", "sex"), constraints=("equalized_odds",)
                )
            ),
        ),
        (
            {"type": "Hotspots", "hotspots": {"metric": "f1", "threshold": 0.7, "window": "1d"}},
            EnrichmentSettings(
                hotspots=HotspotSettings(enabled=True, metric="f1", threshold=0.7, window="1d")
            ),
        ),
        (
            {"type": "Explainability"},
            EnrichmentSettings(
                explainability=ExplainabilitySettings(
                    enabled=True, declared=ExplainabilityConfig(), object_name="a"
                )
            ),
        ),
        (
            {"type": "Explainability", "enabled": False, "explainability": SEED},
            EnrichmentSettings(
                explainability=ExplainabilitySettings(
                    enabled=False,
                    algorithm="shap",
                    samples=500,
                    expected_values=(0.2, 0.8),
                    import_path="entry.point",
                    python_version="3.8",
                    score_percent=0.5,
                    threads=2,
                    streaming=False,
                    declared=ExplainabilityConfig.model_validate(SEED),
                    object_name="a",
                )
            ),
        ),
    ],
)
def test_each_type_says_its_own_part_and_leaves_the_rest_at_its_defaults(
    spec: dict[str, Any], told: EnrichmentSettings
) -> None:
    assert enrichment_settings((made("a", **spec),)) == told


def test_the_order_of_a_set_is_no_change_of_the_settings() -> None:
    one, other = (
        made("a", type="BiasMitigation", biasMitigation={"attributes": names})
        for names in (["sex", "age"], ["age", "sex"])
    )
    assert canonical_json(enrichment_settings((one,))) == canonical_json(enrichment_settings((other,)))
