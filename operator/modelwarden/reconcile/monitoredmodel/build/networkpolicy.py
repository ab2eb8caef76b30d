"""Who may talk to a cell and to whom a cell may talk: nobody, but for what is listed here."""

from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.names import CELL_PORT
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.meta import LABEL_MODEL

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def build_network_policy(plan: Blueprint) -> Manifest:
    """For all pods of the cell, store and Jobs alike.

    In: the cell's port, from the model's own namespace, the operator's and those the install names. Out: DNS,
    and the cell's own port (a Job is a client of its store).
    """
    install = plan.install
    namespaces = sorted({install.namespace, *install.ingress_namespaces})
    callers = [
        {"podSelector": {}},
        {"namespaceSelector": {"matchExpressions": [
            {"key": _NAMESPACE_NAME, "operator": "In", "values": namespaces},
        ]}},
    ]  # fmt: skip
    cell_port = [{"port": CELL_PORT, "protocol": "TCP"}]
    own_pods = {"podSelector": {"matchLabels": {LABEL_MODEL: plan.name}}}
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owned(plan, plan.name),
        "spec": {
            "podSelector": {"matchLabels": {LABEL_MODEL: plan.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": callers, "ports": cell_port}],
            "egress": [{"ports": dns}, {"to": [own_pods], "ports": cell_port}],
        },
    }
