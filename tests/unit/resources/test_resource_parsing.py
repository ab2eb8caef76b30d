"""Bodies become typed values, or an error that names the field; an older operator survives a newer schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_stories import SEED

from modelwarden.resources import enrichment, monitoredmodel, referencedataset
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.meta import API_VERSION

INPUT = {"name": "a", "valueType": "FLOAT", "stage": "PIPELINE_INPUT"}


def body(kind: str = "MonitoredModel", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": "m", "namespace": "n", "uid": "u", "generation": 3, "managedFields": [{"a": 1}]},
        "spec": spec,
    }


def problems(value: Any, *, strict: bool = False) -> list[str]:
    with pytest.raises(InvalidResource) as caught:
        monitoredmodel.parse(value, strict=strict)
    return [path for path, _ in caught.value.problems]


def test_the_seeds_model_is_read_with_its_metadata() -> None:
    model = monitoredmodel.parse(body(**SEED), strict=True)
    assert model.metadata.generation == 3
    assert model.spec.partner_model_id == "CreditRiskModel_FG_20230523115857"
    assert model.spec.storage.persistent_volume_claim is not None
    assert not model.metadata.is_being_deleted


def test_unknown_fields_are_left_out_at_every_depth() -> None:
    newer = [{"name": "a", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "newKey": 1}]
    model = monitoredmodel.parse(
        body(attributes=newer, novelty={"x": 1}, storage={"tape": {}}) | {"extra": 1}
    )
    assert model.spec.attributes[0].name == "a"


def test_unknown_fields_are_refused_by_path_in_a_file_that_a_person_wrote() -> None:
    wrong = [{"name": "a", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "valuetype": 1}]
    assert problems(body(attributes=wrong), strict=True) == ["spec.attributes[0].valuetype"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"attributes": [INPUT | {"name": "a b"}]}, "spec.attributes[0].name"),
        ({"attributes": [INPUT | {"valueType": "DECIMAL"}]}, "spec.attributes[0].valueType"),
        ({"classifierThreshold": 2}, "spec.classifierThreshold"),
        ({"classifierThreshold": float("nan")}, "spec.classifierThreshold"),
        ({"monitoring": {"window": "P1D"}}, "spec.monitoring.window"),
        ({"storage": {"persistentVolumeClaim": {"size": "big"}}}, "spec.storage.persistentVolumeClaim.size"),
        ({"pod": {"labels": {"a": "x" * 64}}}, "spec.pod.labels.a"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_by_its_path(spec: dict[str, Any], path: str) -> None:
    assert problems(body(**spec)) == [path]


@pytest.mark.parametrize(
    "value",
    [
        None, 3, "text", [], {}, {"kind": "MonitoredModel"}, body(kind="Pod"), body() | {"metadata": None},
        body() | {"spec": []}, body() | {"apiVersion": "v1"}, {**body(), "metadata": {"name": 3}},
    ],
)  # fmt: skip
def test_what_is_no_such_object_is_refused(value: Any) -> None:
    assert problems(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "attributes", "storage", "monitoring", "x"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(JSON, JSON)
def test_nothing_but_invalid_resource_is_raised(spec: Any, metadata: Any) -> None:
    try:
        monitoredmodel.parse(body() | {"spec": spec, "metadata": metadata})
    except InvalidResource as error:
        found = error.problems
        assert all(message for _, message in found)


def test_an_error_shows_no_value() -> None:
    with pytest.raises(InvalidResource) as caught:
        monitoredmodel.parse(body(displayName={"password": "hunter2"}))
    assert "hunter2" not in str(caught.value)


def test_the_other_kinds_are_read_too() -> None:
    dataset = referencedataset.parse(body("ReferenceDataset", modelRef={"name": "m"}), strict=True)
    assert dataset.spec.source.upload is not None
    assert not dataset.spec.closed
    config = {"explanationAlgo": "shap", "modelServerCpu": "1000m", "shapExpectedValues": [0.8, 0.2]}
    made = enrichment.parse(
        body("Enrichment", modelRef={"name": "m"}, type="Explainability", explainability=config), strict=True
    )
    assert made.spec.enabled
    assert made.spec.explainability is not None
    assert made.spec.explainability.model_server_max_replicas == 30


def test_the_fourteen_documented_keys_of_an_explanation_are_taken() -> None:
    documented = {
        "sdk_version": "3.25.0", "python_version": "3.8", "explanation_algo": "shap",
        "model_server_cpu": "1000m", "model_server_memory": "1Gi", "explanation_nsamples": 2000,
        "shap_expected_values": [0.8227832963996526, 0.17721670360034752], "inference_consumer_cpu": "100m",
        "inference_consumer_memory": "256Mi", "model_server_max_replicas": 2,
        "inference_consumer_score_percent": 1, "streaming_explainability_enabled": True,
        "user_predict_function_import_path": "entrypoint", "inference_consumer_thread_pool_size": 2,
    }  # fmt: skip
    read = enrichment.ExplainabilityConfig.model_validate(documented)
    assert {
        key: value for key, value in read.model_dump(mode="json").items() if key in documented
    } == documented


def test_a_value_cannot_be_changed() -> None:
    model = monitoredmodel.parse(body(**SEED))
    with pytest.raises(ValueError, match="frozen"):
        model.spec.display_name = "other"  # type: ignore[misc]
