"""Metadata of a model's children: our labels, the owner, nothing of the parent's."""

from typing import Any

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.names import STORE, child_labels
from modelwarden.reconcile.ownership import controller
from modelwarden.reconcile.ports import MODEL, Manifest


def owned(plan: Blueprint, name: str, **more: Any) -> Manifest:
    """Metadata of a child that goes when the model goes. `more`: further labels, annotations,
    `component`."""
    return surviving(plan, name, **more) | {
        "ownerReferences": [controller(MODEL, plan.name, plan.model.metadata.uid)]
    }


def surviving(plan: Blueprint, name: str, **more: Any) -> Manifest:
    """Metadata of a child that outlives the model."""
    labels = child_labels(plan.name, more.get("component", STORE)) | more.get("labels", {})
    meta: Manifest = {"namespace": plan.namespace, "name": name, "labels": labels}
    if annotations := more.get("annotations"):
        meta["annotations"] = annotations
    return meta
