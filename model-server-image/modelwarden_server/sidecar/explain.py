"""The store's way to an explanation that somebody waits for: Arrow in, Arrow out, unread.

Must not queue: what the model server cannot take now is answered with 503 and Retry-After.
"""

from collections.abc import Sequence

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden_server import innerwire
from modelwarden_server.door.bodies import read_large_body
from modelwarden_server.podwire import ASKED, EXPLAIN
from modelwarden_server.refused import retry_after, sentence_of
from modelwarden_server.sidecar.pod import MODEL_SERVER, Pod
from modelwarden_server.web import Refusal, check_cell_key

MOST_BYTES = 16 << 20
SECONDS = 190.0


class ExplainRoom:
    """`POST /internal/v1/explain`."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    def routes(self) -> Sequence[BaseRoute]:
        """See the module's text."""
        return [Route(innerwire.EXPLAIN, self.explain, methods=["POST"])]

    async def explain(self, request: Request) -> Response:
        """Explain the rows of an Arrow stream now. 503 while nothing here can."""
        check_cell_key(request)
        body = await read_large_body(request, MOST_BYTES)
        plan = self._pod.plan
        if plan is None or plan.explain is None:
            waits = "" if plan is None or not plan.waiting_for else f": it waits for {plan.waiting_for[0]}"
            raise Refusal(503, f"nothing is explained here now{waits}", retry_after=10)
        if not self._pod.explains():
            report = self._pod.report_of(plan.explain.code)
            why = "the model server is starting" if report is None else f"the user's code is {report.state}"
            raise Refusal(503, f"nothing can be explained now: {why}", retry_after=5)
        headers = {"Content-Type": innerwire.ARROW_STREAM, ASKED: "1"}
        try:
            answer = await self._pod.model_server.post(
                EXPLAIN, content=bytes(body), headers=headers, timeout=SECONDS
            )
        except httpx.HTTPError as error:
            told = type(error).__name__
            raise Refusal(503, f"the model server does not answer ({told})", retry_after=2) from None
        if answer.status_code == 200:
            return Response(answer.content, media_type=innerwire.ARROW_STREAM)
        raise Refusal(answer.status_code, sentence_of(answer, MODEL_SERVER), retry_after=retry_after(answer))
