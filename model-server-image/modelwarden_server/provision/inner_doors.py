"""The inner doors of a server's pods and of the Jobs that provide for them.

    PUT /internal/v1/assets/{slot}/{source_hash}             the file, as it is
    PUT /internal/v1/assets/{slot}/{source_hash}/failure     {"message": "why", "again": false}
    GET /internal/v1/environments/{hash}                     what to install
    PUT /internal/v1/environments/{hash}                     the archive (tar.gz of a site-packages folder)
    PUT /internal/v1/environments/{hash}/failure             {"message": "why", "again": false}
    GET /internal/v1/server                                  the plan
    GET /internal/v1/server/files/{sha256}                   a file that the plan names
    PUT /internal/v1/server/pods/{pod}                       how far a pod is

A Job's key opens them for one file or one environment alone; the last three are for the cell's key. Must not
decide anything, nor look into what passes through.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from io import BufferedRandom
from typing import Final, TypeVar

import msgspec
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from modelwarden.resources.purposes import ASSETS, ENVIRONMENT
from modelwarden.resources.server import UPLOAD, AssetSlot, PodReport
from modelwarden_server import innerwire
from modelwarden_server.archives import ENVIRONMENT_LIMITS
from modelwarden_server.door.bodies import read_body, read_json
from modelwarden_server.innerwire import PACKAGES, PYTHON
from modelwarden_server.provision.assets import SLOTS, FailedAsset
from modelwarden_server.provision.environments import Arrived, UnknownEnvironmentError
from modelwarden_server.provision.intake import Intake
from modelwarden_server.provision.plan import wanted_assets
from modelwarden_server.provision.pods import Pods
from modelwarden_server.provision.stock import Stock
from modelwarden_server.web import Refusal, check_caller, check_cell_key, json_answer

_POD: Final = re.compile(r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")
_VERSION: Final = re.compile(r"^3\.\d{1,2}(\.\d{1,3})?$")
_MOST_REPORT: Final = 256 << 10
_GZIP: Final = b"\x1f\x8b"
Found = TypeVar("Found")


class _Failure(msgspec.Struct):
    message: str
    again: bool = False


@dataclass
class InnerDoors:
    """`stock` refuses (503) as long as there is none."""

    stock: Callable[[], Stock]
    pods: Pods
    intake: Intake

    def routes(self) -> list[Route]:
        """The routes of these doors."""
        asset = f"{innerwire.ASSETS}/{{slot}}/{{hash}}"
        environment = f"{innerwire.ENVIRONMENTS}/{{hash}}"
        return [
            Route(asset, self.put_asset, methods=["PUT"]),
            Route(f"{asset}/failure", self.fail_asset, methods=["PUT"]),
            Route(environment, self.describe, methods=["GET"]),
            Route(environment, self.put_environment, methods=["PUT"]),
            Route(f"{environment}/failure", self.fail_environment, methods=["PUT"]),
            Route(innerwire.SERVER, self.plan, methods=["GET"]),
            Route(f"{innerwire.SERVER}/files/{{sha256}}", self.file, methods=["GET"]),
            Route(f"{innerwire.SERVER}/pods/{{pod}}", self.hear, methods=["PUT"]),
        ]

    async def put_asset(self, request: Request) -> Response:
        """Take a file in: 200, 400 if it is not what it should be, 409 if it is not wanted."""
        slot, source = self._asset(request)

        def still_wanted() -> None:
            self._check_source(slot, source)

        asset = await self.intake.raw(request, slot, source, still_wanted)
        return json_answer({"sha256": asset.sha256, "bytes": asset.bytes})

    async def fail_asset(self, request: Request) -> Response:
        """Note why a source gives no file."""
        slot, source = self._asset(request)
        told = await read_json(request, _Failure, '{"message": "why"}')
        failure = FailedAsset(source, told.message[:2000], told.again)
        await _stored(asyncio.to_thread(self.stock().assets.fail, slot, failure))
        return json_answer({"message": "noted"})

    async def describe(self, request: Request) -> Response:
        """What to install. A Job that asks begins: what failed before is forgotten."""
        name = _environment(request)
        stock = self.stock()
        wanted = await _stored(asyncio.to_thread(stock.wanted, name))
        record = await _stored(asyncio.to_thread(stock.environments.begin, name))
        return json_answer(
            {
                "hash": name,
                "done": record.installed is not None,
                "requirements": wanted.requirements.text,
                "python": wanted.requirements.python,
                "roles": list(wanted.roles),
            }
        )

    async def put_environment(self, request: Request) -> Response:
        """Take an archive in: 200. Whoever unpacks it checks what is in it."""
        name = _environment(request)
        arrived = _arrived(request)
        stock = self.stock()
        await _stored(asyncio.to_thread(stock.wanted, name))
        content = await self.intake.received(request, ENVIRONMENT_LIMITS.packed_bytes, "the archive")

        def keep(content: BufferedRandom) -> tuple[str, int]:
            content.seek(0)
            if content.read(2) != _GZIP:
                raise Refusal(400, "the archive is no gzip file: send a tar.gz")
            stock.wanted(name)
            installed = stock.environments.take(name, content, arrived, stock.wanted_names())
            stock.tidy()
            return installed.sha256, installed.bytes

        with content:
            sha256, size = await _stored(self.intake.finished(asyncio.to_thread(keep, content)))
        return json_answer({"sha256": sha256, "bytes": size})

    async def fail_environment(self, request: Request) -> Response:
        """Note why there is no archive."""
        name = _environment(request)
        told = await read_json(request, _Failure, '{"message": "why"}')
        stock = self.stock()
        await _stored(asyncio.to_thread(stock.wanted, name))

        def note() -> None:
            stock.environments.fail(name, told.message[-4000:], again=told.again)

        await _stored(asyncio.to_thread(note))
        return json_answer({"message": "noted"})

    async def plan(self, request: Request) -> Response:
        """What a server pod is to run now (ServerPlan)."""
        check_cell_key(request)
        view = await _stored(asyncio.to_thread(self.stock().view))
        return Response(view.plan.model_dump_json(by_alias=True), media_type="application/json")

    async def file(self, request: Request) -> Response:
        """A file, by its hash."""
        check_cell_key(request)
        path = self.stock().files.path(request.path_params["sha256"])
        if path is None:
            raise Refusal(404, "there is no file of this hash: ask for the plan again")
        return FileResponse(path, media_type="application/octet-stream")

    async def hear(self, request: Request) -> Response:
        """Take note of how far a pod is (PodReport)."""
        check_cell_key(request)
        name = request.path_params["pod"]
        body = await read_body(request, _MOST_REPORT)
        try:
            report = PodReport.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise Refusal(400, f"no report of a pod: {where}: {first['msg']}") from None
        if not _POD.match(name) or report.pod != name:
            raise Refusal(400, "the path and the field pod must both hold the pod's name")
        self.pods.hear(report)
        return json_answer({"message": "noted"})

    def _asset(self, request: Request) -> tuple[AssetSlot, str]:
        slot, source = request.path_params["slot"], request.path_params["hash"]
        check_caller(request, ASSETS, f"{slot}_{source}")
        if slot not in SLOTS or source == UPLOAD:
            raise Refusal(404, f"no source of {slot} is loaded by a Job")
        self._check_source(slot, source)
        return slot, source

    def _check_source(self, slot: AssetSlot, source: str) -> None:
        if wanted_assets(self.stock().settings()).get(slot) != source:
            raise Refusal(409, f"{slot} comes from another source now: this Job is of no use")


def _environment(request: Request) -> str:
    name: str = request.path_params["hash"]
    check_caller(request, ENVIRONMENT, name)
    return name


def _arrived(request: Request) -> Arrived:
    python, packages = request.headers.get(PYTHON, ""), request.headers.get(PACKAGES, "")
    if not _VERSION.match(python) or not (packages.isascii() and packages.isdigit() and len(packages) < 7):
        raise Refusal(400, f"send the headers {PYTHON} (3.x.y) and {PACKAGES} (a number)")
    return Arrived(python, int(packages))


async def _stored(work: Awaitable[Found]) -> Found:
    try:
        return await work
    except UnknownEnvironmentError as error:
        raise Refusal(409, str(error)) from None
    except OSError as error:
        raise Refusal(503, f"it could not be stored or read: {error}", retry_after=10) from None
