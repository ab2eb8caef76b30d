"""Enrichment: something computed on top of the rows for one model; one object for each kind of enrichment."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from modelwarden.resources.attributes import AttributeName
from modelwarden.resources.conditions import Condition
from modelwarden.resources.kind import Column, Kind, parse_as
from modelwarden.resources.meta import API_VERSION, ModelRef, ObjectMeta
from modelwarden.resources.packages import ImageName, PackageIndex
from modelwarden.resources.quantities import Duration, Quantity
from modelwarden.resources.referencedataset import DEPENDENT_NAME_RULES, SAME_MODEL
from modelwarden.resources.report import EnrichmentState
from modelwarden.resources.schema import ResourceModel, Rule, validations
from modelwarden.resources.sources import Source

EnrichmentType = Literal["AnomalyDetection", "BiasMitigation", "Explainability", "Hotspots"]
Constraint = Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
Count = Annotated[int, Field(ge=0)]

_CONFIGS = {
    "AnomalyDetection": "anomalyDetection",
    "BiasMitigation": "biasMitigation",
    "Explainability": "explainability",
    "Hotspots": "hotspots",
}


class AnomalyDetectionConfig(ResourceModel):
    """How unlikely inputs are found: an isolation forest on the reference."""

    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    """Seed of the training. Left out: derived from the reference, so training again gives the same scores."""


class BiasMitigationConfig(ResourceModel):
    """Which trade-offs between accuracy and fairness are computed."""

    attributes: Annotated[
        tuple[AttributeName, ...], Field(max_length=100, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Attributes whose groups are treated alike. Left out: every attribute with monitorForBias."""
    constraints: Annotated[
        tuple[Constraint, ...],
        Field(min_length=1, max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ("demographic_parity", "equal_opportunity", "equalized_odds")
    """What treated alike means. Default: all three."""


class HotspotsConfig(ResourceModel):
    """Where the model is worse than elsewhere."""

    metric: Literal["accuracy", "precision", "recall", "f1"] = "accuracy"
    """The metric that is looked at; all but accuracy need two classes. Default accuracy. Of a regression it
    is the mean absolute error."""
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Regions where the metric is below this are reported, and those where it is at least 0.05 worse than of
    all other rows. Default 0.5. Of a regression: where the error is a tenth above that of all other rows."""
    window: Duration = "7d"
    """The span of inference time that is searched, for models without batches. Default 7d."""
    minimum_rows: Annotated[int, Field(ge=1, le=1_000_000_000)] = 200
    """Fewest rows of a region that is reported; twice as many must have a label. Default 200."""


class ExplainabilityConfig(ResourceModel):
    """Why the model said what it said: the documented settings, and where the user's code comes from."""

    python_version: Annotated[str, StringConstraints(max_length=16)] | None = None
    """Python version of the model's environment, for example 3.11. Left out: that of the image. Where the
    install has no image of it the condition EnvironmentReady says which one runs."""
    sdk_version: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Version of the SDK that made the explainer."""
    explanation_algo: Literal["lime", "shap"] = "lime"
    """Algorithm of the explanations: lime or shap. Default lime."""
    explanation_nsamples: Annotated[int, Field(ge=1, le=1_000_000)] = 2000
    """Number of perturbed rows for one explanation. Default 2000."""
    shap_expected_values: Annotated[tuple[float, ...], Field(max_length=1000)] = ()
    """Base value for each predicted class, in the order of the predictions' positions. Kept and told again:
    the base is what the model says on average of the reference, else the values would not add up."""
    model_server_cpu: Quantity = "2"
    """Most processor that one model server may use; a quarter of it is requested. Default 2."""
    model_server_memory: Quantity = "1500Mi"
    """Most memory that one model server may use; a quarter of it is requested. Default 1500Mi."""
    model_server_max_replicas: Annotated[int, Field(ge=1, le=1000)] = 30
    """Most model server pods. Default 30."""
    inference_consumer_cpu: Quantity = "500m"
    """Most processor of the sidecar that has inferences explained. Default 500m."""
    inference_consumer_memory: Quantity = "512Mi"
    """Most memory of that sidecar. Default 512Mi."""
    inference_consumer_score_percent: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the inferences that are explained as they come, from 0 to 1. Default 1."""
    inference_consumer_thread_pool_size: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of inferences that are explained at a time. Default 5."""
    streaming_explainability_enabled: bool = True
    """Whether inferences are explained as they come; otherwise on demand only. Default true."""
    user_predict_function_import_path: Annotated[
        str, StringConstraints(min_length=1, max_length=255, pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")
    ] = "entrypoint"
    """Module of the project that holds the function predict. Default entrypoint."""
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    """Seed of the perturbations. Left out: derived from each inference's id."""
    project: Source | None = None
    """Where the user's project comes from: a zip archive with the entrypoint module at its root."""
    requirements: Source | None = None
    """Where the list of Python packages comes from. Left out: requirements.txt at the project's root."""
    explainer: Source | None = None
    """Where a pickled explainer comes from, for projects made with the documented SDK. It is kept and its
    hash told, never loaded: explanations come from predict and the reference."""
    package_index: PackageIndex | None = None
    """Where the packages come from. What is left out is the install's."""
    image: ImageName | None = None
    """Image of the model server, made from the install's own, with all packages in it: requirements are then
    not installed. Left out: the install's own. Where the model is served,
    spec.serving.image goes before it."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                rule="has(self.project) || (!has(self.requirements) && !has(self.explainer))",
                message="requirements and explainer belong to a project: give project as well",
                field_path=".project",
            )
        )
    )


class EnrichmentSpec(ResourceModel):
    """Which model, which enrichment, and how."""

    model_ref: ModelRef
    """The model that is enriched. Cannot be changed."""
    type: EnrichmentType
    """Which enrichment: AnomalyDetection, BiasMitigation, Explainability or Hotspots. Cannot be changed."""
    enabled: bool = True
    """Whether the enrichment runs. Default true."""
    anomaly_detection: AnomalyDetectionConfig | None = None
    """Settings of the type AnomalyDetection."""
    bias_mitigation: BiasMitigationConfig | None = None
    """Settings of the type BiasMitigation."""
    explainability: ExplainabilityConfig | None = None
    """Settings of the type Explainability."""
    hotspots: HotspotsConfig | None = None
    """Settings of the type Hotspots."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            SAME_MODEL,
            Rule(
                rule="self.type == oldSelf.type",
                message="type cannot be changed: make a new object instead",
                field_path=".type",
            ),
            *(
                Rule(
                    rule=f"!has(self.{config}) || self.type == '{type_}'",
                    message=f"{config} is only for the type {type_}",
                    field_path=f".{config}",
                )
                for type_, config in _CONFIGS.items()
            ),
        )
    )


