"""MonitoredModel: a model's schema, where its data live, and what is watched."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.attributes import (
    MAX_ATTRIBUTES,
    Attribute,
    InputType,
    OutputType,
)
from modelwarden.resources.frozen import frozen_attributes
from modelwarden.resources.ingest import Ingest
from modelwarden.resources.kind import Column, Kind, parse_as
from modelwarden.resources.meta import API_VERSION, MAX_DEPENDENT_NAME, MAX_MODEL_NAME, ObjectMeta
from modelwarden.resources.modelstatus import MonitoredModelStatus
from modelwarden.resources.monitoring import Monitoring
from modelwarden.resources.pod import PodSpec, StoreSpec
from modelwarden.resources.quantities import cel_seconds
from modelwarden.resources.schema import ResourceModel, Rule, settled_with, unchangeable, validations
from modelwarden.resources.serving import Serving
from modelwarden.resources.storage import ClaimStorage, Storage
from modelwarden.resources.stream import Stream
from modelwarden.resources.training import TrainingSpec

Lifecycle = Literal["Active", "Archived"]
TextDelimiter = Literal[r"\W+", r"\s+", ",", ",+", r"\|", r"\|+"]
ShortText = Annotated[str, StringConstraints(max_length=255)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Sides = Annotated[int, Field(ge=1, le=16_384)]

_NEW_MODEL = "it decides how stored data are read; make a new model instead"


# A model that only serves may be given its attributes once, later, and with them what decides how they are
# read.
_HAD_ATTRIBUTES = "has(oldSelf.attributes) && oldSelf.attributes.size() > 0"
_RETENTION = cel_seconds("self.storage.retention")
_LABEL_RETENTION = cel_seconds("self.storage.labelRetention")
_LABEL_DELAY = cel_seconds("self.monitoring.labelDelay")


class MonitoredModelSpec(ResourceModel):
    """What the model looks like, where its data live, and what is watched."""

    display_name: ShortText | None = None
    """Name for people. Left out: the name of the object."""
    description: ShortText | None = None
    """What the model is for."""
    partner_model_id: Identifier | None = None
    """The id under which your own systems know the model; the model's id derives from it. Left out: from
    the name of the object."""
    input_type: InputType | None = None
    """What goes into the model: TABULAR, IMAGE, NLP or TIME_SERIES. Needed with attributes."""
    output_type: OutputType | None = None
    """What comes out: REGRESSION, MULTICLASS (also two classes), MULTILABEL, OBJECT_DETECTION,
    TOKEN_SEQUENCE or RANKED_LIST. Needed with attributes."""
    is_batch: bool = False
    """Whether inferences come in batches that are closed, instead of one by one. Default false."""
    version_label: ShortText | None = None
    """Name of this version of the model."""
    model_group: Identifier | None = None
    """Name of the group whose versions belong together."""
    tags: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=255)], ...], Field(max_length=100)
    ] = ()
    """Words by which models are found."""
    classifier_threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability from which on the positive class is predicted. Default 0.5."""
    text_delimiter: TextDelimiter | None = None
    """Regular expression that splits text into words."""
    pixel_height: Sides | None = None
    """Height of the images in pixels."""
    pixel_width: Sides | None = None
    """Width of the images in pixels."""
    image_class_labels: Annotated[tuple[ShortText, ...], Field(max_length=1000)] = ()
    """Names of the classes of objects in images; the index is the class id."""
    attributes: Annotated[
        tuple[Attribute, ...],
        Field(max_length=MAX_ATTRIBUTES, json_schema_extra=validations(*frozen_attributes())),
    ] = ()
    """The columns of the model: inputs, data beside the inputs, predictions and ground truth. Fixed once
    they are there, but for labels and sensitivity; a model that only serves may be given them later."""
    lifecycle: Lifecycle = "Active"
    """Archived stops taking in rows and computing, and keeps the data. Default Active."""
    reference_ref: Annotated[str, StringConstraints(min_length=1, max_length=MAX_DEPENDENT_NAME)] | None = (
        None
    )
    """Name of the ReferenceDataset to compare with. Left out: the one that was closed last."""
    storage: Storage = Storage(persistent_volume_claim=ClaimStorage())
    """Where the data are kept. Left out: on a claim of 10Gi of the default storage class."""
    stream: Stream | None = None
    """A Kafka topic through which inferences come, besides HTTP."""
    serving: Serving | None = None
    """Makes predictions in the cluster. May stand without attributes: then nothing is monitored."""
    ingest: Ingest = Ingest()
    """How rows are taken in: limits, sampling, clocks."""
    store: StoreSpec = StoreSpec()
    """Processor and memory of the store."""
    training: TrainingSpec = TrainingSpec()
    """The Jobs that train what enrichments need: their processor and memory."""
    monitoring: Monitoring = Monitoring()
    """What is compared with the reference, over which window, and what counts as drift."""
    pod: PodSpec = PodSpec()
    """Placement and surroundings of the model's pods."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="(has(self.attributes) && self.attributes.size() > 0) || has(self.serving)",
                message="a model needs attributes, unless it only serves (serving)",
                field_path=".attributes",
            ),
            Rule(
                rule="!has(self.attributes) || self.attributes.size() == 0"
                " || (has(self.inputType) && has(self.outputType))",
                message="a model with attributes needs inputType and outputType",
            ),
            Rule(
                rule=f"!({_HAD_ATTRIBUTES}) || has(self.attributes)",
                message="attributes cannot be taken from a model that exists: make a new model instead",
                field_path=".attributes",
            ),
            unchangeable("partnerModelId", "the model's id derives from it; make a new model instead"),
            settled_with(_HAD_ATTRIBUTES, "inputType", _NEW_MODEL),
            settled_with(_HAD_ATTRIBUTES, "outputType", _NEW_MODEL),
            Rule(
                rule=f"!({_HAD_ATTRIBUTES})"
                " || self.?isBatch.orValue(false) == oldSelf.?isBatch.orValue(false)",
                message=f"isBatch cannot be changed once the object exists: {_NEW_MODEL}",
                field_path=".isBatch",
            ),
            settled_with(_HAD_ATTRIBUTES, "textDelimiter", _NEW_MODEL),
            settled_with(_HAD_ATTRIBUTES, "pixelHeight", _NEW_MODEL),
            settled_with(_HAD_ATTRIBUTES, "pixelWidth", _NEW_MODEL),
            Rule(
                rule="has(self.pixelHeight) == has(self.pixelWidth)",
                message="pixelHeight and pixelWidth come together: set both or neither",
            ),
            Rule(
                rule="has(self.stream) == has(oldSelf.stream)",
                message="stream cannot be added or removed once the model exists: it decides where"
                " accepted rows"
                " become durable; make a new model instead",
                field_path=".stream",
            ),
            Rule(
                rule="!has(self.storage.objectStore) || has(self.storage.log) || has(self.stream)",
                message="storage.objectStore needs storage.log (a claim for the log) or stream.kafka",
                field_path=".storage",
            ),
            Rule(
                rule="!has(self.storage.retention) || !has(self.monitoring.labelDelay)"
                f" || {_RETENTION} >= {_LABEL_DELAY}",
                message="storage.retention must not be shorter than monitoring.labelDelay: labels would"
                " find no"
                " inference",
                field_path=".storage.retention",
            ),
            Rule(
                rule="!has(self.storage.retention) || !has(self.storage.labelRetention)"
                f" || {_LABEL_RETENTION} >= {_RETENTION}",
                message="storage.labelRetention must not be shorter than storage.retention",
                field_path=".storage.labelRetention",
            ),
        )
    )


class MonitoredModel(ResourceModel):
    """A machine-learning model in production that Modelwarden watches: its inputs, predictions and labels."""

    api_version: Literal["modelwarden.dev/v1alpha1"] = API_VERSION
    kind: Literal["MonitoredModel"] = "MonitoredModel"
    metadata: ObjectMeta
    spec: MonitoredModelSpec
    """What the model looks like, where its data live, and what is watched."""
    status: MonitoredModelStatus | None = None
    """What is really so, written by the operator."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule=f"self.metadata.name.size() <= {MAX_MODEL_NAME}",
                message=f"metadata.name must not be longer than {MAX_MODEL_NAME} characters: names of the"
                f" objects made"
                " for the model derive from it",
            ),
            Rule(
                rule="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                message="metadata.name must start with a letter and hold only a-z, 0-9 and -: the model's"
                " Service has the same name",
            ),
            Rule(
                rule="!(self.metadata.name in ['default', 'kubernetes'])"
                " && !self.metadata.name.endsWith('-server')",
                message="metadata.name is taken: namespaces have objects called default and kubernetes, and"
                " names that end in -server are for the servers of models",
            ),
        )
    )


