"""What a cell is told: its identity (a change restarts it) and its settings (a change does not).

Written by the operator, read by the store. Pure: the same model gives the same bytes in every process.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from modelwarden.resources.attributes import InputType, OutputType, Sensitivity
from modelwarden.resources.enrichment import ExplainabilityConfig
from modelwarden.resources.identity import model_id
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.monitoring import DriftMetric, Segment
from modelwarden.resources.quantities import Duration, parse_duration, whole_bytes
from modelwarden.resources.resolution import resolve_attributes
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden.resources.schema import ResourceModel
from modelwarden.resources.server import AssetSlot
from modelwarden.resources.serving import FieldMapping, FlowStage

FORMAT_VERSION: Final = 1
HASH_LENGTH = 10


class CellStorage(ResourceModel):
    """Where the tables live."""

    kind: Literal["volume", "objectStore"] = "volume"
    uri: str | None = None
    endpoint: str | None = None
    region: str | None = None


class CellLog(ResourceModel):
    """Where an accepted inference first becomes durable."""

    kind: Literal["segments", "kafka"] = "segments"


class CellIdentity(ResourceModel):
    """What cannot change while a cell lives: the model's schema, its storage and its log."""

    format_version: Literal[1] = FORMAT_VERSION
    namespace: str
    name: str
    model_id: str
    partner_model_id: str | None = None
    input_type: InputType | None = None
    output_type: OutputType | None = None
    is_batch: bool = False
    pixel_height: int | None = None
    pixel_width: int | None = None
    text_delimiter: str | None = None
    attributes: tuple[ResolvedAttribute, ...] = ()
    storage: CellStorage = CellStorage()
    log: CellLog = CellLog()


class MonitoringSettings(ResourceModel):
    """What is compared, over which window, and what counts as drift. Durations as in the spec."""

    window: Duration
    minimum_rows: int
    drift_metric: DriftMetric
    drift_threshold: float | None = None
    """None: learnt from the reference."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    false_discovery_rate: float
    drifted_share: float
    segments: tuple[Segment, ...] = ()
    label_delay: Duration | None = None

    @property
    def window_seconds(self) -> int:
        """The window in seconds, a multiple of 300."""
        return parse_duration(self.window)

    @property
    def label_delay_seconds(self) -> int | None:
        """The usual delay of labels in seconds, if one is declared."""
        return None if self.label_delay is None else parse_duration(self.label_delay)

    def threshold_of(self, attribute: str) -> float | None:
        """The drift score from which on this attribute counts as drifted, where a person has set one."""
        return self.thresholds.get(attribute, self.drift_threshold)


class LimitSettings(ResourceModel):
    """Bounds of one request and of what waits; sizes in bytes."""

    max_body_bytes: int
    max_rows: int
    max_string_length: int
    max_requests_in_flight: int
    max_log_bytes: int
    # What follows is absent in settings that an older operator wrote.
    max_columns: int = 4000
    max_file_bytes: int = 4 << 30
    max_decompressed_bytes: int = 64 << 30
    max_row_groups: int = 10_000
    max_parts: int = 64
    max_zip_entries: int = 100_000


class SamplingSettings(ResourceModel):
    """Share of inferences to keep, 0 to 1."""

    share: float


class StorageSettings(ResourceModel):
    """How long rows are kept, by their arrival, and how many bytes of inferences; None: no bound."""

    retention_seconds: int | None = None
    label_retention_seconds: int | None = None
    retention_bytes: int | None = None


class AnomalySettings(ResourceModel):
    """Anomaly detection: on unless somebody turns it off. Without a seed it is derived from the reference."""

    enabled: bool = True
    seed: int | None = None


class MitigationSettings(ResourceModel):
    """Bias mitigation. No attributes: all with monitorForBias."""

    enabled: bool = False
    attributes: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ("demographic_parity", "equal_opportunity", "equalized_odds")


class HotspotSettings(ResourceModel):
    """Hotspots. The window is for models without batches."""

    enabled: bool = False
    metric: str = "accuracy"
    threshold: float = 0.5
    window: Duration = "7d"
    minimum_rows: int = 200

    @property
    def window_seconds(self) -> int:
        """The window in seconds."""
        return parse_duration(self.window)


class ExplainabilitySettings(ResourceModel):
    """Explanations, as far as the cell needs to know: what sizes the pods is the operator's."""

    enabled: bool = False
    algorithm: Literal["lime", "shap"] = "lime"
    samples: int = 2000
    seed: int | None = None
    expected_values: tuple[float, ...] = ()
    import_path: str = "entrypoint"
    python_version: str | None = None
    score_percent: float = 1.0
    threads: int = 5
    streaming: bool = True
    image: bool = False
    """The user's image brings all packages: no environment is made."""
    declared: ExplainabilityConfig | None = None
    """The Enrichment's own words, with what sizes the pods: told to people who ask the cell, and compared
    with what they would change. None: there is no Enrichment."""
    object_name: str | None = None
    """Name of that Enrichment."""


