"""Is the sidecar alive, may its pod be sent requests, what has it done: `/healthz`, `/readyz`, `/metrics`.

Asks for no key and tells no row values.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.sidecar.reports import exposition, registry, settled

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class HealthRoom:
    """What a pod says of itself to whoever runs it."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._settled = False
        self.metrics = registry(pod)

    def routes(self) -> Sequence[BaseRoute]:
        """See the module's text."""
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/metrics", self.exposed),
        ]

    async def healthz(self, _request: Request) -> Response:
        """200: the loop answers."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """200 once everything of the plan has run or failed: code that cannot run does not hold up a rollout,
        it is reported. From then on 200 until the end, whatever is loaded anew: the pod still takes in rows,
        and predicts with the flow before; what it cannot do for now it answers so. 503 and why before that.
        """
        why = self._unready()
        return PlainTextResponse("ok\n") if why is None else PlainTextResponse(f"{why}\n", 503)

    async def exposed(self, _request: Request) -> Response:
        """Prometheus' text format."""
        return Response(exposition(self.metrics), media_type=_CONTENT_TYPE)

    def _unready(self) -> str | None:
        if self._pod.ending:
            return "the pod is ending"
        if self._settled:
            return None
        if self._pod.plan is None:
            return "the store has not said what is to run"
        if self._pod.running is None:
            return "the model server does not answer"
        self._settled = settled(self._pod)
        return None if self._settled else "the user's code is being loaded"
