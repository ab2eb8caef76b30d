"""The cell's ServiceAccount (without a token: a cell never talks to Kubernetes) and its key's Secret."""

import base64

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import key_secret
from modelwarden.reconcile.ports import Manifest


def build_account(plan: Blueprint) -> Manifest:
    """An identity for quotas and policies; no rights, no token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": owned(plan, plan.name),
        "automountServiceAccountToken": False,
    }


def build_key(plan: Blueprint) -> Manifest:
    """The cell's key, for the cell itself and for the model's owners."""
    values = {"key": plan.key, "model_id": plan.model_id}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": owned(plan, key_secret(plan.name)),
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }
