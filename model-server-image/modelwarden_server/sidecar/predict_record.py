"""The store is told of every run before its caller is: what was predicted is durable, and monitored.

A run may be sent again: the store keeps it once. Must not change what it tells.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx

from modelwarden_server.innerwire import PREDICTIONS
from modelwarden_server.predictwire import FRAME, frame
from modelwarden_server.refused import retry_after, sentence_of
from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.sidecar.predict_form import Asked
from modelwarden_server.web import Refusal

PATIENCE_SECONDS: Final = 20.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
MOST_FAILURE = 2000


@dataclass(frozen=True)
class RunRecord:
    """One run. `result` is the JSON list of results, None where it failed."""

    run_id: str
    started: datetime
    prediction_ids: Sequence[str]
    run_time_ms: float
    result: bytes | memoryview | None = None
    failure: str | None = None


async def record(
    pod: Pod, asked: Asked, run: RunRecord, patience: float = PATIENCE_SECONDS
) -> dict[str, Any]:
    """Have the store keep the run; its answer. Raises Refusal when it does not: then nothing is promised."""
    files = await asyncio.to_thread(_described, asked)
    header = {
        "run_id": run.run_id,
        "prediction_ids": list(run.prediction_ids),
        "started": run.started.isoformat(),
        "run_time_ms": run.run_time_ms,
        "failure": None if run.failure is None else run.failure[:MOST_FAILURE],
        "files": files,
    }
    buffers = [asked.data] if run.result is None else [asked.data, run.result]
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + patience, _FIRST_PAUSE
    while True:
        why, again = "", pause
        try:
            answer = await pod.store.post(
                PREDICTIONS, content=pieces(header, buffers), headers={"Content-Type": FRAME}
            )
        except httpx.HTTPError as error:
            why = f"it cannot be reached ({type(error).__name__})"
        else:
            if answer.status_code == 200:
                told: dict[str, Any] = answer.json()
                return told
            why = sentence_of(answer, "the store")
            if answer.status_code not in (429, 503):
                status = answer.status_code if answer.status_code == 409 else 502
                raise Refusal(status, f"the store did not keep the prediction: {why}")
            again = max(pause, float(retry_after(answer) or 0))
        if loop.time() + again > deadline:
            raise Refusal(503, f"the store did not keep the prediction: {why}", retry_after=5)
        await asyncio.sleep(again)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def pieces(
    header: dict[str, Any], buffers: Sequence[bytes | bytearray | memoryview]
) -> AsyncIterator[bytes]:
    """The pieces of a frame, one after the other: large buffers are not held twice."""
    for buffer in frame(header, buffers):
        view = memoryview(buffer)
        for start in range(0, max(1, len(view)), 1 << 20):
            yield bytes(view[start : start + (1 << 20)])


def _described(asked: Asked) -> list[dict[str, Any]]:
    return [
        {
            "name": file.name,
            "bytes": len(file.content),
            "sha256": hashlib.sha256(file.content).hexdigest(),
        }
        for file in asked.files
    ]
