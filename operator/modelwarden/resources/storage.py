"""Where a model's log and tables live: on a claim, or in an object store with a claim for the log."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.quantities import Duration, Quantity
from modelwarden.resources.schema import ResourceModel, Rule, exactly_one, unchangeable, validations
from modelwarden.resources.sources import ObjectStoreSource

AccessMode = Literal["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"]
DeletionPolicy = Literal["Retain", "Delete"]

_MOVE = "data would have to be moved; make a new model instead"


class ClaimStorage(ResourceModel):
    """A PersistentVolumeClaim that the operator makes."""

    storage_class_name: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Storage class. Left out: the cluster's default class. It must be a disk that honours fsync and
    flock."""
    size: Quantity = "10Gi"
    """Size of the claim. It can grow if the storage class allows it; it can never shrink. Default 10Gi."""
    access_modes: Annotated[
        tuple[AccessMode, ...],
        Field(min_length=1, max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ("ReadWriteOnce",)
    """Access modes of the claim. One process writes, so ReadWriteOnce is enough. Default ReadWriteOnce."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            unchangeable("storageClassName", _MOVE),
            unchangeable("accessModes", _MOVE),
            Rule(
                rule="quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0",
                message="a claim can grow but not shrink",
                message_expression="'a claim can grow but not shrink: it has ' + oldSelf.size"
                " + ', so ' + self.size + ' is too small'",
                field_path=".size",
            ),
            Rule(
                rule="quantity(self.size).isGreaterThan(quantity('0'))",
                message="size must be greater than 0",
                field_path=".size",
            ),
        )
    )


class ObjectStorage(ObjectStoreSource):
    """A prefix in a bucket, for the tables and artefacts of this model alone."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="self.uri == oldSelf.uri", message=f"uri cannot be changed: {_MOVE}", field_path=".uri"
            ),
            unchangeable("endpoint", _MOVE),
            unchangeable("region", _MOVE),
        )
    )


class Storage(ResourceModel):
    """Where the model's data are kept, and for how long."""

    persistent_volume_claim: ClaimStorage | None = None
    """Log, tables and artefacts on one claim."""
    object_store: ObjectStorage | None = None
    """Tables and artefacts in a bucket; needs `log`, or a Kafka stream."""
    log: ClaimStorage | None = None
    """Claim for the log, with objectStore: an accepted row is durable there before it is in the bucket."""
    retention: Duration | None = None
    """How long inferences are kept, by their arrival. Left out: for ever. Not shorter than
    monitoring.labelDelay."""
    label_retention: Duration | None = None
    """How long a late label still finds its inference after that was retired. Left out: as long as
    retention."""
    retention_size: Quantity | None = None
    """Most bytes of the table of inferences; above, the oldest rows go, whatever their age. Left out: no
    bound."""
    deletion_policy: DeletionPolicy = "Retain"
    """What becomes of the data when the model is deleted. With Retain (the default) the same model, applied
    again, finds its data; with Delete the claim is removed."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            exactly_one(("persistentVolumeClaim", "objectStore"), "say where the data are kept"),
            Rule(
                rule="has(self.persistentVolumeClaim) == has(oldSelf.persistentVolumeClaim)",
                message=f"storage cannot change between persistentVolumeClaim and objectStore: {_MOVE}",
            ),
            Rule(
                rule="!has(self.log) || has(self.objectStore)",
                message="log is only for objectStore: with persistentVolumeClaim the log is on that claim",
                field_path=".log",
            ),
            Rule(
                rule="has(self.log) == has(oldSelf.log)",
                message="log cannot be added or removed once the model exists: make a new model instead",
                field_path=".log",
            ),
        )
    )