class EnrichmentStatus(ResourceModel):
    """What is really so with the enrichment."""

    observed_generation: Count = 0
    """The metadata.generation that this status was written for."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    """Ready, Reconciling and Stalled, Trained, ExplainerReady."""
    state: EnrichmentState | None = None
    """Disabled, Pending, Training, Ready or Failed."""
    message: Annotated[str, StringConstraints(max_length=2048)] = ""
    """Why, in a sentence for people; names what is missing."""
    artefact_hash: Annotated[str, StringConstraints(max_length=128)] | None = None
    """SHA-256 of what was trained."""
    trained_at: datetime | None = None
    """When that was trained."""


class Enrichment(ResourceModel):
    """Something computed on top of a model's rows: anomaly scores, fair thresholds, explanations, weak
    spots."""

    api_version: Literal["modelwarden.dev/v1alpha1"] = API_VERSION
    kind: Literal["Enrichment"] = "Enrichment"
    metadata: ObjectMeta
    spec: EnrichmentSpec
    """Which model, which enrichment, and how."""
    status: EnrichmentStatus | None = None
    """What is really so, written by the operator."""

    model_config = ConfigDict(json_schema_extra=validations(*DEPENDENT_NAME_RULES))


KIND = Kind(
    kind="Enrichment",
    plural="enrichments",
    singular="enrichment",
    short_names=("enrich",),
    columns=(
        Column(
            "Ready",
            '.status.conditions[?(@.type=="Ready")].status',
            description="Whether the enrichment is at work.",
        ),
        Column("Model", ".spec.modelRef.name", description="The model it belongs to."),
        Column("Type", ".spec.type", description="Which enrichment it is."),
        Column("State", ".status.state", description="How far it is."),
        Column("Age", ".metadata.creationTimestamp", "date", "How long the object exists."),
        Column(
            "Reason",
            '.status.conditions[?(@.type=="Ready")].reason',
            description="Why Ready is what it is.",
            priority=1,
        ),
        Column("Message", ".status.message", description="The same in a sentence.", priority=1),
    ),
    selectable_fields=(".spec.modelRef.name",),
)


def parse(body: object, *, strict: bool = False) -> Enrichment:
    """The body of an Enrichment. Raises InvalidResource with field paths; `strict` refuses unknown fields."""
    return parse_as(Enrichment, KIND.kind, body, strict=strict)
