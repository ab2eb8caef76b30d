"""HTTP client of the cells: reads /status, declares datasets. Only here the operator speaks to a cell.

A cell's answer is as little trusted as any client's: bounded in size and time, parsed strictly, and its words
are cut before they reach a condition. A silent cell is a value, not an exception.
"""

import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from modelwarden.reconcile.ports import DatasetWish, Key, Refusal, Silence
from modelwarden.reconcile.reasons import Reason
from modelwarden.resources.report import ReferenceReport, StatusReport

_MOST_BYTES = 4 * 1024 * 1024


class _Error(BaseModel):
    error: str


class HttpCells:
    """`endpoint`: the URL of a model's cell; `timeout` in seconds, for each part of a request."""

    def __init__(self, endpoint: Callable[[Key], str], timeout: float) -> None:
        self._endpoint = endpoint
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=30)
        # A cell is reached directly, whatever proxy the pod is given for the outside world.
        # Cells speak plain HTTP inside the cluster; loading all public certificates costs 0.2 s and 5 MB.
        none = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client = httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False, verify=none)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def status(self, key: Key, cell_key: str) -> StatusReport | Silence:
        answer = await self._ask("GET", key, "/status", cell_key)
        if isinstance(answer, Silence):
            return answer
        status, body = answer
        if status != 200:
            return _odd(status)
        try:
            return StatusReport.from_json(body)
        except ValueError:
            return Silence(Reason.STORE_UNREACHABLE, "The store's /status is not what this version expects")

    async def declare(
        self, key: Key, cell_key: str, dataset: str, wish: DatasetWish
    ) -> ReferenceReport | Refusal | Silence:
        body: dict[str, object] = {"closed": wish.closed, "totalRecordCount": wish.total}
        if wish.source_hash is not None:
            body["sourceHash"] = wish.source_hash
        path = f"/internal/v1/datasets/{quote(dataset, safe='')}"
        answer = await self._ask("PUT", key, path, cell_key, body)
        if isinstance(answer, Silence):
            return answer
        status, content = answer
        if status in (400, 409, 422):
            return Refusal(status, _sentence(content))
        if status != 200:
            return _odd(status)
        try:
            return ReferenceReport.model_validate_json(content)
        except ValueError:
            return Silence(Reason.STORE_UNREACHABLE, "The store's answer is not what this version expects")

    async def _ask(
        self, method: str, key: Key, path: str, cell_key: str, body: object = None
    ) -> tuple[int, bytes] | Silence:
        url = self._endpoint(key) + path
        headers = {"Authorization": f"Bearer {cell_key}"}
        try:
            async with self._client.stream(method, url, headers=headers, json=body) as response:
                content = b""
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        return Silence(Reason.STORE_UNREACHABLE, "The store's answer is too long")
                return response.status_code, content
        except httpx.TimeoutException:
            return Silence(Reason.STORE_UNREACHABLE, "The store did not answer in time")
        except httpx.HTTPError:
            return Silence(Reason.STORE_UNREACHABLE, "The store's address does not answer")


def _odd(status: int) -> Silence:
    if status == 401:
        text = "The store does not accept the cell's key: it may run with an older one until it is restarted"
        return Silence(Reason.STORE_REFUSES_KEY, text)
    return Silence(Reason.STORE_UNREACHABLE, f"The store answers with status {status}")


def _sentence(body: bytes) -> str:
    """The `error` of an error body; nothing if it is none."""
    try:
        return _Error.model_validate_json(body).error
    except ValueError:
        return "no reason given"
