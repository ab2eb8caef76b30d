"""Writes a status: the subresource, whole, as our status field manager, for exactly this object."""

from pydantic import BaseModel

from modelwarden.reconcile.ports import Cluster, Manifest


async def write_status(cluster: Cluster, live: Manifest, status: BaseModel) -> None:
    """Server-side apply: what is not in `status` any more is removed."""
    meta = live["metadata"]
    await cluster.apply_status(
        {
            "apiVersion": live["apiVersion"],
            "kind": live["kind"],
            # With the uid a namesake made meanwhile is a conflict, not a victim.
            "metadata": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
            "status": status.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
    )
