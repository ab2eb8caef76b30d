"""Brings the cluster to a plan: applies what differs, one after the other, and collects what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelwarden.errors import ReconcileError
from modelwarden.reconcile.drift import differs
from modelwarden.reconcile.ports import Cluster, Manifest

ChildId = tuple[str, str]


@dataclass(frozen=True)
class Applied:
    """`children`: the live objects afterwards. `changed`: (kind, name, first field that differed)."""

    children: Mapping[ChildId, Manifest]
    changed: tuple[tuple[str, str, str], ...] = ()
    troubles: tuple[ReconcileError, ...] = ()


async def apply_all(
    cluster: Cluster, intents: Sequence[Manifest], children: Mapping[ChildId, Manifest]
) -> Applied:
    """Apply stamped intents in order, skipping those whose live object is already so.

    A failure does not keep the independent ones after it from being applied; a Deployment leans on all.
    """
    after = dict(children)
    changed: list[tuple[str, str, str]] = []
    troubles: list[ReconcileError] = []
    for intent in intents:
        child = intent["kind"], intent["metadata"]["name"]
        if troubles and intent["kind"] == "Deployment":
            break
        live = after.get(child)
        different = "(absent)" if live is None else differs(intent, live)
        if different is None:
            continue
        try:
            after[child] = await cluster.apply(intent)
        except ReconcileError as trouble:
            troubles.append(trouble)
        else:
            changed.append((*child, different))
    return Applied(after, tuple(changed), tuple(troubles))
