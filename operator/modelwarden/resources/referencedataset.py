"""ReferenceDataset: the data that a model is compared with. Immutable once it is closed."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.conditions import Condition
from modelwarden.resources.kind import Column, Kind, parse_as
from modelwarden.resources.meta import API_VERSION, MAX_DEPENDENT_NAME, ModelRef, ObjectMeta
from modelwarden.resources.schema import ResourceModel, Rule, validations
from modelwarden.resources.sources import SOURCE_KINDS, Source, UploadSource

Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, StringConstraints(max_length=2048)]
Hash = Annotated[str, StringConstraints(max_length=128)]
DatasetState = Literal["Pending", "Open", "Closed", "Profiled", "Failed"]

DEPENDENT_NAME_RULES = (
    Rule(
        rule=f"self.metadata.name.size() <= {MAX_DEPENDENT_NAME}",
        message=f"metadata.name must not be longer than {MAX_DEPENDENT_NAME} characters: names of Jobs"
        f" derive from it",
    ),
    Rule(
        rule="self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        message="metadata.name must hold only a-z, 0-9 and -: names of Jobs and folders derive from it",
    ),
)
SAME_MODEL = Rule(
    rule="self.modelRef.name == oldSelf.modelRef.name",
    message="modelRef cannot be changed: make a new object instead",
    field_path=".modelRef",
)

_SAME_SOURCE = " && ".join(
    f"has(self.source.{kind}) == has(oldSelf.source.{kind})"
    f" && (!has(self.source.{kind}) || self.source.{kind} == oldSelf.source.{kind})"
    for kind in SOURCE_KINDS
)


class ReferenceDatasetSpec(ResourceModel):
    """Which model, which data, and whether they are complete."""

    model_ref: ModelRef
    """The model that is compared with these data. Cannot be changed."""
    format: Literal["parquet", "json"] = "parquet"
    """Format of the files: parquet or json. Default parquet."""
    source: Source = Source(upload=UploadSource())
    """Where the data come from. Left out: uploaded through the model's API. Anything else is loaded by a Job,
    all of it or nothing; then nobody can upload to the dataset."""
    closed: bool = False
    """A request to close the dataset: no more rows, now profile it. Can be turned on, never off. For
    uploads the store closes when totalRecordCount fits; status.state tells. Default false."""
    total_record_count: Annotated[int, Field(ge=0, le=10_000_000_000)] | None = None
    """How many rows the dataset must have to be closed. Left out: whatever was uploaded."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            SAME_MODEL,
            Rule(
                rule="!oldSelf.?closed.orValue(false) || self.?closed.orValue(false)",
                message="a closed dataset cannot be opened again: make a new one, which replaces it",
                field_path=".closed",
            ),
            Rule(
                rule=f"!oldSelf.?closed.orValue(false) || ({_SAME_SOURCE})",
                message="source cannot be changed once the dataset is closed: make a new one, which"
                " replaces it",
                field_path=".source",
            ),
            Rule(
                rule="!oldSelf.?closed.orValue(false) || self.format == oldSelf.format",
                message="format cannot be changed once the dataset is closed: make a new one, which"
                " replaces it",
                field_path=".format",
            ),
        )
    )


class ReferenceDatasetStatus(ResourceModel):
    """What is really so with the dataset."""

    observed_generation: Count = 0
    """The metadata.generation that this status was written for."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    """Ready, Reconciling and Stalled, Uploaded, Profiled."""
    state: DatasetState | None = None
    """Pending (no store yet), Open, Closed, Profiled or Failed."""
    records: Count | None = None
    """Number of rows that the store holds."""
    partner_record_count: Count | None = None
    """Number of rows that the client claimed when it closed the dataset."""
    content_hash: Hash | None = None
    """SHA-256 over the dataset's files."""
    profile_hash: Hash | None = None
    """SHA-256 of the dataset's profile, once there is one."""
    closed_at: datetime | None = None
    """When the store closed the dataset."""
    job: Annotated[str, StringConstraints(max_length=253)] | None = None
    """Name of the Job that loads the dataset from its source or profiles it."""


class ReferenceDataset(ResourceModel):
    """The data that a model is compared with: what it was trained on, or a time when all was well."""

    api_version: Literal["modelwarden.dev/v1alpha1"] = API_VERSION
    kind: Literal["ReferenceDataset"] = "ReferenceDataset"
    metadata: ObjectMeta
    spec: ReferenceDatasetSpec
    """Which model, which data, and whether they are complete."""
    status: ReferenceDatasetStatus | None = None
    """What is really so, written by the operator."""

    model_config = ConfigDict(json_schema_extra=validations(*DEPENDENT_NAME_RULES))


KIND = Kind(
    kind="ReferenceDataset",
    plural="referencedatasets",
    singular="referencedataset",
    short_names=("refds",),
    columns=(
        Column(
            "Ready",
            '.status.conditions[?(@.type=="Ready")].status',
            description="Whether the model can be compared with it.",
        ),
        Column("Model", ".spec.modelRef.name", description="The model it belongs to."),
        Column("State", ".status.state", description="Pending, Open, Closed, Profiled or Failed."),
        Column("Records", ".status.records", "integer", "Number of rows."),
        Column("Age", ".metadata.creationTimestamp", "date", "How long the object exists."),
        Column(
            "Reason",
            '.status.conditions[?(@.type=="Ready")].reason',
            description="Why Ready is what it is.",
            priority=1,
        ),
    ),
    selectable_fields=(".spec.modelRef.name",),
)


def parse(body: object, *, strict: bool = False) -> ReferenceDataset:
    """The body of a ReferenceDataset. Raises InvalidResource with field paths; `strict` refuses unknown
    fields."""
    return parse_as(ReferenceDataset, KIND.kind, body, strict=strict)
