"""The status of a MonitoredModel: what is really so. Must not decide it: that is the reconcile's."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from modelwarden.resources.conditions import Condition
from modelwarden.resources.schema import ResourceModel
from modelwarden.resources.training import TrainedSummary

ShortText = Annotated[str, StringConstraints(max_length=255)]
StatusText = Annotated[str, StringConstraints(max_length=2048)]
Count = Annotated[int, Field(ge=0)]


class Endpoint(ResourceModel):
    """How the model's cell is reached."""

    url: StatusText
    """Address of the model's API inside the cluster."""


class LabelCounts(ResourceModel):
    """What became of the labels: acknowledged = stored + on their way from the log to the table."""

    acknowledged: Count = 0
    """Labels that were answered with success and were new."""
    stored: Count = 0
    """Labels that are in the table."""
    waiting: Count = 0
    """Labels in the table whose inference has not come."""


class RowCounts(ResourceModel):
    """What became of the rows. Acknowledged = stored + waiting + rejected later + left out by sampling."""

    acknowledged: Count = 0
    """Rows that were answered with success."""
    stored: Count = 0
    """Rows that are in the tables."""
    waiting: Count = 0
    """Rows that are in the log and not yet in the tables."""
    rejected: Count = 0
    """Rows that were acknowledged and found to contradict an earlier row with the same id afterwards."""
    sampled_out: Count = 0
    """Rows that sampling left out."""
    refused: Count = 0
    """Rows that were answered with an error, and so never acknowledged."""
    last_hour: Count = 0
    """Rows acknowledged in the last hour."""
    labels: LabelCounts = LabelCounts()
    """What became of the labels."""


class DriftedAttribute(ResourceModel):
    """One attribute's drift score."""

    name: ShortText
    """Name of the attribute."""
    score: float
    """The drift score in the window."""
    threshold: float
    """The score from which on the attribute counts as drifted."""


class DriftSummary(ResourceModel):
    """The latest verdict, in short; the whole is in the metrics and the query API."""

    window_start: datetime | None = None
    """Start of the window of inference time that was judged."""
    window_end: datetime | None = None
    """End of that window."""
    state: Literal["Ok", "InsufficientData", "NoReference"]
    """Whether there is a verdict: Ok, InsufficientData (too few rows) or NoReference."""
    drifted: Count | None = None
    """Number of attributes that have drifted; absent without a verdict."""
    checked: Count | None = None
    """Number of attributes that were compared; absent without a verdict."""
    top: Annotated[tuple[DriftedAttribute, ...], Field(max_length=5)] = ()
    """The highest scores, at most five, highest first."""


class PerformanceSummary(ResourceModel):
    """How well the model does, by the metric that says most; the whole is in the query API."""

    window_end: datetime | None = None
    """End of the window of inference time that was judged."""
    batch: ShortText | None = None
    """The batch that was judged, of a model with batches."""
    metric: ShortText
    """Name of the metric."""
    value: float
    """Its value."""
    baseline: float | None = None
    """Its value in the reference."""
    estimated: bool = False
    """Whether it is estimated from the scores, for want of labels."""
    provisional: bool = False
    """Whether labels may still come."""
    rows: Count = 0
    """Rows of the window."""
    labelled: Count = 0
    """Those of them that have a label."""
    worse: bool = False
    """Whether the model got worse: in this window and in one of the two before."""


class ActiveReference(ResourceModel):
    """What the model is compared with."""

    name: ShortText
    """Name of the reference dataset."""
    profile_hash: ShortText | None = None
    """SHA-256 of the dataset's profile."""
    records: Count = 0
    """Number of rows of the dataset."""


class StoreStatus(ResourceModel):
    """What the store says of itself."""

    phase: Annotated[str, StringConstraints(max_length=63)]
    """Recovering, Ready, Draining, Failed, or Unreachable when the store does not answer."""
    version: ShortText | None = None
    """Version of the store's software."""


class ExplanationCounts(ResourceModel):
    """What became of the rows that were to be explained. Chosen = explained + waiting + failed + skipped."""

    chosen: Count = 0
    """Rows that were to be explained."""
    explained: Count = 0
    """Rows whose explanations are stored."""
    waiting: Count = 0
    """Rows that are still to be explained."""
    failed: Count = 0
    """Rows that could not be explained; the explanations table says why."""
    skipped: Count = 0
    """Rows passed over because too many waited."""
    newest: datetime | None = None
    """Arrival of the newest row that is explained."""


class ServerStatus(ResourceModel):
    """What is so with the model's server, which explains and predicts."""

    url: StatusText
    """Address of the server inside the cluster."""
    predict_url: StatusText | None = None
    """Address to which data points are sent to be predicted, of a model that is served."""
    image: StatusText
    """The image in which the user's code runs."""
    python: ShortText = ""
    """The Python version that runs it."""
    ready_pods: Count = 0
    """Number of pods that are ready."""
    predictions: Count = 0
    """Predictions that are kept, of a model that is served."""
    explanations: ExplanationCounts | None = None
    """What became of the rows that were to be explained."""


class MonitoredModelStatus(ResourceModel):
    """What is really so. Losing it loses nothing: it is read from the world again."""

    observed_generation: Count = 0
    """The metadata.generation that this status was written for."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    """Ready, Reconciling and Stalled, StorageReady, StoreAvailable, DataFlowing, ReferenceLoaded,
    ModelHealthy; of a model that is explained or served ServerAvailable and EnvironmentReady, and
    ExplainerReady or Monitored."""
    model_id: ShortText | None = None
    """The model's id in the API: derived from the namespace and partnerModelId or name."""
    endpoint: Endpoint | None = None
    """How the model's cell is reached."""
    rows: RowCounts | None = None
    """What became of the rows."""
    newest_inference: datetime | None = None
    """Inference time of the newest row, as the client gave it."""
    drift: DriftSummary | None = None
    """The latest verdict on drift, in short."""
    performance: PerformanceSummary | None = None
    """How well the model does, in short."""
    reference: ActiveReference | None = None
    """What the model is compared with."""
    enrichments: Annotated[
        tuple[TrainedSummary, ...],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["kind"]},
        ),
    ] = ()
    """What is trained for the model, and how far that is."""
    store: StoreStatus | None = None
    """What the store says of itself."""
    server: ServerStatus | None = None
    """What is so with the model's server, if it has one."""
