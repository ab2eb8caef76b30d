"""What a model's server is to be, from the model and its Enrichment: whether there is one, where its files
come from, and what the cell is told of it. Pure.

Must not know how pods are made of it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelwarden.resources.cell import ServerSettings, canonical_json, content_hash
from modelwarden.resources.enrichment import Enrichment, ExplainabilityConfig
from modelwarden.resources.enrichment_settings import counting
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden.resources.packages import PackageIndex
from modelwarden.resources.server import UPLOAD, AssetSlot, Role
from modelwarden.resources.serving import Serving
from modelwarden.resources.sources import Source, UploadSource

_UPLOADED = Source(upload=UploadSource())


@dataclass(frozen=True)
class ServerWish:
    """What is asked of a model's server. `explain` is None where explanations are off, `serving` where no
    predictions are made here; `declared` is the Enrichment that says so."""

    explain: ExplainabilityConfig | None
    serving: Serving | None
    declared: Enrichment | None = None

    @property
    def image(self) -> str | None:
        """An image of the user's own: that of the serving goes before that of the explanations."""
        served = self.serving.image if self.serving else None
        return served or (self.explain.image if self.explain else None)

    @property
    def python_version(self) -> str | None:
        """The Python that is asked for: by the serving, else for the explanations."""
        served = self.serving.python_version if self.serving else None
        return served or (self.explain.python_version if self.explain else None)

    @property
    def sources(self) -> dict[AssetSlot, Source]:
        """Where each declared file comes from."""
        return dict(self._sources())

    def index_of(self, roles: Iterable[Role]) -> PackageIndex | None:
        """The index that the model names for the packages of these roles; explanations go first."""
        if "explain" in set(roles) and self.explain is not None and self.explain.package_index is not None:
            return self.explain.package_index
        return self.serving.package_index if self.serving else None

    def _sources(self) -> Iterator[tuple[AssetSlot, Source]]:
        if (explain := self.explain) is not None:
            # Without a project a served model is explained by its flow; any other waits for the upload.
            project = explain.project or (None if self.serving else _UPLOADED)
            if project is not None:
                yield "explain-project", project
            if explain.requirements is not None:
                yield "explain-requirements", explain.requirements
            if explain.explainer is not None:
                yield "explain-explainer", explain.explainer
        if (serving := self.serving) is not None:
            yield "serve-files", serving.files
            if serving.requirements is not None:
                yield "serve-requirements", serving.requirements


def server_wish(model: MonitoredModel, enrichments: Iterable[Enrichment]) -> ServerWish | None:
    """What is asked of the model's server; None where it needs none: neither explained nor served, or
    archived."""
    if model.spec.lifecycle == "Archived":
        return None
    enrichment = counting(enrichments).get("Explainability")
    explain = None
    if enrichment is not None and enrichment.spec.enabled:
        explain = enrichment.spec.explainability or ExplainabilityConfig()
    if explain is None and model.spec.serving is None:
        return None
    return ServerWish(explain, model.spec.serving, enrichment if explain is not None else None)


def asset_hash(source: Source) -> str:
    """What a source is called between operator, Job and store."""
    return UPLOAD if source.upload is not None else content_hash(canonical_json(source))


def server_settings(wish: ServerWish, url: str, runtime: str) -> ServerSettings:
    """What the cell is told. `url`: where the server's sidecars are; `runtime` names the Python that runs."""
    assets: dict[AssetSlot, str] = {slot: asset_hash(source) for slot, source in wish.sources.items()}
    return ServerSettings(url=url, assets=assets, runtime=runtime)
