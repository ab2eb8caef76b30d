"""All that a reconcile of an Enrichment has read, frozen."""

from dataclasses import dataclass

from modelwarden.errors import DependencyMissing, InvalidSpec, ReconcileError
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.conditions import find_condition
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.modelstatus import MonitoredModelStatus
from modelwarden.resources.training import TrainedSummary


@dataclass(frozen=True)
class World:
    """`siblings` are the Enrichments of the same model, this one included."""

    live: Manifest
    enrichment: Enrichment
    siblings: tuple[Enrichment, ...] = ()
    model: Manifest | None = None
    model_status: MonitoredModelStatus | None = None

    @property
    def older(self) -> str | None:
        """The name of the one of the same type that counts in the place of this one."""
        chosen = counting(self.siblings).get(self.enrichment.spec.type)
        if chosen is None or chosen.metadata.uid == self.enrichment.metadata.uid:
            return None
        return chosen.metadata.name

    @property
    def is_archived(self) -> bool:
        """Whether the model is switched off."""
        return bool(self.model) and (self.model or {}).get("spec", {}).get("lifecycle") == "Archived"

    @property
    def store_answers(self) -> bool:
        """Whether what is known of the store is of now."""
        conditions = self.model_status.conditions if self.model_status else ()
        found = find_condition(conditions, "StoreAvailable")
        return found is not None and found.status == "True"

    @property
    def trained(self) -> TrainedSummary | None:
        """What the model's status says of what this type has trained."""
        known = self.model_status.enrichments if self.model_status else ()
        return next((one for one in known if one.type == self.enrichment.spec.type), None)

    @property
    def is_in_force(self) -> bool:
        """Whether the store has read this version of this object."""
        trained, meta = self.trained, self.enrichment.metadata
        if trained is None:
            return False
        return (trained.declared_by, trained.observed_generation) == (meta.name, meta.generation)


def hindrance_of(world: World) -> ReconcileError | None:
    """What keeps the object from having any effect."""
    spec, model = world.enrichment.spec, world.model
    if model is None or model["metadata"].get("deletionTimestamp"):
        text = f"There is no MonitoredModel {spec.model_ref.name} in this namespace: apply it"
        return DependencyMissing(Reason.MODEL_MISSING, text)
    if world.older is not None:
        text = (
            f"Enrichment {world.older} is older and of the same type for {spec.model_ref.name}: that one"
            " counts; delete one of the two"
        )
        return InvalidSpec(Reason.DUPLICATE_ENRICHMENT, text)
    return None
