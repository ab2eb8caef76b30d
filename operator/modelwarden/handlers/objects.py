"""Events of our own kinds: what is seen starts or wakes its daemon, and wakes those whom it concerns."""

from typing import Any

import kopf

from modelwarden.reconcile.daemons import Daemons
from modelwarden.reconcile.neighbours import Neighbours
from modelwarden.reconcile.ports import DATASET, ENRICHMENT, MODEL, Kind

OWN_KINDS = (MODEL, DATASET, ENRICHMENT)


def register(registry: kopf.OperatorRegistry, daemons: Daemons) -> None:
    """Watch our own kinds."""
    neighbours = Neighbours()
    for kind in OWN_KINDS:
        _watch(registry, kind, daemons, neighbours)


def _watch(registry: kopf.OperatorRegistry, kind: Kind, daemons: Daemons, neighbours: Neighbours) -> None:
    group, _, version = kind.api_version.partition("/")

    @kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)
    async def seen(*, event: Any, **_: Any) -> None:
        live = event["object"]
        if event["type"] == "DELETED":
            daemons.lost(live["metadata"]["uid"])
            concerned = neighbours.lost(kind, live)
        else:
            daemons.saw(kind, live)
            concerned = neighbours.saw(kind, live)
        for other, key in concerned:
            daemons.wake(other, key)
