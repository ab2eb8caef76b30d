"""The ingest sidecar put together: which rooms it has, which loops run beside them, and how it ends.

Must not hold logic of its own.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from starlette.types import ASGIApp

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.auth import Authenticated
from modelwarden_server.httpserver import Address, LastAnswers, serve_until_told, until_idle
from modelwarden_server.podwire import SOCKET
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.sidecar.consumer import Consumer
from modelwarden_server.sidecar.explain import ExplainRoom
from modelwarden_server.sidecar.forward import ForwardRoom
from modelwarden_server.sidecar.health import HealthRoom
from modelwarden_server.sidecar.links import model_server_link, store_link
from modelwarden_server.sidecar.plan import PlanLoop
from modelwarden_server.sidecar.pod import Pod
from modelwarden_server.sidecar.predict import PredictRoom
from modelwarden_server.sidecar.unpack import Place
from modelwarden_server.web import application

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SidecarOptions:
    """What a sidecar is told on its command line."""

    pod: str
    identity: CellIdentity
    settings: SettingsHolder
    store: str
    shared: Path
    """Folder that the model server may read."""
    run: Path
    """Folder of the socket."""
    address: Address
    grace_seconds: float


@dataclass
class Sidecar:
    """A furnished sidecar."""

    pod: Pod
    app: ASGIApp
    plan: PlanLoop
    consumer: Consumer
    forward: ForwardRoom
    predict: PredictRoom

    @property
    def busy(self) -> int:
        """Pieces of work and requests in hand."""
        return self.consumer.busy + self.forward.busy + self.predict.busy


def furnish(pod: Pod, shared: Path) -> Sidecar:
    """Put all rooms and loops of a sidecar together."""
    forward, predict = ForwardRoom(pod), PredictRoom(pod)
    rooms = (HealthRoom(pod), forward, ExplainRoom(pod), predict)
    routes = [route for room in rooms for route in room.routes()]
    app = application(routes)
    served = LastAnswers(Authenticated(app, lambda: pod.settings.key), lambda: pod.ending)
    return Sidecar(pod, served, PlanLoop(pod, Place(shared, pod.store)), Consumer(pod), forward, predict)


async def run_sidecar(options: SidecarOptions) -> int:
    """Serve until the process is told to end; the exit code. Raises ConfigurationError."""
    async with AsyncExitStack() as stack:
        pod = Pod(
            name=options.pod,
            identity=options.identity,
            settings=options.settings,
            store=await stack.enter_async_context(store_link(options.store, lambda: options.settings.key)),
            model_server=await stack.enter_async_context(model_server_link(options.run / SOCKET)),
            started_at=datetime.now(UTC),
        )
        sidecar = furnish(pod, options.shared)
        loops = [asyncio.create_task(sidecar.plan.run()), asyncio.create_task(sidecar.consumer.run())]

        async def end() -> int:
            pod.ending = True
            log.info("ending: %d in hand", sidecar.busy)
            await until_idle(lambda: sidecar.busy, options.grace_seconds)
            return 0 if not sidecar.busy else 1

        try:
            return await serve_until_told(sidecar.app, options.address, end)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
