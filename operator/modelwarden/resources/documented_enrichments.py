"""Enrichments as the documented API writes them, and as objects to apply: both ways, losing nothing. Pure.

Must not know who asks, nor what a cell does with it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from modelwarden.resources.enrichment import EnrichmentType, ExplainabilityConfig
from modelwarden.resources.meta import API_VERSION

TYPES: Final[Mapping[str, EnrichmentType]] = {
    "anomaly_detection": "AnomalyDetection",
    "bias_mitigation": "BiasMitigation",
    "hotspots": "Hotspots",
    "explainability": "Explainability",
}
"""Names in paths and bodies of the documented API."""
_OURS: Final = ("project", "requirements", "explainer", "package_index", "image")
KEYS: Final = tuple(name for name in ExplainabilityConfig.model_fields if name not in _OURS)
"""The documented keys of explainability's config, which its fields are called by here."""
_WITHOUT_EFFECT: Final = frozenset({"service_account_id"})


class DocumentedError(ValueError):
    """A body that is not as documented. The message names the field and says what to send."""


@dataclass(frozen=True)
class Wished:
    """What a request wants of one enrichment. `enabled` is None where it says nothing of it."""

    enabled: bool | None
    config: Mapping[str, Any]


def read_wish(body: object, name: str) -> Wished:
    """`{"enabled": …, "config": {…}}` of the enrichment of that name. Raises DocumentedError."""
    example = '{"enabled": true, "config": {}}'
    if not isinstance(body, dict):
        raise DocumentedError(f"{name}: send an object like {example}")
    if unknown := sorted(set(body) - {"enabled", "config"}):
        raise DocumentedError(f"{name}: {unknown[0]} is no field, send an object like {example}")
    enabled, config = body.get("enabled"), body.get("config")
    config = {} if config is None else config
    if enabled is not None and not isinstance(enabled, bool):
        raise DocumentedError(f"{name}.enabled: must be true or false")
    if not isinstance(config, dict):
        raise DocumentedError(f"{name}.config: must be an object")
    if enabled is False and config:
        raise DocumentedError(f"{name}.config: leave it out where enabled is false")
    return Wished(enabled, config)


def changed(declared: ExplainabilityConfig | None, given: Mapping[str, Any]) -> ExplainabilityConfig:
    """What is declared, with the documented keys that are given in place of its own. Raises DocumentedError
    naming the key.
    """
    known = {key: value for key, value in given.items() if key not in _WITHOUT_EFFECT}
    if unknown := sorted(set(known) - set(KEYS)):
        raise DocumentedError(f"explainability.config.{unknown[0]}: no key, the keys are {', '.join(KEYS)}")
    base = {} if declared is None else declared.model_dump(exclude_unset=True)
    # A key that is null says that the default holds.
    merged = {**base, **known}
    try:
        return ExplainabilityConfig.model_validate({k: v for k, v in merged.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DocumentedError(f"explainability.config.{where}: {first['msg']}") from None


def documented(config: ExplainabilityConfig) -> dict[str, Any]:
    """The documented config: all keys of the documented API."""
    plain = config.model_dump(mode="json", include=set(KEYS))
    return {key: plain[key] for key in KEYS}


@dataclass(frozen=True)
class Target:
    """Whose enrichment it is; `object_name` of the object that is there already, if it is known."""

    namespace: str
    model: str
    object_name: str | None = None


def enrichment_object(
    target: Target, name: str, enabled: bool, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The Enrichment to apply, as plain JSON. `config` in the spelling of resources."""
    spec: dict[str, Any] = {"modelRef": {"name": target.model}, "type": TYPES[name], "enabled": enabled}
    if config:
        spec[_FIELDS[name]] = dict(config)
    return {
        "apiVersion": API_VERSION,
        "kind": "Enrichment",
        "metadata": {
            "namespace": target.namespace,
            "name": target.object_name or f"{target.model}-{name.replace('_', '-')}",
        },
        "spec": spec,
    }


def as_yaml(plain: object) -> str:
    """YAML of plain JSON with few words of its own: no library is needed where it is only written."""
    return "\n".join(_lines(plain, ""))


_FIELDS: Final = {
    "anomaly_detection": "anomalyDetection",
    "bias_mitigation": "biasMitigation",
    "hotspots": "hotspots",
    "explainability": "explainability",
}


def _lines(value: object, indent: str) -> list[str]:
    assert isinstance(value, dict)
    found = []
    for key, entry in value.items():
        if isinstance(entry, dict) and entry:
            found += [f"{indent}{key}:", *_lines(entry, f"{indent}  ")]
        else:
            # JSON is YAML, and says of every text that it is one.
            found.append(f"{indent}{key}: {json.dumps(entry, ensure_ascii=False)}")
    return found
