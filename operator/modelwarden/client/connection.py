"""The line to one model's server, and what it says of itself.

What this module must not do: know rows, or questions.
"""

from types import TracebackType
from typing import Any, Self

import httpx

from modelwarden.client.errors import CellError, ClientError
from modelwarden.client.wire import Clock, Patience, Request, Wire, http_client


class Connection:
    """One model's server.

    Args:
        url: where it listens, for example `http://localhost:8080`.
        key: its key: the field `key` of the Secret `<model>-key`.
        model_id: the model's id (a UUID); asked of the cell when left out.
        patience: how long a request is tried again when the cell says that it is busy.
        http: an httpx client of your own (proxies, certificates, tests); its base_url and headers are used
            as they are.
    """

    def __init__(
        self,
        url: str,
        key: str,
        model_id: str | None = None,
        *,
        patience: Patience | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ClientError(f"the url must begin with http:// or https://, not {url!r}")
        if not key.strip():
            raise ClientError("the key is empty: it is the field `key` of the Secret <model>-key")
        self._wire = Wire(http or http_client(url, key.strip()), patience or Patience(), Clock())
        self._model_id = model_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._wire.close()

    @property
    def model_id(self) -> str:
        """The model's id; asked of the cell once if it was not given."""
        if self._model_id is None:
            self._model_id = str(self.status()["modelId"])
        return self._model_id

    def status(self) -> dict[str, Any]:
        """What the cell says of itself: rows and labels taken in, stored and waiting, references, batches,
        the newest window's drift.
        """
        return self._object(Request("GET", "/status", repeatable=True))

    def _path(self, rest: str) -> str:
        return f"/api/v3/models/{self.model_id}{rest}"

    def _request(self, method: str, path: str, body: Any = None) -> Request:
        return Request(method, self._path(path), repeatable=True, json=body)

    def _answer(self, request: Request) -> Any:
        answer = self._wire.ask(request)
        try:
            return answer.json()
        except ValueError:
            return None

    def _object(self, request: Request) -> dict[str, Any]:
        body = self._answer(request)
        if not isinstance(body, dict):
            where = f"{request.method} {request.path}"
            raise CellError(f"{where}: the answer is no JSON object: is this a cell?", 200)
        return body
