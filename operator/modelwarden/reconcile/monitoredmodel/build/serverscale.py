"""The server's address inside the cluster, and how many pods are behind it. Pure.

Must not say how large a pod is: see `amounts`.
"""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint, ServerBlueprint
from modelwarden.reconcile.monitoredmodel.build.amounts import BUSY, REQUESTED, replicas_of
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.monitoredmodel.build.server import MODEL_SERVER
from modelwarden.reconcile.names import CELL_PORT, SERVER, pod_selector, server_name
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.quantities import parse_duration

# What the API server allows.
_LONGEST_COOLDOWN = 3600
_COOLDOWN = "5m"


def build_server_service(plan: Blueprint) -> Manifest:
    """Only pods that are ready: one that is loading cannot predict."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(plan, server_name(plan.name), component=SERVER),
        "spec": {
            "type": "ClusterIP",
            "selector": pod_selector(plan.name, SERVER),
            "ports": [{"name": "http", "port": CELL_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def build_autoscaler(plan: Blueprint, server: ServerBlueprint) -> Manifest:
    """By the processor of the container that runs user code. Where nothing measures it (no metrics server),
    there are as many pods as the fewest."""
    fewest, most = replicas_of(server.wish)
    serving = server.wish.serving
    cooldown = parse_duration(serving.cooldown if serving else _COOLDOWN)
    # The autoscaler counts in shares of what is requested, we in shares of the limit.
    target = int(100 * BUSY / REQUESTED)
    busy = {"type": "Utilization", "averageUtilization": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": owned(plan, server_name(plan.name), component=SERVER),
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": server_name(plan.name),
            },
            "minReplicas": fewest,
            "maxReplicas": most,
            "metrics": [
                {
                    "type": "ContainerResource",
                    "containerResource": {"name": "cpu", "container": MODEL_SERVER, "target": busy},
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": min(cooldown, _LONGEST_COOLDOWN)}},
        },
    }
