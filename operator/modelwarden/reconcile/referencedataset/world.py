"""All that a reconcile of a ReferenceDataset has read, frozen."""

from dataclasses import dataclass

from modelwarden.errors import DependencyMissing, InvalidSpec, ReconcileError
from modelwarden.reconcile.ports import Manifest, Refusal, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.reconcile.referencedataset.load import source_hash_of
from modelwarden.resources.meta import LABEL_USABLE_BY_MODELS
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
    bucket = dataset.spec.source.object_store
    if bucket is not None and not bucket.uri.startswith("s3://"):
        text = "spec.source.objectStore.uri: this version reads s3:// only"
        return InvalidSpec(Reason.NOT_SUPPORTED_YET, text)
    if model is None or model["metadata"].get("deletionTimestamp"):
        text = f"There is no MonitoredModel {dataset.spec.model_ref.name} in this namespace: apply it"
        return DependencyMissing(Reason.MODEL_MISSING, text)
    if bucket is not None and bucket.credentials_secret_ref is not None:
        return _consent(bucket.credentials_secret_ref.name, world.credentials)
    return None


def _consent(name: str, secret: Manifest | None) -> ReconcileError | None:
    """A Secret is given to a pod only if its owner has labelled it so."""
    if secret is None:
        text = f"There is no Secret {name} in this namespace (spec.source.objectStore.credentialsSecretRef)"
        return DependencyMissing(Reason.CREDENTIALS_MISSING, text)
    if (secret["metadata"].get("labels") or {}).get(LABEL_USABLE_BY_MODELS) != "true":
        text = (
            f'Secret {name} needs the label {LABEL_USABLE_BY_MODELS}: "true", which is its owner\'s consent'
        )
        return DependencyMissing(Reason.CREDENTIALS_NOT_USABLE, text)
    return None
