"""Who may call: the cell's key opens everything, a Job's key its internal routes, nothing else anything.

Pure ASGI: it looks at the headers before a byte of the body is read. Must not log what was presented.
"""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from modelwarden.resources.keys import presented_key, same_key, verify_job_key
from modelwarden_server.innerwire import INNER
from modelwarden_server.web import Caller, error_answer

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
JOB_PATHS = f"{INNER}/"


class Authenticated:
    """Lets a request pass with `scope["caller"]` set, or answers 401 or 403."""

    def __init__(self, app: ASGIApp, key: Callable[[], str]) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        caller = self._caller(scope)
        if caller is None:
            await error_answer(401, "unauthorized")(scope, receive, send)
        elif caller.claim is not None and not scope["path"].startswith(JOB_PATHS):
            await error_answer(403, f"a Job's key opens {JOB_PATHS} only")(scope, receive, send)
        else:
            scope["caller"] = caller
            await self._app(scope, receive, send)

    def _caller(self, scope: Scope) -> Caller | None:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(headers) != 1:
            return None
        presented = presented_key(headers[0].decode("latin-1"))
        key = self._key()
        if key and same_key(key, presented):
            return Caller()
        claim = verify_job_key(key, presented) if key else None
        return None if claim is None else Caller(claim)
