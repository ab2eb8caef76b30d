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
        group, _, version = kind.api_version.partition("/")
        handler = _Seen(kind, daemons, neighbours)
        kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)(handler)


class _Seen:
    """A handler with its collaborators; kopf wants a callable."""

    def __init__(self, kind: Kind, daemons: Daemons, neighbours: Neighbours) -> None:
        self._kind = kind
        self._daemons = daemons
        self._neighbours = neighbours

    async def __call__(self, *, event: Any, **_: Any) -> None:
        live = event["object"]
        if event["type"] == "DELETED":
            self._daemons.lost(live["metadata"]["uid"])
            concerned = self._neighbours.lost(self._kind, live)
        else:
            self._daemons.saw(self._kind, live)
            concerned = self._neighbours.saw(self._kind, live)
        for kind, key in concerned:
            self._daemons.wake(kind, key)