class ServingSettings(ResourceModel):
    """Predictions made by the cell, as far as the cell needs to know."""

    flow: tuple[FlowStage, ...]
    python_version: str | None = None
    inputs: tuple[FieldMapping, ...] = ()
    outputs: tuple[FieldMapping, ...] = ()
    webhooks: bool = False
    image: bool = False
    """The user's image brings all packages: no environment is made."""


class ServerSettings(ResourceModel):
    """The model's server as the store knows it."""

    url: str | None = None
    """Where its sidecars are reached; None: there are none."""
    assets: dict[AssetSlot, str] = Field(default_factory=dict)
    """What the declared source of each file is called: "upload", or a hash that a Job's key names. A slot
    that nothing is declared for is left out."""
    runtime: str = ""
    """What names the Python that runs the user's code (its version, say 3.11): environments are made by it
    and for it, so that another one gets another environment."""


class EnrichmentSettings(ResourceModel):
    """What is computed on top of the rows. The defaults are those of a model without Enrichment objects."""

    anomaly_detection: AnomalySettings = AnomalySettings()
    bias_mitigation: MitigationSettings = MitigationSettings()
    hotspots: HotspotSettings = HotspotSettings()
    explainability: ExplainabilitySettings = ExplainabilitySettings()


class IngestSettings(ResourceModel):
    """How rows are taken in."""

    limits: LimitSettings
    sampling: SamplingSettings
    max_future_seconds: int


class CellSettings(ResourceModel):
    """What can change while a cell lives. `generation` is the MonitoredModel's, confirmed in `/status`."""

    generation: int
    archived: bool
    display_name: str
    classifier_threshold: float
    labels: dict[str, str] = Field(default_factory=dict)
    category_labels: dict[str, dict[str, str]] = Field(default_factory=dict)
    sensitivity: dict[str, Sensitivity] = Field(default_factory=dict)
    reference_ref: str | None = None
    monitoring: MonitoringSettings
    ingest: IngestSettings
    storage: StorageSettings = StorageSettings()
    enrichments: EnrichmentSettings = EnrichmentSettings()
    serving: ServingSettings | None = None
    server: ServerSettings = ServerSettings()


def identity_of(model: MonitoredModel) -> CellIdentity:
    """The identity of the model's cell. Raises SchemaError when its attributes do not fit together."""
    spec, meta = model.spec, model.metadata
    bucket = spec.storage.object_store
    return CellIdentity(
        namespace=meta.namespace,
        name=meta.name,
        model_id=model_id(meta.namespace, spec.partner_model_id or meta.name),
        partner_model_id=spec.partner_model_id,
        input_type=spec.input_type,
        output_type=spec.output_type,
        is_batch=spec.is_batch,
        pixel_height=spec.pixel_height,
        pixel_width=spec.pixel_width,
        text_delimiter=spec.text_delimiter,
        attributes=resolve_attributes(spec),
        storage=CellStorage()
        if bucket is None
        else CellStorage(kind="objectStore", uri=bucket.uri, endpoint=bucket.endpoint, region=bucket.region),
        log=CellLog() if spec.stream is None else CellLog(kind="kafka"),
    )


