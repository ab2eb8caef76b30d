"""What may be read for a model: sources that this version knows, and Secrets whose owners agree. Pure."""

from modelwarden.errors import DependencyMissing, InvalidSpec, ReconcileError
from modelwarden.reconcile.ports import Manifest
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.meta import LABEL_USABLE_BY_MODELS
from modelwarden.resources.sources import Source


def unreadable(source: Source, field: str) -> ReconcileError | None:
    """Why no Job can read the source that stands at `field`, whatever its credentials."""
    bucket = source.object_store
    if bucket is not None and not bucket.uri.startswith("s3://"):
        text = f"{field}.objectStore.uri: this version reads s3:// only"
        return InvalidSpec(Reason.NOT_SUPPORTED_YET, text)
    return None


def secret_of(source: Source) -> str | None:
    """The Secret that the source names."""
    bucket = source.object_store
    if bucket is None or bucket.credentials_secret_ref is None:
        return None
    return bucket.credentials_secret_ref.name


def withheld(name: str, field: str, secret: Manifest | None) -> ReconcileError | None:
    """Why a Secret that is named at `field` may not be given to a pod: its owner has not labelled it so."""
    if secret is None:
        text = f"There is no Secret {name} in this namespace ({field})"
        return DependencyMissing(Reason.CREDENTIALS_MISSING, text)
    if (secret["metadata"].get("labels") or {}).get(LABEL_USABLE_BY_MODELS) != "true":
        text = (
            f'Secret {name} needs the label {LABEL_USABLE_BY_MODELS}: "true", which is its owner\'s consent'
        )
        return DependencyMissing(Reason.CREDENTIALS_NOT_USABLE, text)
    return None
