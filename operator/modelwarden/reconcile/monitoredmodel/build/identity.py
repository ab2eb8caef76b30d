"""The identity's ConfigMap: immutable, named by its hash, so that another identity is another object."""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import LABEL_CONFIG, identity_config
from modelwarden.reconcile.ports import Manifest


def build_identity(plan: Blueprint) -> Manifest:
    """What the cell is; a change of it restarts the store."""
    name = identity_config(plan.name, plan.identity_hash)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned(plan, name, labels={LABEL_CONFIG: "identity"}),
        "immutable": True,
        "data": {"identity.json": plan.identity.decode()},
    }
