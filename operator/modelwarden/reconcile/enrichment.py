"""Enrichment: the schema takes it in, this version does not act on it, and the status says so."""

from collections.abc import Callable
from datetime import datetime

from modelwarden.errors import InvalidSpec
from modelwarden.reconcile.daemons import Visit
from modelwarden.reconcile.outcome import Outcome
from modelwarden.reconcile.ports import ENRICHMENT, Cluster
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.report import write_status
from modelwarden.reconcile.verdicts import conditions_of, no, standing_of, yes
from modelwarden.resources.enrichment import Enrichment, EnrichmentStatus, parse
from modelwarden.resources.kind import InvalidResource


class ReconcileEnrichment:
    """One instance for all enrichments."""

    def __init__(self, cluster: Cluster, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now

    async def __call__(self, visit: Visit) -> Outcome:
        """Nothing but its status is ever written."""
        live = await self._cluster.get(ENRICHMENT, visit.key)
        if live is None or live["metadata"]["uid"] != visit.uid or live["metadata"].get("deletionTimestamp"):
            return Outcome(gone=True)
        try:
            enrichment = parse(live)
        except InvalidResource as error:
            path, message = error.problems[0]
            return Outcome(trouble=InvalidSpec(Reason.INVALID_SPEC, f"{path}: {message}"))
        status = summarise(enrichment, self._now())
        if status != enrichment.status:
            await write_status(self._cluster, live, status)
        return Outcome(
            conditions=tuple((condition.type, condition.status) for condition in status.conditions)
        )


def summarise(enrichment: Enrichment, now: datetime) -> EnrichmentStatus:
    """Disabled as asked for, or not supported yet. Pure."""
    meta, spec = enrichment.metadata, enrichment.spec
    if spec.enabled:
        text = f"spec.type {spec.type}: this version does not compute it yet; it takes no effect"
        standing = standing_of(no(Reason.NOT_SUPPORTED_YET, text), None, yes(Reason.NOT_SUPPORTED_YET, text))
    else:
        standing = standing_of(yes(Reason.DISABLED, "Disabled, as spec.enabled says"), None, None)
    before = enrichment.status.conditions if enrichment.status else ()
    return EnrichmentStatus(
        observed_generation=meta.generation,
        conditions=conditions_of(standing.by_type(), meta.generation, now, before),
        state="Pending" if spec.enabled else "Disabled",
    )
