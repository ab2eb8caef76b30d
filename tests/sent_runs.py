"""Runs as a sidecar sends them to the store, for tests of what becomes of predictions."""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx

from modelwarden_server.predictwire import frame

RUNS = "/internal/v1/predictions"


def run(
    points: list[Any],
    results: list[Any] | None,
    *,
    failure: str | None = None,
    ids: list[str] | None = None,
    **head: Any,
) -> bytes:
    """A frame of a run; its ids are new unless they are given."""
    count = len(points) if results is None else len(results)
    header = {
        "run_id": uuid.uuid4().hex,
        "prediction_ids": ids or [uuid.uuid4().hex for _ in range(count)],
        "started": datetime.now(UTC).isoformat(),
        "run_time_ms": 12.5,
        "failure": failure,
    } | head
    buffers = [json.dumps(points).encode()]
    if results is not None:
        buffers.append(json.dumps(results).encode())
    return b"".join(frame(header, buffers))


def send(http: httpx.Client, content: bytes) -> dict[str, Any]:
    """The store's answer."""
    answer = http.post(RUNS, content=content)
    assert answer.status_code == 200, answer.text
    return answer.json()
