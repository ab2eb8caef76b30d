"""Conditions in kstatus shape, and the types and reasons that our kinds use.

Must not decide which condition is true: that is each kind's reconcile.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from modelwarden.resources.schema import ResourceModel

ConditionStatus = Literal["True", "False", "Unknown"]
MAX_MESSAGE = 2048


class ConditionType(StrEnum):
    """Every condition type of our kinds. The first three are kstatus's, on each kind."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    STORAGE_READY = "StorageReady"
    STORE_AVAILABLE = "StoreAvailable"
    SERVER_AVAILABLE = "ServerAvailable"
    TOPICS_READY = "TopicsReady"
    DATA_FLOWING = "DataFlowing"
    REFERENCE_LOADED = "ReferenceLoaded"
    MODEL_HEALTHY = "ModelHealthy"
    UPLOADED = "Uploaded"
    PROFILED = "Profiled"
    TRAINED = "Trained"
    EXPLAINER_READY = "ExplainerReady"
    ENVIRONMENT_READY = "EnvironmentReady"
    MONITORED = "Monitored"


class Condition(ResourceModel):
    """One observation about the object, in the form that kubectl, Helm, Flux and Argo CD understand."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=316)]
    """What is observed, as an adjective or past participle: Ready, StorageReady, DataFlowing."""
    status: ConditionStatus
    """Whether it is so: True, False or Unknown."""
    reason: Annotated[
        str,
        StringConstraints(min_length=1, max_length=256, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    ]
    """Why, in one CamelCase word for machines."""
    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE)] = ""
    """Why, in a sentence for people; says what to do next where something is to be done."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this was observed for."""
    last_transition_time: datetime
    """When status last changed from one value to another."""


def find_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, or None."""
    return next((condition for condition in conditions if condition.type == type_), None)


def merge_conditions(previous: Iterable[Condition], wanted: Iterable[Condition]) -> tuple[Condition, ...]:
    """`wanted`, each with the transition time of its predecessor when its status is the same.

    A type that is not wanted any more is dropped. Types keep the order of `wanted`.
    """
    before = {condition.type: condition for condition in previous}
    merged = []
    for condition in wanted:
        old = before.get(condition.type)
        if old is not None and old.status == condition.status:
            condition = condition.model_copy(update={"last_transition_time": old.last_transition_time})
        merged.append(condition)
    return tuple(merged)
