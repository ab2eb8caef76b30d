"""StorageReady: what the claim's state means. Pure."""

from modelwarden.reconcile.monitoredmodel.world import World
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.verdicts import Verdict, no, yes


def storage_ready(world: World) -> Verdict:
    """Whether there is a volume for the data."""
    claim = world.claim
    if claim is None:
        return no(Reason.CHILD_MISSING, "The claim is not made yet")
    status = claim.get("status") or {}
    phase = status.get("phase", "Pending")
    if phase == "Bound":
        size = (status.get("capacity") or {}).get("storage", "")
        return yes(Reason.BOUND, f"{size} on the claim {claim['metadata']['name']}".strip())
    if phase == "Lost":
        return no(Reason.VOLUME_LOST, "The claim has lost its volume: restore it from a backup")
    if world.claim_trouble:
        return no(Reason.WAITING_FOR_VOLUME, f"The claim has no volume: {world.claim_trouble}")
    return no(
        Reason.WAITING_FOR_POD, "The claim waits for its volume; many classes bind when a pod is placed"
    )
