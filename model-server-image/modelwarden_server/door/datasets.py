"""The inner doors of reference datasets: the operator declares and closes them, a Job fetches one and brings
its profile.

    PUT /internal/v1/datasets/{name}                          the operator (cell's key)
    GET /internal/v1/datasets/{name}/files[/{file}]           a profile Job (a key for that content alone)
    PUT, GET /internal/v1/artefacts/profile/{content_hash}    a profile Job
    PUT /internal/v1/artefacts/profile/{content_hash}/failure a profile Job

Who may call is decided before a request comes here; that a Job's key fits the dataset, here.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from modelwarden.resources.purposes import PROFILE
from modelwarden.resources.report import ReferenceReport
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.profile_format import ProfileFormatError, check_against, from_json
from modelwarden_server.door.bodies import read_body, read_json
from modelwarden_server.innerwire import DATASETS, PROFILES
from modelwarden_server.store.artefacts import ArtefactStore
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.store.reference import (
    DatasetError,
    ReferenceStore,
    UnknownDatasetError,
)
from modelwarden_server.web import Refusal, check_caller, json_answer

MAX_PROFILE_BYTES = 64 << 20


class _Declare(msgspec.Struct, rename="camel"):
    closed: bool = False
    total_record_count: int | None = None
    source_hash: str | None = None


class _Failure(msgspec.Struct):
    message: str


@dataclass
class DatasetDoor:
    """`columns` are those of a profile of this model; `settled` is called when a dataset got its profile."""

    datasets: Callable[[], ReferenceStore]
    """Refuses (503) as long as there are none."""
    artefacts: ArtefactStore
    columns: Sequence[Column]
    settled: Callable[[], None]

    def routes(self) -> list[Route]:
        """The routes of this door."""
        dataset, profile = f"{DATASETS}/{{name}}", f"{PROFILES}/{{content_hash}}"
        return [
            Route(dataset, self.declare, methods=["PUT"]),
            Route(f"{dataset}/files", self.files, methods=["GET"]),
            Route(f"{dataset}/files/{{file}}", self.file, methods=["GET"]),
            Route(profile, self.put_profile, methods=["PUT"]),
            Route(profile, self.get_profile, methods=["GET"]),
            Route(f"{profile}/failure", self.put_failure, methods=["PUT"]),
        ]

    async def declare(self, request: Request) -> Response:
        """Make the dataset known, and close it if that is asked: 200 with the dataset, 409
        if it cannot close.
        """
        if request.scope["caller"].claim is not None:
            raise Refusal(403, "a Job's key does not declare datasets")
        name = request.path_params["name"]
        example = '{"closed": false, "totalRecordCount": null, "sourceHash": null}'
        wanted = await read_json(request, _Declare, example)
        try:
            dataset = await asyncio.to_thread(self._declare, name, wanted)
        except DatasetError as error:
            known = name in {dataset.name for dataset in self.datasets().all()}
            raise Refusal(409 if known else 400, str(error)) from None
        except OSError as error:
            raise Refusal(503, f"the dataset could not be stored: {error}", retry_after=10) from None
        return json_answer(reported(dataset).model_dump(mode="json", by_alias=True))

    async def files(self, request: Request) -> Response:
        """The files of a closed dataset, with what a Job must know to profile them."""
        dataset = self._closed(request)
        return json_answer(
            {
                "contentHash": dataset.content_hash,
                "records": dataset.records,
                "files": [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in dataset.files],
                "columns": self.columns,
            }
        )

    async def file(self, request: Request) -> Response:
        """The bytes of one file."""
        dataset = self._closed(request)
        try:
            path = self.datasets().path(dataset.name, request.path_params["file"])
        except DatasetError as error:
            raise Refusal(404, str(error)) from None
        return FileResponse(path, media_type="application/vnd.apache.parquet")

    async def put_profile(self, request: Request) -> Response:
        """Keep a profile: 200 with its hash. 400 if it is none of this dataset."""
        content_hash = self._claimed(request)
        content = await read_body(request, MAX_PROFILE_BYTES)
        try:
            profile_hash = await asyncio.to_thread(self._keep, content_hash, content)
        except ProfileFormatError as error:
            raise Refusal(400, str(error)) from None
        except UnknownDatasetError as error:
            raise Refusal(404, str(error)) from None
        except OSError as error:
            raise Refusal(503, f"the profile could not be stored: {error}", retry_after=10) from None
        self.settled()
        return json_answer({"profileHash": profile_hash})

    async def get_profile(self, request: Request) -> Response:
        """The profile of that content: 200, or 404 while there is none."""
        found = self.datasets().by_content(self._claimed(request))
        profiled = next((d.profile_hash for d in reversed(found) if d.profile_hash), None)
        content = await asyncio.to_thread(self.artefacts.get, PROFILE, profiled) if profiled else None
        if profiled is None or content is None:
            raise Refusal(404, "there is no profile of this content yet")
        return Response(content, media_type="application/json", headers={"X-Profile-Hash": profiled})

    async def put_failure(self, request: Request) -> Response:
        """Note why a Job could not profile the dataset."""
        content_hash = self._claimed(request)
        failure = await read_json(request, _Failure, '{"message": "why"}')
        try:
            await asyncio.to_thread(self.datasets().failed, content_hash, failure.message[:1000])
        except UnknownDatasetError as error:
            raise Refusal(404, str(error)) from None
        return json_answer({"message": "noted"})

    def _declare(self, name: str, wanted: _Declare) -> Dataset:
        dataset = self.datasets().declare(name, wanted.source_hash)
        # What a Job loads is closed by the first declaration after it is complete.
        closing = wanted.closed and dataset.is_complete
        return self.datasets().close(name, wanted.total_record_count) if closing else dataset

    def _closed(self, request: Request) -> Dataset:
        try:
            dataset = self.datasets().get(request.path_params["name"])
        except UnknownDatasetError as error:
            raise Refusal(404, str(error)) from None
        if dataset.content_hash is None:
            raise Refusal(409, f"dataset {dataset.name} is not closed yet")
        check_caller(request, PROFILE, dataset.content_hash)
        return dataset

    def _claimed(self, request: Request) -> str:
        content_hash: str = request.path_params["content_hash"]
        check_caller(request, PROFILE, content_hash)
        return content_hash

    def _keep(self, content_hash: str, content: bytes) -> str:
        found = self.datasets().by_content(content_hash)
        if not found:
            raise UnknownDatasetError("no closed reference dataset has this content hash")
        check_against(from_json(content), content_hash, found[-1].records, self.columns)
        profile_hash = self.artefacts.put(PROFILE, content)
        self.datasets().profiled(content_hash, profile_hash)
        return profile_hash


def reported(dataset: Dataset) -> ReferenceReport:
    """A dataset as `/status` shows it."""
    return ReferenceReport(
        name=dataset.name,
        state=dataset.state,
        records=dataset.records,
        partner_record_count=dataset.partner_record_count,
        content_hash=dataset.content_hash,
        profile_hash=dataset.profile_hash,
        message=dataset.message,
        source_hash=dataset.source_hash,
        loaded=dataset.loaded,
        created_at=dataset.created_at,
        closed_at=dataset.closed_at,
    )
