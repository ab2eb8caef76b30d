"""Metadata of a model's children: our labels, the owner, nothing of the parent's."""

from typing import Any

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.names import child_labels
from modelwarden.reconcile.ports import MODEL, Manifest


def owned(plan: Blueprint, name: str, **more: Any) -> Manifest:
    """Metadata of a child that goes when the model goes. `more`: further labels or annotations."""
    return surviving(plan, name, **more) | {"ownerReferences": [owner_reference(plan)]}


def surviving(plan: Blueprint, name: str, **more: Any) -> Manifest:
    """Metadata of a child that outlives the model."""
    labels = child_labels(plan.name) | more.get("labels", {})
    meta: Manifest = {"namespace": plan.namespace, "name": name, "labels": labels}
    if annotations := more.get("annotations"):
        meta["annotations"] = annotations
    return meta


def owner_reference(plan: Blueprint) -> Manifest:
    """The model as the controlling owner."""
    return {
        "apiVersion": MODEL.api_version,
        "kind": MODEL.kind,
        "name": plan.name,
        "uid": plan.model.metadata.uid,
        "controller": True,
        # True would need `update` on finalizers where OwnerReferencesPermissionEnforcement is on.
        "blockOwnerDeletion": False,
    }
