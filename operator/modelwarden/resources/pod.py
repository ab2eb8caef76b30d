"""How a cell's pods are placed and run: the small part of a pod's template that is the user's business."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from modelwarden.resources.meta import ResourceName
from modelwarden.resources.quantities import Quantity
from modelwarden.resources.schema import ResourceModel

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]
LabelValue = Annotated[str, StringConstraints(max_length=63)]


class ResourceAmounts(ResourceModel):
    """Amounts of processor and memory."""

    cpu: Quantity | None = None
    """Processor, in cores ("2") or thousandths ("500m")."""
    memory: Quantity | None = None
    """Memory in bytes, for example "1Gi"."""


class Resources(ResourceModel):
    """What a container asks for and what it may use at most."""

    requests: ResourceAmounts | None = None
    """What the scheduler sets aside."""
    limits: ResourceAmounts | None = None
    """What the container may use at most."""


class StoreSpec(ResourceModel):
    """The store: the process that takes in rows and answers."""

    resources: Resources | None = None
    """Processor and memory of the store. Left out: the install's default."""


class Toleration(ResourceModel):
    """A taint that the pods tolerate."""

    key: Annotated[str, StringConstraints(max_length=317)] | None = None
    """Key of the taint. Left out, with Exists: every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """Whether the taint's value is compared (Equal) or not (Exists). Default Equal."""
    value: LabelValue | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Left out: all effects."""
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = None
    """How long a NoExecute taint is tolerated. Left out: for ever."""


class PullSecret(ResourceModel):
    """A Secret for pulling images."""

    name: ResourceName
    """Name of the Secret, in the namespace of the model."""


class EnvironmentVariable(ResourceModel):
    """One environment variable of a cell's containers."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable, for example HTTPS_PROXY."""
    value: Annotated[str, StringConstraints(max_length=4096)] = ""
    """Value of the variable. Nothing secret belongs here."""


class CaBundleRef(ResourceModel):
    """Certificates to trust, in a ConfigMap."""

    name: ResourceName
    """Name of the ConfigMap, in the namespace of the model."""
    key: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = (
        "ca.crt"
    )
    """Key that holds the certificates in PEM form. Default ca.crt."""


class PodSpec(ResourceModel):
    """Placement and surroundings of the model's pods. Install-wide defaults are in the chart."""

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=50)] = ()
    """Taints that the pods tolerate."""
    affinity: Annotated[
        dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
    ] = Field(default_factory=dict)
    """Node and pod affinity, passed on as it is: the affinity field of a Kubernetes pod."""
    image_pull_secrets: Annotated[
        tuple[PullSecret, ...],
        Field(
            max_length=20,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Secrets for pulling the images."""
    priority_class_name: ResourceName | None = None
    """Priority class of the pods."""
    env: Annotated[
        tuple[EnvironmentVariable, ...],
        Field(
            max_length=50,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = ()
    """Environment variables of the cell's containers, meant for proxies."""
    ca_bundle_ref: CaBundleRef | None = None
    """Certificates that the cell's containers trust besides the public ones."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=50)] = Field(default_factory=dict)
    """Further labels of the pods. Keys of app.kubernetes.io and modelwarden.dev are ours and not taken
    over."""
