"""Whose is an object that has the name of a child? Pure. What is not ours is never touched."""

from enum import Enum

from modelwarden.reconcile.names import ANNOTATION_MODEL_ID
from modelwarden.reconcile.ports import MODEL, Kind, Manifest
from modelwarden.resources.meta import LABEL_MODEL


class Owner(Enum):
    """OURS: made for this very object. PREVIOUS: for a deleted namesake, and being collected."""

    OURS = "ours"
    PREVIOUS = "previous"
    FOREIGN = "foreign"
    OTHER_MODEL = "other model's data"


def owner_of(live: Manifest, model: str, uid: str) -> Owner:
    """Whose an owned child is, for the MonitoredModel `model` with `uid`."""
    for reference in live["metadata"].get("ownerReferences") or ():
        if reference.get("uid") == uid:
            return Owner.OURS
        if reference.get("kind") == MODEL.kind and reference.get("name") == model:
            return Owner.PREVIOUS
    return Owner.FOREIGN


def owner_of_claim(live: Manifest, model: str, model_id: str) -> Owner:
    """Whose a claim is. It has no owner: our label and the model's id on it say so, also after a restore."""
    meta = live["metadata"]
    if (meta.get("labels") or {}).get(LABEL_MODEL) != model:
        return Owner.FOREIGN
    if (meta.get("annotations") or {}).get(ANNOTATION_MODEL_ID) != model_id:
        return Owner.OTHER_MODEL
    return Owner.OURS


def controller(kind: Kind, name: str, uid: str) -> Manifest:
    """An owner reference: this object goes when the named one goes."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": name,
        "uid": uid,
        "controller": True,
        # True would need `update` on finalizers where OwnerReferencesPermissionEnforcement is on.
        "blockOwnerDeletion": False,
    }
