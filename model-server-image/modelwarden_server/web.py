"""What all routes share: the application over them, answers to errors, who is calling, is this our model.

Must not hold a route. Every error is `{"error": "<sentence that names the field and says what to do>"}`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.keys import JobClaim

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """An answer other than success, raised from anywhere below a route."""

    def __init__(self, status: int, sentence: str, *, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: whoever has the cell's key (`claim` is None), or one Job."""

    claim: JobClaim | None = None


def json_answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON of plain values, dataclasses and msgspec structs. Numbers must be finite."""
    return Response(_encode(content), status, headers, media_type="application/json")


def error_answer(status: int, sentence: str, retry_after: int | None = None) -> Response:
    """`{"error": sentence}`, with Retry-After (seconds) if the same request may succeed later."""
    headers = None if retry_after is None else {"Retry-After": str(retry_after)}
    return json_answer({"error": sentence}, status, headers)


def application(routes: Sequence[BaseRoute]) -> Starlette:
    """These routes, with every error told as a sentence in JSON."""
    handlers = {Refusal: on_refusal, HTTPException: _on_http_exception, Exception: _on_bug}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return app


async def on_refusal(_request: Request, error: Exception) -> Response:
    """Starlette's handler of Refusal."""
    assert isinstance(error, Refusal)
    return error_answer(error.status, error.sentence, error.retry_after)


async def _on_bug(request: Request, error: Exception) -> Response:
    """Starlette's handler of everything else: a fault of ours, told without its details."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_answer(500, f"a fault of the server ({type(error).__name__}): its log tells more")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's handler of its own errors: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    sentence = {
        404: f"there is no {request.url.path} here",
        405: f"{request.method} is not possible on {request.url.path}",
    }.get(error.status_code, str(error.detail))
    answer = error_answer(error.status_code, sentence)
    answer.headers.update(error.headers or {})
    return answer


def check_model(request: Request, identity: CellIdentity) -> None:
    """Refuse (404) a path whose `{id}` is not this cell's model.

    `{id}` is the model's UUID, or its partner model id with `?id_type=partner_model_id`.
    """
    asked = request.path_params["id"]
    kind = request.query_params.get("id_type", "id")
    match kind:
        case "id":
            known = identity.model_id
        case "partner_model_id":
            known = identity.partner_model_id or identity.name
        case _:
            raise Refusal(400, "id_type must be id or partner_model_id")
    if asked != known:
        raise Refusal(404, f"there is no model with this {kind} here")


def check_caller(request: Request, purpose: str, input_hash: str) -> None:
    """Refuse (403) a Job whose key is for something else. Whoever has the cell's key may do all of it."""
    caller = request.scope["caller"]
    assert isinstance(caller, Caller)
    if caller.claim is not None and caller.claim != JobClaim(purpose, input_hash):
        raise Refusal(403, "this key is good for another Job")


def check_cell_key(request: Request) -> None:
    """Refuse (403) all Jobs: this is for whoever has the cell's key."""
    caller = request.scope["caller"]
    assert isinstance(caller, Caller)
    if caller.claim is not None:
        raise Refusal(403, "this key is good for a Job only")
