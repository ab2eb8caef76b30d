"""All that a reconcile of a ReferenceDataset has read, frozen."""

from dataclasses import dataclass

from modelwarden.errors import DependencyMissing, ReconcileError
from modelwarden.reconcile.consent import secret_of, unreadable, withheld
from modelwarden.reconcile.ports import Manifest, Refusal, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.referencedataset.load import source_hash_of
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
    """Of the Job that is due: the one that loads the source, then the one that profiles what is closed."""
    pods: tuple[Manifest, ...] = ()
    credentials: Manifest | None = None
    """The Secret that the source names, if it names one and it is there."""

    @property
    def source_hash(self) -> str | None:
        """Of the source that a Job loads; None for uploads."""
        return source_hash_of(self.dataset.spec)

    @property
    def is_loading(self) -> bool:
        """Whether a Job has to load the source before anything else can happen."""
        report = self.report
        return (
            report is not None
            and report.state == "open"
            and self.source_hash is not None
            and not report.loaded
        )

    @property
    def report(self) -> ReferenceReport | None:
        """The store's entry, if it gave one."""
        return self.entry if isinstance(self.entry, ReferenceReport) else None


def hindrance_of(world: World) -> ReconcileError | None:
    """What keeps the dataset from being declared at all."""
    dataset, model = world.dataset, world.model
    source = dataset.spec.source
    if (trouble := unreadable(source, "spec.source")) is not None:
        return trouble
    if model is None or model["metadata"].get("deletionTimestamp"):
        text = f"There is no MonitoredModel {dataset.spec.model_ref.name} in this namespace: apply it"
        return DependencyMissing(Reason.MODEL_MISSING, text)
    if (name := secret_of(source)) is not None:
        return withheld(name, "spec.source.objectStore.credentialsSecretRef", world.credentials)
    return None
