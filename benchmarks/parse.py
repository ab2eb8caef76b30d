"""A JSON request of 1000 inferences to validated Arrow columns: ours against pydantic and `from_pylist`.

Thirty features: 20 floats, 6 integers, 4 texts.
"""

import json
import random
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter, create_model

from benchmarks.harness import Case, Item, Setting, here, measure
from benchmarks.results import Result
from modelwarden.resources.cell import identity_of
from modelwarden.resources.monitoredmodel import MonitoredModel
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.schema.native import SWITCH, extension
from modelwarden_server.schema.parsed import Limits
from modelwarden_server.schema.parser import Parser
from testbed.errors import SetupError
from testbed.native import unpacked
from testbed.progress import SilentReporter

ROWS = 1000
REPEATS = 10
TYPES = {"FLOAT": 20, "INTEGER": 6, "STRING": 4}


def case(name: str, what: str, environment: Mapping[str, str], repeats: int, target: float) -> Case:
    """The same request for both sides; `environment` tells our parser whether it may be the compiled one."""
    names = _names()
    body = _body(names)
    parser = Parser(compile_schema(identity_of(_model(names))), environment)
    limits = Limits(rows=ROWS, string_length=1000, latest=2**62)
    peer = _PydanticParser(names)

    def ours() -> int:
        for _ in range(repeats):
            if parser.parse(body, limits).rows.num_rows != ROWS:
                raise AssertionError("a row of the benchmark was refused")
        return repeats * ROWS

    def theirs() -> int:
        for _ in range(REPEATS):
            peer.parse(body)
        return REPEATS * ROWS

    peer_name = f"pydantic {version('pydantic')} + from_pylist"
    what = f"a request of {ROWS} rows, validated, into columns: {what}"
    return Case(name, peer_name, "rows", here(ours), here(theirs), target=target, what=what)


def _measured(setting: Setting) -> list[Result]:
    return [measure(case("parse", "pure Python", {SWITCH: "off"}, REPEATS, target=4), setting)]


def _measured_compiled(setting: Setting) -> list[Result]:
    if extension({}) is None:
        try:
            sys.path.insert(0, str(unpacked(SilentReporter())))
        except SetupError as error:
            setting.tell(f"left out: {error}")
            return []
    compiled = case("parse-compiled", "the compiled parser", {}, 10 * REPEATS, target=20)
    return [measure(compiled, setting)]


ITEM = Item(
    "parse",
    how=(
        "a JSON request of 1000 inferences with 20 floats, 6 integers and 4 texts each becomes validated"
        " Arrow columns; the peer validates a typed model, dumps it and makes a table from the dicts."
    ),
    measure=_measured,
    limits=(
        "msgspec decodes the whole request first and Arrow takes the columns from Python objects: every"
        " value is an object once."
    ),
)

COMPILED = Item(
    "parse-compiled",
    how=(
        "the same request and the same peer; ours is the optional package of `make native` (one pass in"
        " Rust, straight into Arrow's buffers). What it costs is in `native/README.md`. Left out where"
        " there is no cargo."
    ),
    measure=_measured_compiled,
    limits=(
        "half of the time goes into the digits of the floats; a busy neighbour on the same core slows it"
        " down more than it slows the peer, which waits for memory anyway."
    ),
)


def _names() -> dict[str, str]:
    return {f"{kind.lower()}_{i}": kind for kind, count in TYPES.items() for i in range(count)}


def _body(names: dict[str, str]) -> bytes:
    rng = random.Random(7)
    value: dict[str, Any] = {
        "FLOAT": rng.random,
        "INTEGER": lambda: rng.randrange(10_000),
        "STRING": lambda: rng.choice(["alpha", "beta", "gamma"]),
    }
    rows = [
        {
            "partner_inference_id": f"row-{i}",
            "inference_timestamp": "2026-01-02T03:04:05.678901+00:00",
            "inference_data": {name: value[kind]() for name, kind in names.items()} | {"score": rng.random()},
        }
        for i in range(ROWS)
    ]
    return json.dumps(rows).encode()


def _model(names: dict[str, str]) -> MonitoredModel:
    inputs = [
        {
            "name": name,
            "valueType": kind,
            "stage": "PIPELINE_INPUT",
            "position": i,
            "categorical": kind == "STRING",
        }
        for i, (name, kind) in enumerate(names.items())
    ]
    outputs = [
        {"name": "score", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "attributeLink": "truth"},
        {"name": "truth", "valueType": "FLOAT", "stage": "GROUND_TRUTH", "attributeLink": "score"},
    ]
    return MonitoredModel.model_validate(
        {
            "metadata": {"name": "bench", "namespace": "bench"},
            "spec": {
                "inputType": "TABULAR",
                "outputType": "REGRESSION",
                "attributes": inputs + outputs,
                "storage": {"persistentVolumeClaim": {"size": "1Gi"}},
            },
        }
    )


class _PydanticParser:
    """The usual stack: a typed model, its values as dicts, a table from the dicts."""

    def __init__(self, names: dict[str, str]) -> None:
        python = {"FLOAT": float, "INTEGER": int, "STRING": str}
        arrow = {"FLOAT": pa.float64(), "INTEGER": pa.int64(), "STRING": pa.string()}
        fields: dict[str, Any] = {name: (python[kind], ...) for name, kind in names.items()}
        data = create_model("Data", __config__=ConfigDict(extra="forbid"), **fields, score=(float, ...))
        row: Any = create_model(
            "Row",
            __config__=ConfigDict(extra="forbid"),
            partner_inference_id=(str, ...),
            inference_timestamp=(str, ...),
            inference_data=(data, ...),
        )
        self._rows: Any = TypeAdapter(list[row])
        self._schema = pa.schema([(n, arrow[k]) for n, k in names.items()] + [("score", pa.float64())])

    def parse(self, body: bytes) -> pa.Table:
        rows = self._rows.validate_json(body)
        return pa.Table.from_pylist([row.model_dump()["inference_data"] for row in rows], schema=self._schema)
