"""Deletion of a model, as a branch of its reconcile: stop the store, then the data, then let the object go.

Every step looks at live objects and can be repeated from any point. Only what bears the model's own mark is
deleted. After a deadline the clean-up is given up, with an event: a stuck volume must not block a namespace.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from modelwarden.reconcile.monitoredmodel.status import leaving, status_in
from modelwarden.reconcile.names import data_claim, pod_selector, selecting, server_name
from modelwarden.reconcile.outcome import Outcome
from modelwarden.reconcile.ownership import Owner, owner_of, owner_of_claim
from modelwarden.reconcile.ports import CLAIM, DEPLOYMENT, POD, Cluster, Key, Manifest
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.transitions import Happening, tell
from modelwarden.resources.identity import model_id
from modelwarden.resources.meta import FINALIZER

# Pods and claims go by events, which wake the daemon; this is for a lost one.
_LOOK_AGAIN = 5.0


@dataclass(frozen=True)
class Farewell:
    """A model that is being deleted, and what to do about its data."""

    live: Manifest
    now: datetime
    deadline: timedelta

    @property
    def key(self) -> Key:
        return Key(self.live["metadata"]["namespace"], self.live["metadata"]["name"])

    @property
    def uid(self) -> str:
        uid: str = self.live["metadata"]["uid"]
        return uid

    @property
    def policy(self) -> str:
        storage = (self.live.get("spec") or {}).get("storage") or {}
        return str(storage.get("deletionPolicy") or "Retain")

    @property
    def model_id(self) -> str:
        return model_id(self.key.namespace, str(self.live["spec"].get("partnerModelId") or self.key.name))

    @property
    def is_overdue(self) -> bool:
        asked = datetime.fromisoformat(str(self.live["metadata"]["deletionTimestamp"]))
        return self.now - asked > self.deadline


async def clean_up(cluster: Cluster, farewell: Farewell) -> Outcome:
    """One pass. `gone` when our finalizer is off; else what is waited for, to be looked at again soon."""
    finalizers = list(farewell.live["metadata"].get("finalizers") or ())
    if FINALIZER not in finalizers:
        return Outcome(after=_LOOK_AGAIN)
    waits_for = await _remaining(cluster, farewell)
    if waits_for is not None and not farewell.is_overdue:
        status = leaving(farewell.live, waits_for, farewell.now)
        if status != status_in(farewell.live):
            await write_status(cluster, farewell.live, status)
        return Outcome(after=_LOOK_AGAIN)
    await tell(cluster, farewell.live, (_last_words(farewell, waits_for),), farewell.now)
    await cluster.set_finalizers(farewell.live, [name for name in finalizers if name != FINALIZER])
    return Outcome(after=_LOOK_AGAIN)


async def _remaining(cluster: Cluster, farewell: Farewell) -> str | None:
    """Does the steps in order; names the first that is not verifiably done."""
    steps: tuple[Callable[[Cluster, Farewell], Awaitable[str | None]], ...] = (_store, _data)
    for step in steps:
        if (waits_for := await step(cluster, farewell)) is not None:
            return waits_for
    return None


async def _store(cluster: Cluster, farewell: Farewell) -> str | None:
    """The store ends and drains before its volume may go; the server with it."""
    key = farewell.key
    for name in (key.name, server_name(key.name)):
        deployment = await cluster.get(DEPLOYMENT, Key(key.namespace, name))
        if deployment is not None and owner_of(deployment, key.name, farewell.uid) is Owner.OURS:
            await cluster.delete(deployment)
    pods = await cluster.list(POD, key.namespace, labels=selecting(pod_selector(key.name)))
    return "the store's pod to end" if pods else None


async def _data(cluster: Cluster, farewell: Farewell) -> str | None:
    """The claim: kept, or deleted and seen to be gone."""
    key = farewell.key
    if farewell.policy != "Delete":
        return None
    claim = await cluster.get(CLAIM, Key(key.namespace, data_claim(key.name)))
    if claim is None or owner_of_claim(claim, key.name, farewell.model_id) is not Owner.OURS:
        return None
    if not claim["metadata"].get("deletionTimestamp"):
        await cluster.delete(claim)
    return f"claim {data_claim(key.name)} to be removed"


def _last_words(farewell: Farewell, waits_for: str | None) -> Happening:
    claim = data_claim(farewell.key.name)
    if waits_for is not None:
        minutes = farewell.deadline.total_seconds() / 60
        text = f"Still waiting for {waits_for} after {minutes:.0f} minutes: remove it by hand"
        return Happening("Warning", "CleanUpAbandoned", text)
    if farewell.policy == "Delete":
        return Happening("Normal", "DataDeleted", f"Claim {claim} was deleted with the model")
    return Happening(
        "Normal", "DataRetained", f"Claim {claim} keeps the data: the same model applied again finds them"
    )
