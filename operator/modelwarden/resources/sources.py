"""Where data or files come from: uploaded to the cell, a claim, an object store, the web, a ConfigMap."""

from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from modelwarden.resources.meta import ResourceName, SecretRef
from modelwarden.resources.schema import ResourceModel, exactly_one, validations

Path = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
Sha256 = Annotated[str, StringConstraints(min_length=64, max_length=64, pattern=r"^[0-9a-f]{64}$")]
Uri = Annotated[
    str, StringConstraints(min_length=6, max_length=1024, pattern=r"^(s3|gs|az|abfs|abfss)://[^\s]+$")
]
HttpUrl = Annotated[str, StringConstraints(min_length=8, max_length=2048, pattern=r"^https?://[^\s]+$")]


class UploadSource(ResourceModel):
    """Uploaded to the cell through its API."""


class VolumeSource(ResourceModel):
    """Files on a claim of the user's own, mounted read-only in a Job."""

    claim_name: ResourceName
    """Name of the PersistentVolumeClaim, in the namespace of this object."""
    path: Path
    """Path of the file or folder on the volume, relative to its root."""


class ObjectStoreSource(ResourceModel):
    """Objects in a bucket."""

    uri: Uri
    """The object or prefix, for example s3://bucket/path."""
    endpoint: HttpUrl | None = None
    """Address of the object store, when it is not the provider's own."""
    region: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    """Region of the bucket."""
    credentials_secret_ref: SecretRef | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, maybe AWS_SESSION_TOKEN. It must carry the
    label modelwarden.dev/usable-by-models: "true". Left out: read without credentials."""


class HttpSource(ResourceModel):
    """A file on the web, fixed by its checksum."""

    url: HttpUrl
    """Address of the file; http or https, without credentials."""
    sha256: Sha256
    """SHA-256 of the file in hex. What arrives is refused when it differs."""


class ConfigMapSource(ResourceModel):
    """A small file in a ConfigMap."""

    name: ResourceName
    """Name of the ConfigMap, in the namespace of this object."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
    """Key in data or binaryData that holds the file."""


SOURCE_KINDS = ("upload", "persistentVolumeClaim", "objectStore", "http", "configMap")


class Source(ResourceModel):
    """Where something comes from: exactly one of the ways."""

    upload: UploadSource | None = None
    """Uploaded through the API of the model's cell."""
    persistent_volume_claim: VolumeSource | None = None
    """Files on a PersistentVolumeClaim, read by a Job."""
    object_store: ObjectStoreSource | None = None
    """Objects in a bucket, read by a Job."""
    http: HttpSource | None = None
    """A file fetched by http or https and checked against its SHA-256."""
    config_map: ConfigMapSource | None = None
    """A small file in a ConfigMap (at most 1 MiB)."""

    model_config = ConfigDict(
        json_schema_extra=validations(exactly_one(SOURCE_KINDS, "say where it comes from"))
    )
