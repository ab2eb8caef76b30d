"""Training as a model's object shows it: what its Jobs may use, and what became of each thing trained."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from modelwarden.resources.pod import Resources
from modelwarden.resources.report import EnrichmentState
from modelwarden.resources.schema import ResourceModel

Word = Annotated[str, StringConstraints(max_length=63)]
Sentence = Annotated[str, StringConstraints(max_length=2048)]


class TrainingSpec(ResourceModel):
    """The Jobs of a model: those that train what enrichments need, fetch files and install packages."""

    resources: Resources | None = None
    """Processor and memory of such a Job. What is left out is the install's default: 100m and 512Mi are
    requested, at most 2Gi of memory is used."""


class TrainedSummary(ResourceModel):
    """What is so with one thing that is trained for the model."""

    kind: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    """What is trained: anomaly, bias, hotspots or loss (expected errors; needs no Enrichment)."""
    type: Word | None = None
    """The type of Enrichment that turns it on and off, if there is one."""
    state: EnrichmentState
    """Disabled, Pending, Training, Ready or Failed."""
    reason: Annotated[str, StringConstraints(max_length=256)] = ""
    """Why, in one CamelCase word for machines."""
    message: Sentence = ""
    """Why, in a sentence for people; names what is missing."""
    artefact_hash: Annotated[str, StringConstraints(max_length=128)] | None = None
    """SHA-256 of what is in use."""
    trained_at: datetime | None = None
    """When that was trained."""
    declared_by: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of the Enrichment whose settings the store has read. Left out: the defaults hold."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation of that Enrichment."""
