"""Manifests of our kinds for tests: small, valid, and every field that a test cares about can be given."""

from typing import Any

from modelwarden.resources.meta import API_VERSION

Manifest = dict[str, Any]


def attribute(name: str, stage: str, position: int, **more: Any) -> Manifest:
    """An attribute of type FLOAT unless told otherwise."""
    base = {"name": name, "stage": stage, "position": position, "valueType": "FLOAT", "categorical": False}
    return base | more


def binary_attributes() -> list[Manifest]:
    """Two inputs, a probability and its label: the smallest useful classifier."""
    return [
        attribute("age", "PIPELINE_INPUT", 0, valueType="INTEGER"),
        attribute(
            "job", "PIPELINE_INPUT", 1, valueType="STRING", categorical=True,
            categories=[{"value": "a"}, {"value": "b"}],
        ),
        attribute(
            "p", "PREDICTED_VALUE", 0, attributeLink="y", isPositivePredictedAttribute=True,
        ),
        attribute(
            "y", "GROUND_TRUTH", 0, valueType="INTEGER", categorical=True, attributeLink="p",
            categories=[{"value": "0"}, {"value": "1"}],
        ),
    ]  # fmt: skip


def monitored_model(namespace: str, name: str = "census", **spec: Any) -> Manifest:
    """A MonitoredModel; keyword arguments go into the spec."""
    fields = {
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": binary_attributes(),
        "storage": {"persistentVolumeClaim": {"size": "1Gi"}},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "MonitoredModel",
        "metadata": {"namespace": namespace, "name": name},
        "spec": fields | spec,
    }


def reference_dataset(namespace: str, name: str = "train", model: str = "census", **spec: Any) -> Manifest:
    """A ReferenceDataset that is uploaded."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ReferenceDataset",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"modelRef": {"name": model}, "source": {"upload": {}}} | spec,
    }


def enrichment(namespace: str, name: str = "spots", model: str = "census", **spec: Any) -> Manifest:
    """An Enrichment of the type Hotspots."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Enrichment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"modelRef": {"name": model}, "type": "Hotspots"} | spec,
    }
