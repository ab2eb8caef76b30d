"""A model with thirty inputs (20 floats, 6 integers, 4 texts), its reference and its rows as JSON."""

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from modelwarden.resources.cell import CellIdentity, CellSettings, identity_of, settings_of
from modelwarden.resources.monitoredmodel import MonitoredModel, parse

FLOATS = tuple(f"float_{i}" for i in range(20))
INTEGERS = tuple(f"integer_{i}" for i in range(6))
TEXTS = tuple(f"text_{i}" for i in range(4))
_WORDS = tuple(f"value-{i}" for i in range(12))
_DIFFERENT = 1000


def _attribute(name: str, value_type: str, stage: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "valueType": value_type, "stage": stage, **more}


def _model() -> MonitoredModel:
    kinds = (
        dict.fromkeys(FLOATS, "FLOAT") | dict.fromkeys(INTEGERS, "INTEGER") | dict.fromkeys(TEXTS, "STRING")
    )
    inputs = [
        _attribute(name, kind, "PIPELINE_INPUT", position=i, categorical=kind == "STRING")
        for i, (name, kind) in enumerate(kinds.items())
    ]
    outputs = [
        _attribute("score", "FLOAT", "PREDICTED_VALUE", attributeLink="truth"),
        _attribute("truth", "FLOAT", "GROUND_TRUTH", attributeLink="score"),
    ]
    return parse(
        {
            "apiVersion": "modelwarden.dev/v1alpha1",
            "kind": "MonitoredModel",
            "metadata": {"name": "wide", "namespace": "bench", "uid": "u", "generation": 1},
            "spec": {
                "inputType": "TABULAR",
                "outputType": "REGRESSION",
                "attributes": inputs + outputs,
                "storage": {"persistentVolumeClaim": {"size": "10Gi"}},
            },
        }
    )


def identity() -> CellIdentity:
    """What the cell is told once."""
    return identity_of(_model())


def settings() -> CellSettings:
    """Its settings: all defaults."""
    return settings_of(_model())


def reference(rows: int) -> pa.Table:
    """Reference rows."""
    rng = np.random.default_rng(1)
    words = np.array(_WORDS, dtype=object)
    columns: dict[str, Any] = {name: rng.normal(size=rows) for name in FLOATS}
    columns |= {name: rng.integers(0, 10_000, rows) for name in INTEGERS}
    columns |= {name: pa.array(words[rng.integers(0, len(words), rows)], pa.string()) for name in TEXTS}
    return pa.table(columns | {"score": rng.random(rows), "truth": rng.random(rows)})


class Bodies:
    """Requests of rows that were never sent before."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._data = [json.dumps(_data(random.Random(i))) for i in range(_DIFFERENT)]
        self._next = 0

    def of(self, rows: int, at: float | None = None) -> bytes:
        """A request of so many rows that happened at that moment (seconds since 1970; default now)."""
        moment = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat()
        first, self._next = self._next, self._next + rows
        made = [
            f'{{"partner_inference_id":"{self._label}-{number:012d}","inference_timestamp":"{moment}",'
            f'"inference_data":{self._data[number % _DIFFERENT]}}}'
            for number in range(first, first + rows)
        ]
        return f"[{','.join(made)}]".encode()


def _data(chance: random.Random) -> dict[str, Any]:
    data: dict[str, Any] = {name: chance.gauss(0, 1) for name in FLOATS}
    data |= {name: chance.randrange(10_000) for name in INTEGERS}
    data |= {name: chance.choice(_WORDS) for name in TEXTS}
    return data | {"score": chance.random()}
