"""Events: one when something has happened, none when nothing has. What to tell is decided purely.

Only a condition whose status flips is told, and only those that matter to people, so that a normal life makes
a handful. Sending is best effort: an event that is lost loses nothing but a line in `kubectl describe`.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.ports import Cluster, Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.conditions import Condition, ConditionType

_log = logging.getLogger("modelwarden.events")

# For these False is what a person wants to hear of as a warning; for Stalled it is True.
_TOLD = (
    ConditionType.READY,
    ConditionType.STORE_AVAILABLE,
    ConditionType.REFERENCE_LOADED,
    ConditionType.MODEL_HEALTHY,
    ConditionType.UPLOADED,
    ConditionType.PROFILED,
    ConditionType.SERVER_AVAILABLE,
    ConditionType.ENVIRONMENT_READY,
    ConditionType.EXPLAINER_READY,
)


@dataclass(frozen=True)
class Happening:
    """One thing to tell."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def transitions(before: Iterable[Condition], after: Iterable[Condition]) -> Iterator[Happening]:
    """What has flipped. What begins as False or Unknown has not flipped: nothing has happened yet."""
    was = {condition.type: condition.status for condition in before}
    for condition in after:
        old = was.get(condition.type)
        if old == condition.status:
            continue
        text = f"{condition.type}: {condition.message}" if condition.message else condition.type
        if condition.type == ConditionType.STALLED and condition.status == "True":
            yield Happening("Warning", condition.reason, text)
        elif condition.type in _TOLD and condition.status == "True":
            yield Happening("Normal", condition.reason, text)
        elif condition.reason == Reason.SETTINGS_PENDING:
            continue  # the next seconds of every change that a person makes: nothing to warn of
        elif condition.type in _TOLD and condition.status == "False" and old == "True":
            yield Happening("Warning", condition.reason, text)


async def tell(cluster: Cluster, about: Manifest, happenings: Iterable[Happening], now: datetime) -> None:
    """Write the events about an object."""
    for number, happening in enumerate(happenings):
        try:
            await cluster.create(event_manifest(about, happening, now, number))
        except ReconcileError as error:
            _log.info("an event could not be written: %s", error)


def event_manifest(about: Manifest, happening: Happening, now: datetime, number: int) -> Manifest:
    """A core/v1 Event; `number` keeps several of one moment apart."""
    meta = about["metadata"]
    when = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "namespace": meta["namespace"],
            "name": f"{meta['name']}.{int(now.timestamp() * 1e6) + number:x}",
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "type": happening.type,
        "reason": happening.reason,
        "message": happening.message,
        "source": {"component": "modelwarden"},
        "reportingComponent": "modelwarden",
        "reportingInstance": "modelwarden-operator",
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
