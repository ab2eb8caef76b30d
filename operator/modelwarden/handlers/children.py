"""Events of what we made: a child that changes or goes wakes the object it was made for."""

from collections.abc import Mapping
from typing import Any

import kopf

from modelwarden.reconcile.daemons import Daemons
from modelwarden.reconcile.ports import (
    AUTOSCALER,
    CLAIM,
    CONFIG_MAP,
    DATASET,
    DEPLOYMENT,
    JOB,
    MODEL,
    NETWORK_POLICY,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    Key,
)
from modelwarden.resources.meta import LABEL_MODEL, LABEL_REFERENCE_DATASET

# Secrets are not watched: that would need `list` on every Secret there is. A resync restores them.
CHILD_KINDS = (
    SERVICE_ACCOUNT, CONFIG_MAP, CLAIM, SERVICE, POD, DEPLOYMENT, JOB, NETWORK_POLICY, AUTOSCALER,
)  # fmt: skip
SELECTOR = LABEL_MODEL


def register(registry: kopf.OperatorRegistry, daemons: Daemons, settings: kopf.OperatorSettings) -> None:
    """Watch children by our label, filtered by the API server."""

    async def changed(*, labels: Mapping[str, str], namespace: str | None, **_: Any) -> None:
        if namespace is None:
            return
        if dataset := labels.get(LABEL_REFERENCE_DATASET):
            daemons.wake(DATASET, Key(namespace, dataset))
        elif model := labels.get(LABEL_MODEL):
            daemons.wake(MODEL, Key(namespace, model))

    for kind in CHILD_KINDS:
        group, _, version = kind.api_version.rpartition("/")
        settings.watching.label_selectors[group, version, kind.plural] = SELECTOR
        kopf.on.event(group, version, kind.plural, registry=registry, id=kind.plural)(changed)
