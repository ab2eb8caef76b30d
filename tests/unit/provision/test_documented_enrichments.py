"""Enrichments in the documented spelling and back, without loss."""

from typing import Any

import pytest
import yaml

from modelwarden.resources.documented_enrichments import (
    KEYS,
    DocumentedError,
    Target,
    as_yaml,
    changed,
    documented,
    enrichment_object,
    read_wish,
)
from modelwarden.resources.enrichment import ExplainabilityConfig, parse

SAMPLE = {
    "python_version": "3.8",
    "sdk_version": "3.25.0",
    "explanation_algo": "lime",
    "explanation_nsamples": 2000,
    "shap_expected_values": [0],
    "model_server_cpu": "2",
    "model_server_memory": "1500Mi",
    "model_server_max_replicas": 30,
    "inference_consumer_cpu": "500m",
    "inference_consumer_memory": "512Mi",
    "inference_consumer_score_percent": 1,
    "inference_consumer_thread_pool_size": 5,
    "streaming_explainability_enabled": True,
    "user_predict_function_import_path": "entrypoint",
}
"""The documented sample of all fourteen keys."""
TARGET = Target("team-a", "census")


def test_all_documented_keys_come_back_as_they_went_in() -> None:
    assert set(SAMPLE) <= set(KEYS)
    told = documented(changed(None, SAMPLE))
    assert {key: told[key] for key in SAMPLE} == SAMPLE | {"shap_expected_values": [0.0]}


def test_the_object_to_apply_is_one_that_the_cluster_takes() -> None:
    config = changed(None, SAMPLE).model_dump(mode="json", by_alias=True, exclude_unset=True)
    told = enrichment_object(
        TARGET, "explainability", enabled=True, config={**config, "project": {"upload": {}}}
    )
    read = yaml.safe_load(as_yaml(told))
    assert read == told
    enrichment = parse(read, strict=True)
    assert enrichment.spec.explainability is not None
    assert enrichment.spec.explainability.model_server_max_replicas == 30


def test_an_object_that_is_there_keeps_its_name() -> None:
    named = enrichment_object(Target("team-a", "census", "why"), "explainability", enabled=True)
    assert named["metadata"] == {"namespace": "team-a", "name": "why"}


def test_a_key_that_is_not_given_stays_as_it_is_declared() -> None:
    declared = ExplainabilityConfig(explanation_algo="shap", explanation_nsamples=7)
    merged = changed(declared, {"explanation_nsamples": 9, "shap_expected_values": None})
    assert (merged.explanation_algo, merged.explanation_nsamples) == ("shap", 9)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"model_server_cpus": "2"}, "model_server_cpus"),
        ({"explanation_nsamples": 0}, "explanation_nsamples"),
        ({"explanation_algo": "guess"}, "explanation_algo"),
        ({"model_server_memory": "much"}, "model_server_memory"),
        ({"project": {"upload": {}}}, "project"),
    ],
)
def test_a_wrong_key_is_named(given: dict[str, Any], word: str) -> None:
    with pytest.raises(DocumentedError, match=word):
        changed(None, given)


@pytest.mark.parametrize(
    "body",
    [[], "x", {"enable": True}, {"enabled": 1}, {"config": []}, {"enabled": False, "config": {"a": 1}}],
)
def test_a_body_of_another_form_is_refused(body: object) -> None:
    with pytest.raises(DocumentedError):
        read_wish(body, "hotspots")
