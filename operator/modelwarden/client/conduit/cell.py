"""What deploying asks of a model's cell: keep the files, and tell when its pods predict with them.

What this module must not do: know kubectl.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from modelwarden.client.conduit.errors import ConduitError
from modelwarden.client.wire import reason_of, trusted

SECONDS = 600.0


def upload(url: str, key: str, zipped: Path) -> None:
    """Send the bundle to the cell. Raises ConduitError with the cell's own words."""
    with _client(url, key) as http:
        path = f"/api/v3/models/{_model_id(http)}/serving/files"
        with zipped.open("rb") as file:
            try:
                answer = http.put(path, content=file, headers={"Content-Type": "application/zip"})
            except httpx.HTTPError as error:
                raise ConduitError(f"the files could not be sent: {type(error).__name__}: {error}") from None
        if answer.status_code >= 400:
            raise ConduitError(f"the cell did not take the files: {reason_of(answer)}")


def predicting(url: str, key: str, sha256: str, failed: Callable[[str], None]) -> str | None:
    """None when a pod predicts with the files of that hash, else what it waits for. `failed` is told when
    the flow cannot be loaded."""
    with _client(url, key) as http:
        try:
            plan = _json(http, "/internal/v1/server")
            report = _json(http, "/status").get("server") or {}
        except httpx.HTTPError as error:
            return f"the cell does not answer ({type(error).__name__})"
    codes = [code for code in plan.get("codes", []) if code.get("role") == "serve"]
    if not codes or codes[0]["files"]["sha256"] != sha256:
        return ", ".join(plan.get("waitingFor", [])) or "the cell has not taken over the files"
    told = [
        code
        for pod in report.get("pods", [])
        for code in pod.get("codes", [])
        if code.get("role") == "serve" and code.get("codeHash") == codes[0]["codeHash"]
    ]
    for code in told:
        if code["state"] == "Ready":
            return None
        if code["state"] == "Failed":
            failed(f"the flow cannot be loaded: {code.get('message', '')}")
    return f"the flow is {told[0]['state']}" if told else "no pod has the files yet"


def _model_id(http: httpx.Client) -> str:
    return str(_json(http, "/status")["modelId"])


def _json(http: httpx.Client, path: str) -> dict[str, Any]:
    answer = http.get(path)
    if answer.status_code >= 400:
        raise ConduitError(f"the cell answers {answer.status_code} to {path}: {reason_of(answer)}")
    found: dict[str, Any] = answer.json()
    return found


def _client(url: str, key: str) -> httpx.Client:
    timeout = httpx.Timeout(60, write=SECONDS, read=SECONDS)
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=url, headers=headers, timeout=timeout, verify=trusted(url))
