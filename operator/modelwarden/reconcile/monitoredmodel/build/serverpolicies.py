"""Whom a model's server may talk to, and how far the Jobs get that fetch its files and its packages. Pure.

Must not let pods in which user code runs reach a package index or a source: only Jobs do.
"""

from collections.abc import Iterable, Iterator

from modelwarden.reconcile.egress import ports_to, ports_to_source, way_out
from modelwarden.reconcile.monitoredmodel.blueprint import Blueprint, ServerBlueprint
from modelwarden.reconcile.monitoredmodel.build.metadata import owned
from modelwarden.reconcile.monitoredmodel.build.networkpolicy import DNS, callers_of
from modelwarden.reconcile.names import (
    CELL_PORT,
    LABEL_PURPOSE,
    SERVER,
    STORE,
    Labels,
    assets_policy,
    environment_policy,
    pod_selector,
    server_name,
)
from modelwarden.reconcile.ports import Manifest
from modelwarden.resources.meta import LABEL_MODEL
from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.server import ROLES


def build_server_policies(plan: Blueprint, server: ServerBlueprint) -> Iterator[Manifest]:
    """The server's own; then one for each purpose whose Jobs need a way out."""
    yield _server(plan, server)
    sources = server.wish.sources.values()
    ports = {port for source in sources for port in ports_to_source(source, plan.pod)}
    if ports:
        yield _outside(plan, assets_policy(plan.name), ASSETS, ports)
    yield _outside(plan, environment_policy(plan.name), ENVIRONMENT, index_ports(plan, server))


def index_ports(plan: Blueprint, server: ServerBlueprint) -> frozenset[int]:
    """Ports of every index that the model's packages may come from."""
    indexes = [server.index_of((role,)) for role in ROLES]
    urls = [url for index in indexes for url in (index.url, *index.extra_urls, index.proxy)]
    return ports_to(urls, plan.pod)


def _server(plan: Blueprint, server: ServerBlueprint) -> Manifest:
    """In: who may call the cell. Out: names, and the store; the web only where webhooks are allowed."""
    cell_port = [{"port": CELL_PORT, "protocol": "TCP"}]
    store = {"podSelector": {"matchLabels": pod_selector(plan.name, STORE)}}
    egress: list[Manifest] = [{"ports": DNS}, {"to": [store], "ports": cell_port}]
    if server.wish.serving is not None and server.wish.serving.allow_webhooks:
        egress.append(way_out(ports_to((), plan.pod)))
    more = {
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": callers_of(plan.install), "ports": cell_port}],
        "egress": egress,
    }
    return _policy(plan, server_name(plan.name), pod_selector(plan.name, SERVER), more)


def _outside(plan: Blueprint, name: str, purpose: str, ports: Iterable[int]) -> Manifest:
    """Adds to the cell's own policy, under which these pods reach the store already."""
    selector = {LABEL_MODEL: plan.name, LABEL_PURPOSE: purpose}
    return _policy(plan, name, selector, {"policyTypes": ["Egress"], "egress": [way_out(ports)]})


def _policy(plan: Blueprint, name: str, selector: Labels, more: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": owned(plan, name, component=SERVER),
        "spec": {"podSelector": {"matchLabels": selector}} | more,
    }
