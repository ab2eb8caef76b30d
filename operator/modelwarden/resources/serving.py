"""A model that predicts here: files run one after the other, as Cerebrium's Conduit does."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.attributes import AttributeName
from modelwarden.resources.packages import ImageName, PackageIndex
from modelwarden.resources.quantities import Duration, Quantity
from modelwarden.resources.schema import ResourceModel, Rule, validations
from modelwarden.resources.sources import Path, Source

ModelType = Literal[
    "SKLEARN",
    "SKLEARN_CLASSIFIER",
    "SKLEARN_PREPROCESSOR",
    "TORCH",
    "XGBOOST_REGRESSOR",
    "XGBOOST_CLASSIFIER",
    "ONNX",
    "SPACY",
    "HUGGINGFACE_PIPELINE",
]
Hardware = Literal[
    "CPU",
    "GPU",
    "A10",
    "TURING_4000",
    "TURING_5000",
    "AMPERE_A4000",
    "AMPERE_A5000",
    "AMPERE_A6000",
    "AMPERE_A100",
]
ImportPath = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=255, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_]*)?$"
    ),
]
ResultField = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class HuggingFacePipeline(ResourceModel):
    """What a HUGGINGFACE_PIPELINE stage runs."""

    task: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    """Task of the pipeline, for example text-classification."""
    model: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Folder of the model among the files."""


class FlowStage(ResourceModel):
    """One stage: its input is the output of the stage before."""

    model_type: ModelType
    """How the file is loaded and called, for example SKLEARN_CLASSIFIER."""
    file: Path | None = None
    """File or folder of the model, relative to the root of the files."""
    pipeline: HuggingFacePipeline | None = None
    """What a HUGGINGFACE_PIPELINE stage runs, instead of a file."""
    pre: ImportPath | None = None
    """Function run before the model, as module:function; it gets the data and, if it takes two, the files."""
    post: ImportPath | None = None
    """Function run after the model, as module:function; it gets the result, the input and the files."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="has(self.file) != has(self.pipeline)",
                message="a stage needs a file, or a pipeline if its modelType is HUGGINGFACE_PIPELINE",
            ),
            Rule(
                rule="!has(self.pipeline) || self.modelType == 'HUGGINGFACE_PIPELINE'",
                message="pipeline is only for the modelType HUGGINGFACE_PIPELINE: give a file instead",
                field_path=".pipeline",
            ),
        )
    )


class FieldMapping(ResourceModel):
    """Joins a field of the request or the result to an attribute."""

    attribute: AttributeName
    """Name of the attribute of the model."""
    field: ResultField
    """Where it stands in a data point of the request, or in its result: a name, an index, or several of them
    joined by points, as in person.age or 0; $ is the whole."""


_by_attribute = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["attribute"]}


class Serving(ResourceModel):
    """Predictions made in the cluster: which files, in which surroundings, and how they are monitored."""

    flow: Annotated[tuple[FlowStage, ...], Field(min_length=1, max_length=20)]
    """Stages that run one after the other in one pod."""
    files: Source
    """Where the model's files come from: a zip archive, or a folder."""
    requirements: Source | None = None
    """Where the list of Python packages comes from. Left out: requirements.txt among the files, if it is
    there."""
    package_index: PackageIndex | None = None
    """Where the packages come from. What is left out is the install's."""
    image: ImageName | None = None
    """Image of the model server, made from the install's own, with all packages in it: requirements are then
    not installed. Left out: the install's own."""
    python_version: Annotated[str, StringConstraints(max_length=8, pattern=r"^3\.[0-9]{1,2}$")] | None = None
    """Python version of the model's environment, for example 3.11. Left out: that of the image. Where the
    install has no image of it the condition EnvironmentReady says which one runs."""
    hardware: Hardware = "CPU"
    """What the model runs on; anything but CPU asks for accelerators (nvidia.com/gpu), which spec.pod places.
    Default CPU."""
    gpus: Annotated[int, Field(ge=1, le=8)] | None = None
    """Number of accelerators of one pod, where hardware is not CPU. Left out: 1."""
    cpu: Quantity = "2"
    """Most processor that the model server of one pod may use; a quarter of it is requested. Default 2."""
    memory: Quantity = "8Gi"
    """Most memory that the model server of one pod may use; a quarter of it is requested. Default 8Gi."""
    min_replicas: Annotated[int, Field(ge=0, le=100)] = 1
    """Fewest pods. Default 1; 0 is taken as 1, for nothing here could start a pod for a request."""
    max_replicas: Annotated[int, Field(ge=1, le=100)] = 2
    """Most pods. Default 2."""
    cooldown: Duration = "60s"
    """How long fewer pods must be enough before one is taken away; at most an hour. Default 60s."""
    inputs: Annotated[tuple[FieldMapping, ...], Field(max_length=1000, json_schema_extra=_by_attribute)] = ()
    """Which field of a data point is which input attribute. Left out: the names are the same. May be set and
    changed at any time, for the predictions after it."""
    outputs: Annotated[tuple[FieldMapping, ...], Field(max_length=1000, json_schema_extra=_by_attribute)] = ()
    """Which field of the result is which predicted attribute. Left out: by position. May be set and changed
    at any time, for the predictions after it."""
    allow_webhooks: bool = False
    """Whether a request may name a webhook_endpoint, to which the result is sent: it lets the model's server
    reach addresses outside. Default false."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="self.minReplicas <= self.maxReplicas",
                message="minReplicas must not be greater than maxReplicas",
                field_path=".minReplicas",
            ),
            Rule(
                rule="!has(self.gpus) || self.hardware != 'CPU'",
                message="gpus needs hardware other than CPU",
                field_path=".gpus",
            ),
        )
    )