KIND = Kind(
    kind="MonitoredModel",
    plural="monitoredmodels",
    singular="monitoredmodel",
    short_names=("mmodel",),
    columns=(
        Column(
            "Ready",
            '.status.conditions[?(@.type=="Ready")].status',
            description="Whether the monitoring itself works.",
        ),
        Column(
            "Health",
            '.status.conditions[?(@.type=="ModelHealthy")].status',
            description="Whether the model is still healthy.",
        ),
        Column("Drifted", ".status.drift.drifted", "integer", "Number of attributes that have drifted."),
        Column("Rows/h", ".status.rows.lastHour", "integer", "Rows taken in during the last hour."),
        Column("Newest", ".status.newestInference", "date", "How old the newest inference is."),
        Column("Age", ".metadata.creationTimestamp", "date", "How long the object exists."),
        Column(
            "Reason",
            '.status.conditions[?(@.type=="Ready")].reason',
            description="Why Ready is what it is.",
            priority=1,
        ),
        Column("Stored", ".status.rows.stored", "integer", "Rows in the tables.", priority=1),
    ),
    selectable_fields=(".spec.partnerModelId",),
)


def parse(body: object, *, strict: bool = False) -> MonitoredModel:
    """The body of a MonitoredModel. Raises InvalidResource with field paths; `strict` refuses unknown
    fields."""
    return parse_as(MonitoredModel, KIND.kind, body, strict=strict)
