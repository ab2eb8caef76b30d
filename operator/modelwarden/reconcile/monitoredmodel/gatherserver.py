"""Reads what belongs to a model's server, if it has one or once had. Writes nothing.

Most models have none: for these one request asks, for the Deployment, which is made last and removed last.
"""

import asyncio
from dataclasses import replace

from modelwarden.reconcile.collaborators import Install
from modelwarden.reconcile.monitoredmodel.blueprint import server_of
from modelwarden.reconcile.monitoredmodel.provisions import secret_names
from modelwarden.reconcile.monitoredmodel.world import World, child_id
from modelwarden.reconcile.names import assets_policy, environment_policy, server_name
from modelwarden.reconcile.ports import AUTOSCALER, NETWORK_POLICY, SECRET, SERVICE, Cluster, Key


async def with_server(cluster: Cluster, world: World, install: Install) -> World:
    """The same world with the server's other children, and the Secrets that its Jobs would be given: whether
    their owners agree."""
    server = server_of(world.model, install, world.enrichments)
    had_one = world.model.status is not None and world.model.status.server is not None
    if server is None and not had_one and world.server is None:
        return world
    key = Key(world.model.metadata.namespace, world.model.metadata.name)
    named = [
        (NETWORK_POLICY, server_name(key.name)),
        (NETWORK_POLICY, assets_policy(key.name)),
        (NETWORK_POLICY, environment_policy(key.name)),
        (SERVICE, server_name(key.name)),
        (AUTOSCALER, server_name(key.name)),
    ]
    secrets = sorted(secret_names(server)) if server is not None else []
    named += [(SECRET, name) for name in secrets]
    found = await asyncio.gather(*(cluster.get(kind, Key(key.namespace, name)) for kind, name in named))
    there = [live for live in found if live is not None]
    return replace(
        world,
        children={**world.children, **{child_id(live): live for live in there if live["kind"] != "Secret"}},
        secrets={live["metadata"]["name"]: live for live in there if live["kind"] == "Secret"},
    )
