"""The inner doors through which a Job loads a reference dataset from its source.

POST /internal/v1/datasets/{name}/source/{hash}/begin     what an attempt before brought is removed
POST /internal/v1/datasets/{name}/source/{hash}/files     multipart as the documented door; all rows or none
PUT  /internal/v1/datasets/{name}/source/{hash}/loaded    {"records": N}: that was all
PUT  /internal/v1/datasets/{name}/source/{hash}/failure   {"message": "why"}

A Job's key opens these for one dataset and one source alone. The operator closes the dataset afterwards.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.purposes import REFERENCE
from modelwarden_server.door.bodies import read_json
from modelwarden_server.door.reference import ReferenceDoor
from modelwarden_server.innerwire import DATASETS
from modelwarden_server.store.reference import DatasetError, UnknownDatasetError
from modelwarden_server.web import Refusal, check_caller, json_answer


class _Loaded(msgspec.Struct):
    records: int


class _Failure(msgspec.Struct):
    message: str


@dataclass
class SourceDoor:
    """What a Job does is done to the datasets of `door`."""

    door: ReferenceDoor

    def routes(self) -> list[Route]:
        """The routes of this door."""
        source = f"{DATASETS}/{{name}}/source/{{hash}}"
        return [
            Route(f"{source}/begin", self.begin, methods=["POST"]),
            Route(f"{source}/files", self.files, methods=["POST"]),
            Route(f"{source}/loaded", self.loaded, methods=["PUT"]),
            Route(f"{source}/failure", self.failure, methods=["PUT"]),
        ]

    async def begin(self, request: Request) -> Response:
        """Begin with no rows: 200, or 409 if this is not the dataset's source any more."""
        name, source = _claimed(request)
        await self._done(self.door.datasets().begin_load, name, source)
        return json_answer({"message": "success"})

    async def files(self, request: Request) -> Response:
        """Take files in: 207 with counts, or 400 with the first bad row."""
        name, source = _claimed(request)

        def named() -> str:
            self.door.datasets().check_source(name, source)
            return name

        return json_answer(await self.door.receive(request, named, whole=True), 207)

    async def loaded(self, request: Request) -> Response:
        """All rows are in: 200, or 409 if there are not as many as the Job has sent."""
        name, source = _claimed(request)
        told = await read_json(request, _Loaded, '{"records": N}')
        await self._done(self.door.datasets().loaded, name, source, told.records)
        return json_answer({"message": "success"})

    async def failure(self, request: Request) -> Response:
        """Note why the source cannot be loaded."""
        name, source = _claimed(request)
        told = await read_json(request, _Failure, '{"message": "why"}')
        await self._done(self.door.datasets().load_failed, name, source, told.message[:1000])
        return json_answer({"message": "noted"})

    async def _done(self, work: Callable[..., object], *arguments: Any) -> None:
        try:
            await asyncio.to_thread(work, *arguments)
        except UnknownDatasetError as error:
            raise Refusal(404, str(error)) from None
        except DatasetError as error:
            raise Refusal(409, str(error)) from None
        except OSError as error:
            raise Refusal(503, f"the dataset could not be stored: {error}", retry_after=10) from None


def _claimed(request: Request) -> tuple[str, str]:
    """Dataset and source of the path. Refuses a Job whose key is for others: no name holds a `_`."""
    name, source = request.path_params["name"], request.path_params["hash"]
    check_caller(request, REFERENCE, f"{name}_{source}")
    return name, source