def settings_of(
    model: MonitoredModel,
    *,
    reference_ref: str | None = None,
    enrichments: EnrichmentSettings | None = None,
    server: ServerSettings | None = None,
) -> CellSettings:
    """The settings of the model's cell. `reference_ref` is the dataset chosen by the operator, if the spec
    names none; `enrichments` what the model's Enrichment objects say (None: there are none); `server` where
    the model's server is and what it is given (None: there is none)."""
    spec = model.spec
    return CellSettings(
        generation=model.metadata.generation,
        archived=spec.lifecycle == "Archived",
        display_name=spec.display_name or model.metadata.name,
        classifier_threshold=spec.classifier_threshold,
        labels={a.name: a.label for a in spec.attributes if a.label is not None},
        category_labels={
            a.name: labels
            for a in spec.attributes
            if (labels := {c.value: c.label for c in a.categories if c.label is not None})
        },
        sensitivity={
            a.name: a.sensitivity for a in spec.attributes if a.sensitivity not in (None, Sensitivity.KEEP)
        },
        reference_ref=spec.reference_ref or reference_ref,
        monitoring=_monitoring_of(model),
        ingest=_ingest_of(model),
        storage=_storage_of(model),
        enrichments=enrichments or EnrichmentSettings(),
        serving=_serving_of(model),
        server=server or ServerSettings(),
    )


def _serving_of(model: MonitoredModel) -> ServingSettings | None:
    serving = model.spec.serving
    if serving is None:
        return None
    return ServingSettings(
        flow=serving.flow,
        python_version=serving.python_version,
        inputs=serving.inputs,
        outputs=serving.outputs,
        webhooks=serving.allow_webhooks,
        image=serving.image is not None,
    )


def _monitoring_of(model: MonitoredModel) -> MonitoringSettings:
    monitoring = model.spec.monitoring
    return MonitoringSettings(
        window=monitoring.window,
        minimum_rows=monitoring.minimum_rows,
        drift_metric=monitoring.drift_metric,
        drift_threshold=monitoring.drift_threshold,
        thresholds={entry.attribute: entry.threshold for entry in monitoring.thresholds},
        false_discovery_rate=monitoring.false_discovery_rate,
        drifted_share=monitoring.drifted_share,
        segments=monitoring.segments,
        label_delay=monitoring.label_delay,
    )


def _storage_of(model: MonitoredModel) -> StorageSettings:
    storage = model.spec.storage

    def seconds(duration: str | None) -> int | None:
        return None if duration is None else parse_duration(duration)

    return StorageSettings(
        retention_seconds=seconds(storage.retention),
        label_retention_seconds=seconds(storage.label_retention),
        retention_bytes=None if storage.retention_size is None else whole_bytes(storage.retention_size),
    )


def _ingest_of(model: MonitoredModel) -> IngestSettings:
    ingest = model.spec.ingest
    limits = ingest.limits
    return IngestSettings(
        limits=LimitSettings(
            max_body_bytes=whole_bytes(limits.max_body_size),
            max_rows=limits.max_rows,
            max_string_length=limits.max_string_length,
            max_requests_in_flight=limits.max_requests_in_flight,
            max_log_bytes=whole_bytes(limits.max_log_size),
            max_columns=limits.max_columns,
            max_file_bytes=whole_bytes(limits.max_file_size),
            max_decompressed_bytes=whole_bytes(limits.max_decompressed_size),
            max_row_groups=limits.max_row_groups,
            max_parts=limits.max_parts,
            max_zip_entries=limits.max_zip_entries,
        ),
        sampling=SamplingSettings(share=ingest.sampling.share),
        max_future_seconds=parse_duration(ingest.max_future),
    )


def canonical_json(value: BaseModel | Mapping[str, Any]) -> bytes:
    """JSON with sorted keys, without blanks and without absent fields: equal values give equal bytes."""
    plain = (
        value.model_dump(mode="json", by_alias=True, exclude_none=True)
        if isinstance(value, BaseModel)
        else value
    )
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def content_hash(content: bytes) -> str:
    """Hex SHA-256 of the content."""
    return hashlib.sha256(content).hexdigest()


def short_hash(content: bytes) -> str:
    """The first ten hex digits of the content's hash, as names of ConfigMaps and Jobs carry it."""
    return content_hash(content)[:HASH_LENGTH]


def read_identity(content: bytes | str) -> CellIdentity:
    """The identity as the operator wrote it. Raises ValueError naming the field; unknown fields are left
    out."""
    return CellIdentity.model_validate_json(content, extra="ignore")


def read_settings(content: bytes | str) -> CellSettings:
    """The settings as the operator wrote them. Raises ValueError naming the field; unknown fields are left
    out, because a newer operator may write for a cell that it has not rolled yet."""
    return CellSettings.model_validate_json(content, extra="ignore")
