"""Reads what a reconcile of an Enrichment looks at. The cell's word is in its model's status."""

import asyncio
from contextlib import suppress

from modelwarden.reconcile.enrichment.world import World
from modelwarden.reconcile.monitoredmodel.status import status_in
from modelwarden.reconcile.ports import ENRICHMENT, MODEL, Cluster, Key, Manifest
from modelwarden.resources.enrichment import Enrichment, parse
from modelwarden.resources.kind import InvalidResource


async def find(cluster: Cluster, key: Key, uid: str) -> Manifest | None:
    """The live object, if it still is the one with this uid and is not being deleted."""
    live = await cluster.get(ENRICHMENT, key)
    if live is None or live["metadata"]["uid"] != uid or live["metadata"].get("deletionTimestamp"):
        return None
    return live


async def gather(cluster: Cluster, live: Manifest) -> World:
    """The Enrichment, its model and the others of its model. Raises InvalidResource."""
    enrichment = parse(live)
    key = Key(enrichment.metadata.namespace, enrichment.spec.model_ref.name)
    model, others = await asyncio.gather(
        cluster.get(MODEL, key),
        cluster.list(ENRICHMENT, key.namespace, fields=f"spec.modelRef.name={key.name}"),
    )
    siblings: list[Enrichment] = []
    for other in others:
        with suppress(InvalidResource):
            siblings.append(parse(other))
    return World(live, enrichment, tuple(siblings), model, status_in(model) if model else None)
