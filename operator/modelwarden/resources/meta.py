"""Names that the whole product shares: API group, kinds, labels, annotations; and an object's metadata.

Must not hold anything about one kind alone.
"""

from datetime import datetime
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from modelwarden.resources.schema import ResourceModel

GROUP = "modelwarden.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "modelwarden.dev/v1alpha1"
CATEGORY = "modelwarden"

FINALIZER = f"{GROUP}/cleanup"
FIELD_MANAGER = "modelwarden"
STATUS_FIELD_MANAGER = "modelwarden-status"

LABEL_MODEL = f"{GROUP}/model"
LABEL_REFERENCE_DATASET = f"{GROUP}/reference-dataset"
LABEL_ENRICHMENT = f"{GROUP}/enrichment"
# The consent of a Secret's owner: without it no spec may make a cell mount the Secret.
LABEL_USABLE_BY_MODELS = f"{GROUP}/usable-by-models"
ANNOTATION_KEY_EPOCH = f"{GROUP}/key-epoch"

# A Service is named after its model, and pods get a suffix, so the API server's 253 do not apply.
MAX_MODEL_NAME = 50
# Jobs are named `<dataset>-profile-<10 hex>` and a Job's name must fit a label value (63).
MAX_DEPENDENT_NAME = 40

ResourceName = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]


class ModelRef(ResourceModel):
    """Names a MonitoredModel of the same namespace."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_MODEL_NAME)]
    """Name of the MonitoredModel, in the namespace of this object."""


class SecretRef(ResourceModel):
    """Names a Secret of the same namespace."""

    name: ResourceName
    """Name of the Secret. It must carry the label modelwarden.dev/usable-by-models: "true"."""


class OwnerReference(ResourceModel):
    """The part of an owner reference that we read."""

    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(ResourceModel):
    """The part of `metadata` that we read; the rest is left alone."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def is_being_deleted(self) -> bool:
        """Whether the API server only waits for finalizers."""
        return self.deletion_timestamp is not None
