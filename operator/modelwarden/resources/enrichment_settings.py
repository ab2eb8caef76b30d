"""Which of a model's Enrichment objects count, and the settings that follow from them. Pure.

One object for each type: the oldest. Without one the defaults hold. Must not know whether the store does it.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from modelwarden.resources.cell import (
    AnomalySettings,
    EnrichmentSettings,
    ExplainabilitySettings,
    HotspotSettings,
    MitigationSettings,
)
from modelwarden.resources.enrichment import (
    AnomalyDetectionConfig,
    BiasMitigationConfig,
    Enrichment,
    EnrichmentType,
    ExplainabilityConfig,
    HotspotsConfig,
)

# Objects in a folder have no time of creation: they come before none, and their names decide.
_EVER = datetime.min.replace(tzinfo=UTC)


def counting(enrichments: Iterable[Enrichment]) -> Mapping[EnrichmentType, Enrichment]:
    """For each type the object that counts: the oldest that is not being deleted. All are of one model."""
    found: dict[EnrichmentType, Enrichment] = {}
    for enrichment in sorted(enrichments, key=_age):
        if not enrichment.metadata.is_being_deleted:
            found.setdefault(enrichment.spec.type, enrichment)
    return found


def enrichment_settings(enrichments: Iterable[Enrichment]) -> EnrichmentSettings:
    """What the objects of one model say, in the words that its cell is told."""
    chosen = counting(enrichments)
    settings = EnrichmentSettings()
    if (enrichment := chosen.get("AnomalyDetection")) is not None:
        anomaly = enrichment.spec.anomaly_detection or AnomalyDetectionConfig()
        told = AnomalySettings(enabled=enrichment.spec.enabled, seed=anomaly.seed)
        settings = settings.model_copy(update={"anomaly_detection": told})
    if (enrichment := chosen.get("BiasMitigation")) is not None:
        bias = enrichment.spec.bias_mitigation or BiasMitigationConfig()
        # A set in the schema: another order is no other wish.
        fair = MitigationSettings(
            enabled=enrichment.spec.enabled,
            attributes=tuple(sorted(bias.attributes)),
            constraints=tuple(sorted(bias.constraints)),
        )
        settings = settings.model_copy(update={"bias_mitigation": fair})
    if (enrichment := chosen.get("Hotspots")) is not None:
        spots = enrichment.spec.hotspots or HotspotsConfig()
        weak = HotspotSettings(enabled=enrichment.spec.enabled, **spots.model_dump())
        settings = settings.model_copy(update={"hotspots": weak})
    if (enrichment := chosen.get("Explainability")) is not None:
        settings = settings.model_copy(update={"explainability": _explained(enrichment)})
    return settings


def _explained(enrichment: Enrichment) -> ExplainabilitySettings:
    config = enrichment.spec.explainability or ExplainabilityConfig()
    return ExplainabilitySettings(
        enabled=enrichment.spec.enabled,
        algorithm=config.explanation_algo,
        samples=config.explanation_nsamples,
        seed=config.seed,
        expected_values=config.shap_expected_values,
        import_path=config.user_predict_function_import_path,
        python_version=config.python_version,
        score_percent=config.inference_consumer_score_percent,
        threads=config.inference_consumer_thread_pool_size,
        streaming=config.streaming_explainability_enabled,
        image=config.image is not None,
        declared=config,
        object_name=enrichment.metadata.name,
    )


def _age(enrichment: Enrichment) -> tuple[datetime, str, str]:
    meta = enrichment.metadata
    return meta.creation_timestamp or _EVER, meta.name, meta.uid
