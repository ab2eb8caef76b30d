"""The claim that holds log, tables and artefacts. No owner reference: with Retain it outlives the model."""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import surviving
from modelwarden.reconcile.names import ANNOTATION_MODEL_ID, data_claim
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.quantities import parse_quantity


def build_claim(plan: Blueprint, live: Manifest | None) -> Manifest | None:
    """The claim as wanted. What `live` already has more of stays: a claim cannot shrink."""
    wanted = plan.model.spec.storage.persistent_volume_claim
    if wanted is None:
        return None
    spec: Manifest = {
        "accessModes": list(wanted.access_modes),
        "resources": {"requests": {"storage": _larger(wanted.size, live)}},
    }
    if wanted.storage_class_name is not None:
        spec["storageClassName"] = wanted.storage_class_name
    name = data_claim(plan.name)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": surviving(plan, name, annotations={ANNOTATION_MODEL_ID: plan.model_id}),
        "spec": spec,
    }


def _larger(wanted: str, live: Manifest | None) -> str:
    has = (((live or {}).get("spec") or {}).get("resources") or {}).get("requests", {}).get("storage")
    try:
        return has if has and parse_quantity(has) > parse_quantity(wanted) else wanted
    except ValueError:  # a notation of the API server's that ours does not know
        return wanted
