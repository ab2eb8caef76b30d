"""Everything the operator can be told from outside, read once at start from the environment (MODELWARDEN_*).

One frozen object, handed to whoever needs a part of it; nothing else reads the environment.
"""

import os
import socket
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from modelwarden.reconcile.collaborators import (
    DEFAULT_JOB_RESOURCES,
    DEFAULT_PYTHON,
    DEFAULT_STORE_RESOURCES,
)
from modelwarden.reconcile.ports import Key
from modelwarden.resources.packages import PackageIndex, Runtime
from modelwarden.resources.pod import PodSpec, Resources

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _pod_name() -> str:
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}"


class OperatorSettings(BaseSettings):
    """Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="MODELWARDEN_", frozen=True, extra="ignore")

    namespace: str = Field("modelwarden-system", description="the operator's own namespace")
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="comma-separated; empty: all namespaces of the cluster"
    )
    identity: str = Field(default_factory=_pod_name, description="who holds the lease")

    cell_image: str = Field("modelwarden-server:dev", description="image of stores and Jobs")
    cell_image_pull_policy: str = "IfNotPresent"
    cell_python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$", description="the Python of that image")] = (
        DEFAULT_PYTHON
    )
    runtimes: tuple[Runtime, ...] = Field((), description="JSON; images with other Python versions")
    package_index: PackageIndex = Field(
        PackageIndex(), description="JSON; under every model's packageIndex, for the Jobs that install"
    )
    cell_url_template: str = "http://{name}.{namespace}.svc:8080"
    ingress_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="namespaces, beside the model's and the operator's, whose pods may call a cell"
    )

    store_resources: Resources = Field(
        DEFAULT_STORE_RESOURCES, description="JSON; for stores whose model names none"
    )
    training_resources: Resources = Field(
        DEFAULT_JOB_RESOURCES, description="JSON; under every model's spec.training.resources"
    )
    pod_defaults: PodSpec = Field(PodSpec(), description="JSON; under every model's spec.pod")

    resync: Seconds = 300.0
    poll_interval: Annotated[Seconds, Field(description="how often a cell's /status is read")] = 10.0
    data_facts_interval: Annotated[
        float, Field(ge=0, le=86_400, description="data facts are written at most this often")
    ] = 60.0
    backoff_first: Seconds = 5.0
    backoff_most: Seconds = 300.0
    delete_deadline: Annotated[Seconds, Field(description="then clean-up is abandoned")] = 600.0
    api_timeout: Seconds = 15.0
    cell_timeout: Seconds = 5.0
    lease_duration: Annotated[Seconds, Field(ge=1)] = 15.0
    stuck_after: Annotated[Seconds, Field(description="liveness fails when the loop stood still so long")] = (
        30.0
    )
    concurrency: Annotated[int, Field(ge=1, le=256)] = 16

    probe_host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus call from outside the pod
    probe_port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    log_level: str = "INFO"
    log_format: Annotated[str, Field(pattern="^(json|text)$")] = "json"

    def endpoint(self, key: Key) -> str:
        """The URL of a model's cell."""
        return self.cell_url_template.format(name=key.name, namespace=key.namespace)

    @field_validator("watch_namespaces", "ingress_namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
