"""What a cell is told: equal models give equal bytes; what may change is in the settings alone."""

import os
import subprocess
import sys
from typing import Any

import pytest
from model_stories import SEED, STORIES, Spec

from modelwarden.resources import monitoredmodel
from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.cell import (
    canonical_json,
    content_hash,
    identity_of,
    read_identity,
    read_settings,
    settings_of,
    short_hash,
)
from modelwarden.resources.identity import model_id
from modelwarden.resources.meta import API_VERSION
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.resolution import SchemaError


def model(spec: Spec, generation: int = 1) -> MonitoredModel:
    return monitoredmodel.parse(
        {
            "apiVersion": API_VERSION,
            "kind": "MonitoredModel",
            "metadata": {"name": "churn", "namespace": "shop", "generation": generation},
            "spec": spec,
        },
        strict=True,
    )


def identity_bytes(spec: Spec) -> bytes:
    return canonical_json(identity_of(model(spec)))


SETTINGS_ONLY: list[dict[str, Any]] = [
    {"displayName": "Other"},
    {"classifierThreshold": 0.7},
    {"lifecycle": "Archived"},
    {"referenceRef": "r2"},
    {"monitoring": {"window": "1h", "driftThreshold": 0.3, "labelDelay": "30d"}},
    {"ingest": {"limits": {"maxBodySize": "1Mi"}, "sampling": {"share": 0.5}, "maxFuture": "5m"}},
]


@pytest.mark.parametrize("change", SETTINGS_ONLY)
def test_what_may_change_is_in_the_settings_and_restarts_nothing(change: dict[str, Any]) -> None:
    assert identity_bytes(SEED | change) == identity_bytes(SEED)
    assert settings_of(model(SEED | change)) != settings_of(model(SEED))


def test_labels_and_sensitivity_restart_nothing_and_are_settings() -> None:
    edited = [
        a | {"label": f"the {a['name']}"} | ({"sensitivity": "drop"} if a["name"] == "AGE" else {})
        for a in SEED["attributes"]
    ]
    spec = SEED | {"attributes": edited}
    assert identity_bytes(spec) == identity_bytes(SEED)
    settings = settings_of(model(spec))
    assert settings.labels["RISK_AMT"] == "the RISK_AMT"
    assert settings.category_labels == {"SEX": {"1": "Male", "2": "Female"}}
    assert settings.sensitivity == {"AGE": Sensitivity.DROP}


def test_settings_are_numbers_where_a_machine_reads_them() -> None:
    spec = SEED | {
        "monitoring": {"labelDelay": "2w", "thresholds": [{"attribute": "AGE", "threshold": 0.4}]},
        "ingest": {"limits": {"maxBodySize": "1Mi", "maxLogSize": "1Gi"}, "maxFuture": "5m"},
    }
    settings = settings_of(model(spec, generation=7))
    assert settings.generation == 7
    assert settings.ingest.limits.max_body_bytes == 1_048_576
    assert settings.ingest.limits.max_log_bytes == 1_073_741_824
    assert settings.ingest.max_future_seconds == 300
    assert settings.monitoring.window_seconds == 86_400
    assert settings.monitoring.label_delay_seconds == 1_209_600
    assert settings.monitoring.threshold_of("AGE") == 0.4
    assert settings.monitoring.threshold_of("SEX") is None


def test_the_reference_that_a_spec_names_wins_over_the_one_that_was_chosen() -> None:
    assert settings_of(model(SEED), reference_ref="chosen").reference_ref == "chosen"
    assert (
        settings_of(model(SEED | {"referenceRef": "named"}), reference_ref="chosen").reference_ref == "named"
    )


def test_an_id_comes_from_the_partners_id_or_else_from_the_name() -> None:
    nameless = {key: value for key, value in SEED.items() if key != "partnerModelId"}
    assert identity_of(model(SEED)).model_id == model_id("shop", SEED["partnerModelId"])
    assert identity_of(model(nameless)).model_id == model_id("shop", "churn")


@pytest.mark.parametrize("story", STORIES)
def test_identity_and_settings_are_read_as_they_were_written(story: str) -> None:
    made = model(STORIES[story])
    assert read_identity(canonical_json(identity_of(made))) == identity_of(made)
    assert read_settings(canonical_json(settings_of(made))) == settings_of(made)


def test_a_newer_operators_settings_are_read_without_what_is_unknown() -> None:
    newer = canonical_json(settings_of(model(SEED))).replace(b'{"archived"', b'{"new":{"x":1},"archived"')
    newer = newer.replace(b'{"maxBodyBytes"', b'{"new":1,"maxBodyBytes"')
    assert read_settings(newer) == settings_of(model(SEED))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"generation":"x"}'])
def test_what_is_no_settings_file_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_settings(content)


def test_the_bytes_do_not_depend_on_the_order_of_keys_or_on_the_process() -> None:
    turned = {key: SEED[key] for key in reversed(SEED)}
    code = (
        "from model_stories import SEED;"
        "from modelwarden.resources.monitoredmodel import MonitoredModelSpec as S;"
        "from modelwarden.resources.cell import canonical_json, content_hash;"
        "print(content_hash(canonical_json(S.model_validate(SEED))))"
    )
    # Another seed than this process has, which is a random one unless it was told which.
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()
    assert identity_bytes(turned) == identity_bytes(SEED)
    assert printed == content_hash(canonical_json(model(turned).spec))


def test_a_hash_is_of_the_content() -> None:
    assert content_hash(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert short_hash(b"") == "e3b0c44298"


def test_attributes_that_do_not_fit_give_no_identity() -> None:
    spec = SEED | {"attributes": SEED["attributes"][:-1]}
    with pytest.raises(SchemaError, match="prediction_1, attributeLink"):
        identity_of(model(spec))


def test_other_kinds_of_storage_and_log_are_told_apart() -> None:
    bucket = {"objectStore": {"uri": "s3://b/p", "region": "eu"}, "log": {"size": "1Gi"}}
    stream = {"kafka": {"bootstrapServers": "k:9092"}}
    identity = identity_of(model(SEED | {"storage": bucket, "stream": stream}))
    assert (identity.storage.kind, identity.storage.uri, identity.log.kind) == (
        "objectStore",
        "s3://b/p",
        "kafka",
    )
    plain = identity_of(model(SEED))
    assert (plain.storage.kind, plain.log.kind) == ("volume", "segments")
