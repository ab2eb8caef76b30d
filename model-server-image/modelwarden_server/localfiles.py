"""A folder of YAML as a cell sees it: one model, its datasets and enrichments, from the files of a cluster.

Must not run anything. Every problem names the file, the object and the field.
"""

from dataclasses import dataclass
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


class FolderError(ValueError):
    """The folder cannot be run. The message says which file, what is wrong and what to do."""


@dataclass(frozen=True)
class LocalModel:
    """What a folder says of one model."""

    model: MonitoredModel
    datasets: tuple[ReferenceDataset, ...]
    files: tuple[Path, ...]
    enrichments: tuple[Enrichment, ...] = ()

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

    def settings(self) -> CellSettings:
        """The cell's settings."""
        return settings_of(self.model, enrichments=enrichment_settings(self.enrichments))


def read_folder(folder: Path, wanted: str | None) -> LocalModel:
    """The model of that name, or the only one of the folder. Raises FolderError."""
    files = tuple(sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]))
    if not files:
        raise FolderError(f"{folder} has no YAML files: put a MonitoredModel there")
    models: dict[str, MonitoredModel] = {}
    datasets: list[ReferenceDataset] = []
    enrichments: list[Enrichment] = []
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
            except InvalidResource as error:
                raise FolderError(f"{path}: {error}") from error
    model = _chosen(models, wanted, folder)
    own = tuple(d for d in datasets if d.spec.model_ref.name == model.metadata.name)
    enriching = tuple(e for e in enrichments if e.spec.model_ref.name == model.metadata.name)
    return LocalModel(model, own, files, enriching)


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


def _documents(path: Path) -> list[dict[str, Any]]:
    """The mappings in a file; other things that a folder may hold (lists, empty documents) are not ours."""
    try:
        return [body for body in yaml.safe_load_all(path.read_text("utf-8")) if isinstance(body, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FolderError(f"{path} cannot be read as YAML: {error}") from error
