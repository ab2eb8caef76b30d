"""A folder of YAML as a cell sees it: one model, its datasets, enrichments and ConfigMaps, from the files of
a cluster.

Must not run anything. Every problem names the file, the object and the field.
"""

import base64
import binascii
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelwarden.resources.cell import CellIdentity, CellSettings, identity_of, settings_of
from modelwarden.resources.enrichment import Enrichment
from modelwarden.resources.enrichment import parse as parse_enrichment
from modelwarden.resources.enrichment_settings import enrichment_settings
from modelwarden.resources.kind import InvalidResource
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.monitoredmodel import parse as parse_model
from modelwarden.resources.referencedataset import ReferenceDataset
from modelwarden.resources.referencedataset import parse as parse_dataset
from modelwarden.resources.resolved import SchemaError
from modelwarden.resources.server_settings import ServerWish, server_settings, server_wish


class FolderError(ValueError):
    """The folder cannot be run. The message says which file, what is wrong and what to do."""


@dataclass(frozen=True)
class LocalModel:
    """What a folder says of one model."""

    model: MonitoredModel
    datasets: tuple[ReferenceDataset, ...]
    files: tuple[Path, ...]
    enrichments: tuple[Enrichment, ...] = ()
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    """By name and key: what data and binaryData hold."""

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.metadata.name

    def identity(self) -> CellIdentity:
        """The cell's identity. Raises FolderError."""
        try:
            return identity_of(self.model)
        except SchemaError as error:
            raise FolderError(f"MonitoredModel {self.name}: {error}") from error

    def settings(self, server_url: str | None = None) -> CellSettings:
        """The cell's settings. `server_url`: where its server's sidecar is, if it has one."""
        wish = self.server()
        server = None
        if wish is not None and server_url is not None:
            server = server_settings(wish, server_url, ".".join(platform.python_version_tuple()[:2]))
        return settings_of(self.model, enrichments=enrichment_settings(self.enrichments), server=server)

    def server(self) -> ServerWish | None:
        """What is asked of the model's server; None where it needs none."""
        return server_wish(self.model, self.enrichments)


def read_folder(folder: Path, wanted: str | None) -> LocalModel:
    """The model of that name, or the only one of the folder. Raises FolderError."""
    files = yaml_files(folder)
    if not files:
        raise FolderError(f"{folder} has no YAML files: put a MonitoredModel there")
    models: dict[str, MonitoredModel] = {}
    datasets: list[ReferenceDataset] = []
    enrichments: list[Enrichment] = []
    config_maps: dict[str, Mapping[str, bytes]] = {}
    for path in files:
        for body in _documents(path):
            try:
                match body.get("kind"):
                    case "MonitoredModel":
                        model = parse_model(body, strict=True)
                        models[model.metadata.name] = model
                    case "ReferenceDataset":
                        datasets.append(parse_dataset(body, strict=True))
                    case "Enrichment":
                        enrichments.append(parse_enrichment(body, strict=True))
                    case "ConfigMap":
                        config_maps[str((body.get("metadata") or {}).get("name"))] = _config_map(path, body)
            except InvalidResource as error:
                raise FolderError(f"{path}: {error}") from error
    model = _chosen(models, wanted, folder)
    own = tuple(d for d in datasets if d.spec.model_ref.name == model.metadata.name)
    enriching = tuple(e for e in enrichments if e.spec.model_ref.name == model.metadata.name)
    return LocalModel(model, own, files, enriching, config_maps)


def yaml_files(folder: Path) -> tuple[Path, ...]:
    """The files that are read of a folder."""
    return tuple(sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]))


def _chosen(models: dict[str, MonitoredModel], wanted: str | None, folder: Path) -> MonitoredModel:
    if wanted is not None:
        if wanted not in models:
            raise FolderError(
                f"{folder} has no MonitoredModel {wanted}; it has {', '.join(models) or 'none'}"
            )
        return models[wanted]
    if len(models) != 1:
        told = ", ".join(models) or "none"
        raise FolderError(f"{folder} must have one MonitoredModel, it has {told}: choose with --model")
    return next(iter(models.values()))


def _config_map(path: Path, body: Mapping[str, Any]) -> Mapping[str, bytes]:
    content = {str(key): str(value).encode() for key, value in (body.get("data") or {}).items()}
    for key, value in (body.get("binaryData") or {}).items():
        try:
            content[str(key)] = base64.b64decode(str(value), validate=True)
        except binascii.Error as error:
            raise FolderError(f"{path}: binaryData.{key} of a ConfigMap is not base64: {error}") from error
    if unfit := [key for key in content if "/" in key or key in {".", ".."}]:
        raise FolderError(f"{path}: {unfit[0]} is no key of a ConfigMap")
    return content


def _documents(path: Path) -> list[dict[str, Any]]:
    """The mappings in a file; other things that a folder may hold (lists, empty documents) are not ours."""
    try:
        return [body for body in yaml.safe_load_all(path.read_text("utf-8")) if isinstance(body, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FolderError(f"{path} cannot be read as YAML: {error}") from error
