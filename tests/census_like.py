"""A small model of every value type the store takes, its rows, and a wide one for measuring."""

import json
from collections.abc import Iterable
from typing import Any

from modelwarden.resources.cell import CellIdentity, CellSettings, identity_of, settings_of
from modelwarden.resources.monitoredmodel import MonitoredModel, parse

NOW = "2026-11-21T12:00:00+00:00"


def attribute(name: str, value_type: str, stage: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueType": value_type, "stage": stage, **more}


ATTRIBUTES = [
    attribute("age", "INTEGER", "PIPELINE_INPUT"),
    attribute("income", "FLOAT", "PIPELINE_INPUT"),
    attribute("state", "STRING", "PIPELINE_INPUT", categorical=True),
    attribute("married", "BOOLEAN", "PIPELINE_INPUT", categorical=True),
    attribute("joined", "TIMESTAMP", "NON_INPUT_DATA"),
    attribute("note", "UNSTRUCTURED_TEXT", "NON_INPUT_DATA"),
    attribute(
        "pred", "FLOAT", "PREDICTED_VALUE", attributeLink="gt", isPositivePredictedAttribute=True, position=1
    ),
    attribute("gt", "INTEGER", "GROUND_TRUTH", attributeLink="pred", categorical=True, position=1),
]


def model(attributes: Iterable[dict[str, Any]] = ATTRIBUTES, **spec: Any) -> MonitoredModel:
    return parse(
        {
            "apiVersion": "modelwarden.dev/v1alpha1",
            "kind": "MonitoredModel",
            "metadata": {"name": "census", "namespace": "team-a", "uid": "u", "generation": 1},
            "spec": {
                "inputType": "TABULAR",
                "outputType": "MULTICLASS",
                "attributes": list(attributes),
                "storage": {"persistentVolumeClaim": {"size": "1Gi"}},
                **spec,
            },
        }
    )


def identity(attributes: Iterable[dict[str, Any]] = ATTRIBUTES, **spec: Any) -> CellIdentity:
    return identity_of(model(attributes, **spec))


def settings(**spec: Any) -> CellSettings:
    return settings_of(model(**spec))


def row(id: Any = "r1", *, truth: Any = None, at: str = NOW, **data: Any) -> dict[str, Any]:  # noqa: A002
    """A good row; `data` replaces values of it, and `...` takes a key out."""
    values = {"age": 41, "income": 12.5, "state": "MA", "married": True, "pred": 0.25} | data
    made: dict[str, Any] = {
        "partner_inference_id": id,
        "inference_timestamp": at,
        "inference_data": {key: value for key, value in values.items() if value is not ...},
    }
    if truth is not None:
        made |= {"ground_truth_data": {"gt": truth}, "ground_truth_timestamp": at}
    return made


def body(*rows: Any) -> bytes:
    return json.dumps(list(rows)).encode()


def wide(floats: int = 20, integers: int = 6, texts: int = 3) -> list[dict[str, Any]]:
    """Attributes of a model with 30 columns, as the benchmarks use it."""
    return [
        *(attribute(f"x{i}", "FLOAT", "PIPELINE_INPUT") for i in range(floats)),
        *(attribute(f"n{i}", "INTEGER", "PIPELINE_INPUT") for i in range(integers)),
        *(attribute(f"s{i}", "STRING", "PIPELINE_INPUT", categorical=True) for i in range(texts)),
        ATTRIBUTES[-2],
        ATTRIBUTES[-1],
    ]
