"""Who may talk to a cell and to whom a cell may talk: nobody, but for what is listed here.

The server's pods have a policy of their own, which allows less.
"""

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import CELL_PORT, LABEL_COMPONENT, SERVER
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.meta import LABEL_MODEL

_NAMESPACE_NAME = "kubernetes.io/metadata.name"
DNS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]


def build_network_policy(plan: Blueprint) -> Manifest:
    """For the pods of the cell but its server's: store and Jobs.

    In: the cell's port, from the model's own namespace, the operator's and those the install names. Out: DNS,
    and the cell's own port (a Job is a client of its store).
    """
    cell_port = [{"port": CELL_PORT, "protocol": "TCP"}]
    own_pods = {"podSelector": {"matchLabels": {LABEL_MODEL: plan.name}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owned(plan, plan.name),
        "spec": {
            "podSelector": {
                "matchLabels": {LABEL_MODEL: plan.name},
                "matchExpressions": [{"key": LABEL_COMPONENT, "operator": "NotIn", "values": [SERVER]}],
            },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": callers_of(plan.install), "ports": cell_port}],
            "egress": [{"ports": DNS}, {"to": [own_pods], "ports": cell_port}],
        },
    }


def callers_of(install: Install) -> list[Manifest]:
    """Pods of the model's own namespace, of the operator's and of those that the install names."""
    namespaces = sorted({install.namespace, *install.ingress_namespaces})
    by_name = {"key": _NAMESPACE_NAME, "operator": "In", "values": namespaces}
    return [{"podSelector": {}}, {"namespaceSelector": {"matchExpressions": [by_name]}}]
