"""What is shown of bias mitigation: the documented curves, and the recommended thresholds to take away.

    GET /api/v3/models/{id}/enrichments/bias_mitigation/curves
    GET /api/v3/models/{id}/enrichments/bias_mitigation/thresholds

Must not apply a threshold to anything.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.analysis.mitigation.curves import CHOICES, POINTS, Constraint, Curve
from modelwarden_server.analysis.mitigation.result import (
    AttributeResult,
    ConstraintResult,
    GroupResult,
    Mitigation,
)
from modelwarden_server.enrichments.curve_request import Asked, asked_of, attribute_id
from modelwarden_server.enrichments.kind import REFERENCE, InstalledTraining
from modelwarden_server.web import Refusal, check_model, json_answer

_PATH: Final = "/api/v3/models/{id}/enrichments/bias_mitigation"
_X: Final = [place / (POINTS - 1) for place in range(POINTS)]
NOTE: Final = (
    "These thresholds decide by the group that a person belongs to. In many places the law restricts or"
    " forbids that, even where it is meant to help. Have it examined before you use them. They were judged on"
    " rows of the reference; nothing says that they hold for rows to come. Modelwarden never applies them."
)


@dataclass(frozen=True)
class InUse:
    """What is installed."""

    mitigation: Mitigation
    training: InstalledTraining


@dataclass(frozen=True)
class CurveDoor:
    """`in_use` gives what is installed at the moment of a question."""

    identity: CellIdentity
    in_use: Callable[[], InUse | None]

    def routes(self) -> list[Route]:
        """The routes of this door."""
        return [
            Route(f"{_PATH}/curves", self.curves, methods=["GET"]),
            Route(f"{_PATH}/thresholds", self.thresholds, methods=["GET"]),
        ]

    async def curves(self, request: Request) -> Response:
        """A page of curves; `data` is null as long as there is none."""
        check_model(request, self.identity)
        asked = asked_of(request, self.identity)
        return json_answer(await asyncio.to_thread(self._page, asked))

    async def thresholds(self, request: Request) -> Response:
        """The recommended thresholds, by attribute and constraint; 404 as long as there is none."""
        check_model(request, self.identity)
        asked = asked_of(request, self.identity)
        installed = self.in_use()
        if installed is None:
            raise Refusal(
                404,
                "there are no thresholds: GET /api/v3/models/{id}/enrichments/bias_mitigation says why",
            )
        return json_answer(exported(self.identity, installed, asked))

    def _page(self, asked: Asked) -> dict[str, Any]:
        installed = self.in_use()
        found = [] if installed is None else list(_found(installed, asked))
        first = (asked.page - 1) * asked.page_size
        page = [
            self._curve(installed, *one)
            for one in found[first : first + asked.page_size]
            if installed is not None
        ]
        return {
            "data": page or None,
            "page": asked.page,
            "page_size": asked.page_size,
            "total_pages": -(-len(found) // asked.page_size),
            "total_count": len(found),
        }

    def _curve(
        self, installed: InUse, attribute: AttributeResult, one: ConstraintResult, group: GroupResult
    ) -> dict[str, Any]:
        curve = installed.mitigation.curves[attribute.attribute, one.constraint, group.name]
        x_label, y_label = one.constraint.labels
        whole = attribute_id(self.identity.model_id, attribute.attribute)
        return {
            "id": str(uuid.uuid5(uuid.UUID(whole), f"{one.constraint} {group.name}")),
            "model_id": self.identity.model_id,
            "attribute_id": whole,
            "attribute_name": attribute.attribute,
            **_group_keys(group),
            "constraint": one.constraint.value,
            "x_label": x_label,
            "y_label": y_label,
            "optimization_index": one.optimization_index,
            "data_points": _points(curve),
        }


def exported(identity: CellIdentity, installed: InUse, asked: Asked) -> dict[str, Any]:
    """The thresholds as a document that says what it is made of. `query_function` is an argument for a query:
    it applies nothing, it shows.
    """
    manifest, training = installed.mitigation.manifest, installed.training
    chosen: dict[tuple[str, Constraint], dict[str, Any]] = {}
    for attribute, one, group in _found(installed, asked):
        assert one.optimization_index is not None
        place = one.optimization_index
        curve = installed.mitigation.curves[attribute.attribute, one.constraint, group.name]
        entry = chosen.setdefault(
            (attribute.attribute, one.constraint), _entry(attribute.attribute, one, manifest.score)
        )
        threshold = float(CHOICES[curve.choices[place]])
        entry["groups"].append(
            {
                "group": group.name,
                "threshold": threshold,
                "attained": float(curve.attained[place]),
                "y": float(curve.y[place]),
            }
        )
        entry["query_function"]["parameters"]["thresholds"].append(
            {"conditions": _conditions(attribute.attribute, group), "threshold": threshold}
        )
    return {
        "model_id": identity.model_id,
        "model": f"{identity.namespace}/{identity.name}",
        "method": {"name": "one threshold per group, deterministic, after Hardt et al. 2016", "version": 1},
        "artefact_hash": training.artefact_hash,
        "input_hash": training.input_hash,
        "trained_at": training.trained_at,
        "reference": {
            "dataset": training.inputs.get("dataset"),
            "content_hash": training.inputs.get(REFERENCE),
            "rows": manifest.rows,
            "labelled": manifest.labelled,
            "window": None if manifest.window is None else list(manifest.window),
        },
        "score": manifest.score,
        "positive_class": manifest.positive,
        "threshold_before": manifest.threshold,
        "recommended": list(chosen.values()),
        "note": NOTE,
    }


def _entry(attribute: str, one: ConstraintResult, score: str) -> dict[str, Any]:
    return {
        "attribute": attribute,
        "constraint": one.constraint.value,
        "optimization_index": one.optimization_index,
        "groups": [],
        "left_out": dict(one.left_out),
        "judged": None if one.judged is None else msgspec.to_builtins(one.judged),
        "query_function": {
            "function": "biasMitigatedPredictions",
            "parameters": {"predicted_property": score, "thresholds": []},
        },
    }


def _conditions(attribute: str, group: GroupResult) -> list[dict[str, Any]]:
    if group.value is not None:
        return [{"property": attribute, "comparator": "eq", "value": group.value}]
    bounds = [("gt", group.start), ("lte", group.end)]
    return [
        {"property": attribute, "comparator": comparator, "value": bound}
        for comparator, bound in bounds
        if bound is not None
    ]


def _found(
    installed: InUse, asked: Asked
) -> "Sequence[tuple[AttributeResult, ConstraintResult, GroupResult]]":
    return [
        (attribute, one, group)
        for attribute in installed.mitigation.manifest.attributes
        if asked.attribute in (None, attribute.attribute)
        for one in attribute.constraints
        if not asked.constraints or one.constraint in asked.constraints
        for group in attribute.groups
        if (attribute.attribute, one.constraint, group.name) in installed.mitigation.curves
        and asked.wants(group)
    ]


def _points(curve: Curve) -> list[dict[str, float]]:
    thresholds = CHOICES[curve.choices].tolist()
    return [
        {"x": x, "y": y, "threshold": threshold}
        for x, y, threshold in zip(_X, curve.y.tolist(), thresholds, strict=True)
    ]


def _group_keys(group: GroupResult) -> Mapping[str, str]:
    # What does not apply is left out: the documented client takes null for a value. Bounds are texts there.
    if group.value is not None:
        return {"categorical_value": group.value}
    bounds = {"continuous_start": group.start, "continuous_end": group.end}
    return {key: f"{bound:g}" for key, bound in bounds.items() if bound is not None}
