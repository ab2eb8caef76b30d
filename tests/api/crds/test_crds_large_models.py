"""The largest models that are legal: stored, edited, and refused, within the API server's budget."""

import json
from typing import Any

import pytest
from crd_objects import Objects
from crd_rule_cases import Spec
from model_stories import attribute, prediction, truth

from modelwarden.resources import monitoredmodel
from modelwarden.resources.attributes import MAX_ATTRIBUTES
from modelwarden.resources.cell import canonical_json, identity_of
from testbed.api_client import ApiError

pytestmark = pytest.mark.api

# What etcd takes in one request; the API server adds metadata and who set which field.
ETCD_REQUEST = 1_572_864


def wide(name_length: int, **fields: Any) -> Spec:
    """A model of 1000 attributes, each with these fields."""
    inputs = [
        attribute(f"a{index:04}_".ljust(name_length, "x"), "STRING", "PIPELINE_INPUT", index, **fields)
        for index in range(MAX_ATTRIBUTES - 2)
    ]
    outputs = [prediction("p", 0, attributeLink="g"), truth("g", 0, attributeLink="p")]
    return {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": [*inputs, *outputs]}


def values(count: int) -> dict[str, Any]:
    return {"categorical": True, "categories": [{"value": f"{number:02}"} for number in range(count)]}


def bins(count: int) -> dict[str, Any]:
    edges = range(count)
    return {"valueType": "FLOAT", "bins": [{"continuousStart": n, "continuousEnd": n + 1} for n in edges]}


SHAPES = {
    "names of 255 characters and 40 categories": wide(255, **values(40)),
    "12 bins": wide(6, **bins(12)),
}
LAST = MAX_ATTRIBUTES - 3


def copy_of(spec: Spec) -> Spec:
    copied: Spec = json.loads(json.dumps(spec))
    return copied


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_models_are_applied_edited_where_that_is_allowed_and_frozen(
    objects: Objects, shape: str
) -> None:
    spec = SHAPES[shape]
    live = objects.apply("MonitoredModel", spec)
    assert live["spec"]["attributes"] == spec["attributes"]
    edited = copy_of(spec)
    for one in edited["attributes"][LAST - 100 :]:
        one["label"] = "L"
    if "categories" in edited["attributes"][LAST]:
        edited["attributes"][LAST]["categories"][0]["label"] = "zero"
    again = objects.apply("MonitoredModel", edited)
    assert again["metadata"]["generation"] == 2
    assert again["spec"]["attributes"][LAST]["label"] == "L"
    again = objects.write_status(again, {"modelId": "id"})
    renamed, changed = copy_of(again["spec"]), copy_of(again["spec"])
    renamed["attributes"][LAST]["name"] = "renamed"
    with pytest.raises(ApiError, match="attributes cannot be added, removed, renamed or reordered"):
        objects.try_update(again, renamed)
    if "bins" in changed["attributes"][LAST]:
        changed["attributes"][LAST]["bins"][-1]["continuousEnd"] = 99
    else:
        changed["attributes"][LAST]["categories"][-1]["value"] = "99"
    with pytest.raises(ApiError, match=r"(bins|the values of categories) of an attribute cannot be changed"):
        objects.try_update(again, changed)


def small(**fields: Any) -> Spec:
    outputs = [prediction("p", 0, attributeLink="g"), truth("g", 0, attributeLink="p")]
    first = attribute("x", "STRING", "PIPELINE_INPUT", 0) | fields
    return {"inputType": "TABULAR", "outputType": "MULTICLASS", "attributes": [first, *outputs]}


ONE_MORE = attribute("z", "FLOAT", "NON_INPUT_DATA", 0)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (wide(6) | {"attributes": [*wide(6)["attributes"], ONE_MORE]}, "must have at most 1000 items"),
        (small(**values(101)), "must have at most 100 items"),
        (small(**bins(51)), "must have at most 50 items"),
        (small(name="n" * 256), "may not be more than 255"),
    ],
    ids=["attributes", "categories", "bins", "name"],
)
def test_one_more_than_the_most_is_refused(objects: Objects, spec: Spec, says: str) -> None:
    with pytest.raises(ApiError, match=says):
        objects.create("MonitoredModel", spec)


def test_what_is_too_large_for_etcd_is_an_error_and_not_a_loss(objects: Objects) -> None:
    spec = wide(255, **values(100))
    assert len(json.dumps(spec)) > ETCD_REQUEST
    with pytest.raises(ApiError, match="too large"):
        objects.create("MonitoredModel", spec)


def test_the_identity_of_a_wide_model_fits_a_config_map(objects: Objects) -> None:
    live = objects.create("MonitoredModel", wide(255))
    identity = canonical_json(identity_of(monitoredmodel.parse(live))).decode()
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "identity"},
        "immutable": True,
        "data": {"identity.json": identity},
    }
    made = objects.client.request("POST", f"/api/v1/namespaces/{objects.namespace}/configmaps", body)
    assert made["data"]["identity.json"] == identity
