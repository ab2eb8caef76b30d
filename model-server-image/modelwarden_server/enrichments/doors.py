"""What people ask of enrichments: `GET /api/v3/models/{id}/enrichments[/{name}]`, in the documented shapes.

Read only: what people send is for `provision.asset_doors`. Must not change anything.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, EnrichmentSettings
from modelwarden.resources.documented_enrichments import TYPES, documented
from modelwarden.resources.enrichment import ExplainabilityConfig
from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.web import Refusal, check_model, json_answer


@dataclass(frozen=True)
class EnrichmentDoor:
    """`reports` refuses (503) as long as there are none."""

    identity: CellIdentity
    settings: Callable[[], EnrichmentSettings]
    reports: Callable[[], tuple[EnrichmentReport, ...]]

    def routes(self) -> list[Route]:
        """The routes of this door."""
        path = "/api/v3/models/{id}/enrichments"
        return [
            Route(path, self.all, methods=["GET"]),
            Route(f"{path}/{{name}}", self.one, methods=["GET"]),
        ]

    async def all(self, request: Request) -> Response:
        """All four."""
        check_model(request, self.identity)
        reports = await asyncio.to_thread(self.reports)
        return json_answer({name: self._shape(name, reports) for name in TYPES})

    async def one(self, request: Request) -> Response:
        """One of them, by its name."""
        check_model(request, self.identity)
        name = _named(request)
        reports = await asyncio.to_thread(self.reports)
        return json_answer(self._shape(name, reports))

    def _shape(self, name: str, reports: tuple[EnrichmentReport, ...]) -> dict[str, Any]:
        report = next((r for r in reports if r.type == TYPES[name]), None)
        status = "Disabled" if report is None else report.state
        settings = self.settings()
        match name:
            case "anomaly_detection":
                shape: dict[str, Any] = {"enabled": settings.anomaly_detection.enabled, "config": {}}
            case "hotspots":
                shape = {"enabled": settings.hotspots.enabled, "config": {}}
            case "bias_mitigation":
                shape = {"enabled": settings.bias_mitigation.enabled}
            case _:
                declared = settings.explainability.declared
                enabled = settings.explainability.enabled
                config = documented(declared or ExplainabilityConfig()) if enabled or declared else {}
                shape = {"enabled": enabled, "config": config}
        return shape | {"status": status}


def _named(request: Request) -> str:
    name: str = request.path_params["name"]
    if name not in TYPES:
        raise Refusal(404, f"there is no enrichment {name}: ask for {', '.join(TYPES)}")
    return name
