"""Predictions as they come from a sidecar, and as rows of the table that keeps them.

Pure. A row for each prediction: its data point and its result as JSON texts, or why there is none. Must not
know where rows are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa

from modelwarden_server.predictwire import FrameError, unframe
from modelwarden_server.schema.compiled import ARRIVAL_TIME, ID, INSTANT

MOST_PREDICTIONS: Final = 100_000
WITHHELD: Final = "the prediction failed; why is not kept, for the model has sensitive attributes"
_LONGEST_ID = 255
PREDICTIONS: Final = pa.schema(
    [
        pa.field(ID, pa.string()),
        pa.field(ARRIVAL_TIME, INSTANT),
        pa.field("run_id", pa.string()),
        # JSON; null where it is not to be kept (sensitive attributes, sampling) or is not that of one result
        pa.field("data", pa.string()),
        pa.field("result", pa.string()),
        # why there is no result; null where there is one
        pa.field("failure", pa.string()),
        pa.field("run_time_ms", pa.float64()),
        # JSON list of {name, bytes, sha256} of the request's files; null where there were none
        pa.field("files", pa.string()),
        # taken in as an inference; else why not
        pa.field("monitored", pa.bool_()),
        pa.field("reason", pa.string()),
    ]
)


class RunError(ValueError):
    """What was sent is not a run. The message says why."""


class SentFile(msgspec.Struct, frozen=True):
    """A file of the request, whose bytes are not kept."""

    name: str
    bytes: int
    sha256: str


class Head(msgspec.Struct, frozen=True):
    """The header of a run's frame."""

    run_id: str
    prediction_ids: list[str]
    started: datetime
    run_time_ms: float
    failure: str | None = None
    files: list[SentFile] = []


@dataclass(frozen=True)
class Run:
    """One request to the model: its data points and results, decoded. No results where it failed."""

    head: Head
    points: list[Any]
    results: list[Any] | None

    @property
    def paired(self) -> bool:
        """Whether there is a result for each data point."""
        return self.results is not None and len(self.results) == len(self.points)


@dataclass(frozen=True)
class Fate:
    """What became of one prediction beside being kept. `reason`: why it was not taken in as an inference;
    `data`: its values may be kept."""

    reason: str | None
    data: bool = True

    @property
    def monitored(self) -> bool:
        """It was taken in as an inference."""
        return self.reason is None


def read_run(content: bytes | bytearray) -> Run:
    """The run in a frame: its buffers are the data and, unless it failed, the results. Raises RunError."""
    try:
        header, buffers = unframe(content)
        head = msgspec.convert(header, Head)
        points, *more = [msgspec.json.decode(buffer) for buffer in buffers]
    except (FrameError, ValueError) as error:
        raise RunError(f"this is no run: {error}") from None
    results = more[0] if more else None
    if not isinstance(points, list) or not (results is None or isinstance(results, list)):
        raise RunError("data and results must be lists")
    if (results is None) != (head.failure is not None):
        raise RunError("a run has results, or a failure")
    count = len(points) if results is None else len(results)
    ids = head.prediction_ids
    if len(ids) != count or len(set(ids)) != count or count > MOST_PREDICTIONS:
        raise RunError(f"there must be a prediction_id for each of the {count} predictions, each once")
    if not all(0 < len(one) <= _LONGEST_ID for one in (*ids, head.run_id)):
        raise RunError(f"ids have 1 to {_LONGEST_ID} characters")
    if head.started.tzinfo is None:
        raise RunError("started needs a time zone")
    return Run(head, points, results)


def rows_of(run: Run, fates: Sequence[Fate], arrival: int) -> pa.RecordBatch:
    """The rows that keep a run; `arrival` in microseconds since 1970."""
    head, count = run.head, len(run.head.prediction_ids)
    files = _json(head.files) if head.files else None
    if run.results is None or run.paired:
        data: list[Any] = [
            _json(point) if fate.data else None for point, fate in zip(run.points, fates, strict=True)
        ]
    else:
        # No telling which data point a result belongs to: what is kept must go when its id is forgotten.
        data = [_json(run.points) if count == 1 and fates[0].data else None] + [None] * (count - 1)
    results = [None] * count if run.results is None else run.results
    columns = {
        ID: head.prediction_ids,
        "run_id": [head.run_id] * count,
        "data": data[:count],
        "result": [
            None if run.results is None or not fate.data else _json(item)
            for item, fate in zip(results, fates, strict=True)
        ],
        # The user's own words may quote a value.
        "failure": [head.failure if fate.data or head.failure is None else WITHHELD for fate in fates],
        "run_time_ms": [head.run_time_ms] * count,
        "files": [files] * count,
        "monitored": [fate.monitored for fate in fates],
        "reason": [fate.reason for fate in fates],
    }
    arrays = [
        pa.array([arrival] * count, INSTANT) if name == ARRIVAL_TIME else pa.array(columns[name], field.type)
        for name, field in zip(PREDICTIONS.names, PREDICTIONS, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=PREDICTIONS)


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a client is told of it."""
    found = {"prediction_id": row[ID], ARRIVAL_TIME: row[ARRIVAL_TIME].astimezone(UTC).isoformat()}
    for name in PREDICTIONS.names[2:]:
        value = row[name]
        found[name] = msgspec.json.decode(value) if name in ("data", "result", "files") and value else value
    return found


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
