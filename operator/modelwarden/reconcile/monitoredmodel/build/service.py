"""The cell's address inside the cluster."""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import CELL_PORT, pod_selector
from modelwarden.reconcile.ports import Manifest


def build_service(plan: Blueprint) -> Manifest:
    """A store that is not ready is reachable, too: it answers 503 with Retry-After, and says why."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(plan, plan.name),
        "spec": {
            "type": "ClusterIP",
            "publishNotReadyAddresses": True,
            "selector": pod_selector(plan.name),
            "ports": [{"name": "http", "port": CELL_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
