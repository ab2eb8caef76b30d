"""What can be said of a model beside its flow, by the documented names, and where it stands in the resource.

What this module must not do: apply anything.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from modelwarden.client.conduit.errors import ConduitError
from modelwarden.client.conduit.stages import hardware


class Settings(TypedDict, total=False):
    """All are optional."""

    hardware: hardware | str
    """CPU unless it is said otherwise."""
    cpu: float
    """Processors of one pod."""
    memory: float
    """Of one pod, in GB."""
    num_gpus: int
    cooldown: int
    """Seconds for which fewer pods must be enough before one goes."""
    min_replicas: int
    max_replicas: int
    requirements_file: str | Path
    """List of packages, relative to the base path."""
    python_version: str
    include: Sequence[str | Path]
    """More files or folders that functions or models need."""
    allow_webhooks: bool
    spec: Mapping[str, Any]
    """Fields of the MonitoredModel's spec that make predictions inferences: inputType, outputType, attributes
    …; left out, predictions are kept raw."""
    inputs: Mapping[str, str]
    """Attribute → place in a data point, where names or positions do not tell."""
    outputs: Mapping[str, str]
    """Attribute → place in a result."""


def checked(settings: Settings) -> Settings:
    """The settings. Raises ConduitError for one that there is not."""
    unknown = settings.keys() - Settings.__annotations__.keys()
    if unknown:
        told = ", ".join(Settings.__annotations__)
        raise ConduitError(f"there is no setting {min(unknown)}: there are {told}")
    return settings


def manifest_of(
    name: str, namespace: str, stages: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, Any]:
    """The MonitoredModel that is applied; what is not said is left to its defaults."""
    serving: dict[str, Any] = {"flow": [dict(stage) for stage in stages], "files": {"upload": {}}}
    if "hardware" in settings:
        serving["hardware"] = str(settings["hardware"])
    if "num_gpus" in settings and serving.get("hardware", "CPU") != "CPU":
        serving["gpus"] = settings["num_gpus"]
    if "cpu" in settings:
        serving["cpu"] = f"{round(settings['cpu'] * 1000)}m"
    if "memory" in settings:
        serving["memory"] = f"{round(settings['memory'] * 1000)}M"
    if "cooldown" in settings:
        serving["cooldown"] = f"{settings['cooldown']}s"
    if "python_version" in settings:
        serving["pythonVersion"] = settings["python_version"]
    if "allow_webhooks" in settings:
        serving["allowWebhooks"] = settings["allow_webhooks"]
    if "min_replicas" in settings:
        serving["minReplicas"] = settings["min_replicas"]
    if "max_replicas" in settings:
        serving["maxReplicas"] = settings["max_replicas"]
    for side, places in (("inputs", settings.get("inputs")), ("outputs", settings.get("outputs"))):
        if places:
            serving[side] = [{"attribute": one, "field": field} for one, field in places.items()]
    return {
        "apiVersion": "modelwarden.dev/v1alpha1",
        "kind": "MonitoredModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": dict(settings.get("spec", {})) | {"serving": serving},
    }
