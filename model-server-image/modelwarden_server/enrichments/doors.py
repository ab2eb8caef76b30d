"""What people ask of enrichments: `GET /api/v3/models/{id}/enrichments[/{name}]`, in the documented shapes.

Read only: an Enrichment is declared, so that Git and the cluster know of it. Must not change anything.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, EnrichmentSettings
from modelwarden.resources.report import EnrichmentReport
from modelwarden_server.web import Refusal, check_model, json_answer

_TYPES: Final = {
    "anomaly_detection": "AnomalyDetection",
    "bias_mitigation": "BiasMitigation",
    "hotspots": "Hotspots",
    "explainability": "Explainability",
}


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
            Route(path, self.refuse, methods=["PATCH"]),
            Route(f"{path}/{{name}}", self.refuse, methods=["PATCH"]),
        ]

    async def all(self, request: Request) -> Response:
        """All four."""
        check_model(request, self.identity)
        reports = await asyncio.to_thread(self.reports)
        return json_answer({name: self._shape(name, reports) for name in _TYPES})

    async def one(self, request: Request) -> Response:
        """One of them, by its name."""
        check_model(request, self.identity)
        name = _named(request)
        reports = await asyncio.to_thread(self.reports)
        return json_answer(self._shape(name, reports))

    async def refuse(self, request: Request) -> Response:
        """501: says what to apply instead."""
        check_model(request, self.identity)
        asked = _named(request) if "name" in request.path_params else "anomaly_detection"
        name = f"{self.identity.name}-{asked.replace('_', '-')}"
        raise Refusal(
            501,
            "a cell does not change its enrichments: apply an Enrichment instead, kubectl apply -n "
            f"{self.identity.namespace} -f - with apiVersion: modelwarden.dev/v1alpha1, kind: Enrichment,"
            f" metadata.name: {name}, spec.modelRef.name: {self.identity.name}, spec.type: {_TYPES[asked]},"
            " spec.enabled: true or false",
        )

    def _shape(self, name: str, reports: tuple[EnrichmentReport, ...]) -> dict[str, Any]:
        report = next((r for r in reports if r.type == _TYPES[name]), None)
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
                shape = {"enabled": False, "config": {}}
        return shape | {"status": status}


def _named(request: Request) -> str:
    name: str = request.path_params["name"]
    if name not in _TYPES:
        raise Refusal(404, f"there is no enrichment {name}: ask for {', '.join(_TYPES)}")
    return name
