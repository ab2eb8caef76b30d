"""All that a reconcile of a ReferenceDataset has read, frozen."""

from dataclasses import dataclass

from modelwarden.errors import DependencyMissing, InvalidSpec, ReconcileError
from modelwarden.reconcile.ports import Manifest, Refusal, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.referencedataset import ReferenceDataset
from modelwarden.resources.report import ReferenceReport

Entry = ReferenceReport | Refusal | Silence


@dataclass(frozen=True)
class World:
    """`entry` is the store's answer to the declaration; None when there was no store to ask."""

    live: Manifest
    dataset: ReferenceDataset
    model: Manifest | None
    entry: Entry | None = None
    job: Manifest | None = None
    job_key: Manifest | None = None
    pods: tuple[Manifest, ...] = ()

    @property
    def report(self) -> ReferenceReport | None:
        """The store's entry, if it gave one."""
        return self.entry if isinstance(self.entry, ReferenceReport) else None


def hindrance_of(dataset: ReferenceDataset, model: Manifest | None) -> ReconcileError | None:
    """What keeps the dataset from being declared at all."""
    source = dataset.spec.source
    if source.upload is None:
        kind = next(name for name, value in source if value is not None)
        alias = type(source).model_fields[kind].alias
        text = f"spec.source.{alias}: this version takes in uploads only; remove source, or set source.upload"
        return InvalidSpec(Reason.NOT_SUPPORTED_YET, text)
    if dataset.spec.format != "parquet":
        text = f"spec.format {dataset.spec.format}: this version takes in parquet only"
        return InvalidSpec(Reason.NOT_SUPPORTED_YET, text)
    if model is None or model["metadata"].get("deletionTimestamp"):
        text = f"There is no MonitoredModel {dataset.spec.model_ref.name} in this namespace: apply it"
        return DependencyMissing(Reason.MODEL_MISSING, text)
    return None
