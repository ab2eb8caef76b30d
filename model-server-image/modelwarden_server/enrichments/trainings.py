"""The inner doors of trainings: a Job learns what to train, fetches rows, brings what it made.

    GET /internal/v1/trainings/{kind}/{hash}               what to train, and the reference's files
    GET /internal/v1/trainings/{kind}/{hash}/files/{file}  one of them
    GET /internal/v1/trainings/{kind}/{hash}/rows          other rows (?column=…), as an Arrow IPC stream
    PUT /internal/v1/trainings/{kind}/{hash}               the artefact
    PUT /internal/v1/trainings/{kind}/{hash}/failure       why there is none

A Job's key opens them for one training alone. Must not know what a kind computes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.purposes import TRAIN
from modelwarden_server.analysis.artefact import unpack
from modelwarden_server.analysis.columns import Column
from modelwarden_server.door.bodies import read_body, read_json
from modelwarden_server.enrichments.installations import (
    Installations,
    OtherBytesError,
    RefusedArtefactError,
    Training,
    UnknownKindError,
    UnwantedTrainingError,
    WaitingError,
)
from modelwarden_server.enrichments.kind import REFERENCE, GivesRows
from modelwarden_server.enrichments.row_pieces import Pieces
from modelwarden_server.innerwire import ARROW_STREAM, TRAININGS
from modelwarden_server.store.datasets import Dataset
from modelwarden_server.store.reference import DatasetError, ReferenceStore
from modelwarden_server.web import Refusal, check_caller, json_answer

MAX_ARTEFACT_BYTES = 32 << 20


class _Failure(msgspec.Struct):
    message: str
    again: bool = False


@dataclass
class TrainingDoor:
    """`installations` and `datasets` refuse (503) as long as there are none."""

    identity: CellIdentity
    columns: Sequence[Column]
    threshold: Callable[[], float]
    installations: Callable[[], Installations]
    datasets: Callable[[], ReferenceStore]
    inside: int = 0
    """Artefacts that are being taken in."""
    _one_artefact: asyncio.Lock = field(default_factory=asyncio.Lock)
    """An artefact may take many megabytes: one at a time."""
    _one_reader: asyncio.Lock = field(default_factory=asyncio.Lock)

    def routes(self) -> list[Route]:
        """The routes of this door."""
        training = f"{TRAININGS}/{{kind}}/{{hash}}"
        return [
            Route(training, self.describe, methods=["GET"]),
            Route(training, self.put_artefact, methods=["PUT"]),
            Route(f"{training}/files/{{file}}", self.file, methods=["GET"]),
            Route(f"{training}/rows", self.rows, methods=["GET"]),
            Route(f"{training}/failure", self.put_failure, methods=["PUT"]),
        ]

    async def describe(self, request: Request) -> Response:
        """What to train. A Job that asks begins: what failed before is forgotten."""
        kind, name = _named(request)
        with _refusing():
            training = await asyncio.to_thread(self.installations().begin, kind, name)
        dataset = self._reference(training)
        return json_answer(
            {
                "kind": kind,
                "inputHash": name,
                "version": training.kind.version,
                "done": training.done,
                "inputs": training.inputs,
                "identity": self.identity.model_dump(mode="json", by_alias=True),
                "classifierThreshold": self.threshold(),
                "records": 0 if dataset is None else dataset.records,
                "files": []
                if dataset is None
                else [{"name": f.name, "bytes": f.bytes, "sha256": f.sha256} for f in dataset.files],
                "columns": self.columns,
            }
        )

    async def file(self, request: Request) -> Response:
        """The bytes of one file of the reference."""
        dataset = self._reference(await self._wanted(request))
        try:
            if dataset is None:
                raise Refusal(404, "this training reads no reference")
            path = self.datasets().path(dataset.name, request.path_params["file"])
        except DatasetError as error:
            raise Refusal(404, str(error)) from None
        return FileResponse(path, media_type="application/vnd.apache.parquet")

    async def rows(self, request: Request) -> Response:
        """The rows that the kind gives its trainings. One Job at a time: another one waits for its turn."""
        training = await self._wanted(request)
        if not isinstance(training.kind, GivesRows):
            raise Refusal(404, f"trainings of {training.kind.name} see the reference only")
        columns = request.query_params.getlist("column")
        try:
            source = await asyncio.to_thread(training.kind.rows, training.inputs, columns)
        except ValueError as error:
            raise Refusal(400, str(error)) from None
        return StreamingResponse(_streamed(Pieces(source), self._one_reader), media_type=ARROW_STREAM)

    async def put_artefact(self, request: Request) -> Response:
        """Take an artefact in use: 200 with its hash; 400 if it is none, 409 if nobody wants it."""
        kind, name = _named(request)
        installations = self.installations()
        self.inside += 1
        try:
            async with self._one_artefact:
                with _refusing():
                    await asyncio.to_thread(installations.training, kind, name)
                    content = await read_body(request, MAX_ARTEFACT_BYTES)
                    artefact_hash = await asyncio.to_thread(_install, installations, (kind, name), content)
        finally:
            self.inside -= 1
        return json_answer({"artefactHash": artefact_hash})

    async def put_failure(self, request: Request) -> Response:
        """Note why a Job could not train."""
        kind, name = _named(request)
        failure = await read_json(request, _Failure, '{"message": "why", "again": false}')
        with _refusing():
            await asyncio.to_thread(
                self.installations().fail, kind, name, failure.message[:1000], again=failure.again
            )
        return json_answer({"message": "noted"})

    async def _wanted(self, request: Request) -> Training:
        kind, name = _named(request)
        with _refusing():
            return await asyncio.to_thread(self.installations().training, kind, name)

    def _reference(self, training: Training) -> Dataset | None:
        content_hash = training.inputs.get(REFERENCE)
        if content_hash is None:
            return None
        found = self.datasets().by_content(content_hash)
        if not found:
            raise Refusal(409, "the reference that this training reads is not there")
        return found[-1]


async def _streamed(pieces: Pieces, turn: asyncio.Lock) -> AsyncIterator[bytes]:
    try:
        async with turn:
            while piece := await asyncio.to_thread(pieces.take):
                yield piece
    finally:
        # Not awaited: where the Job went away, every await here would be cancelled as well.
        asyncio.get_running_loop().run_in_executor(None, pieces.close)


def _named(request: Request) -> tuple[str, str]:
    kind, name = request.path_params["kind"], request.path_params["hash"]
    check_caller(request, TRAIN, f"{kind}_{name}")
    return kind, name


def _install(installations: Installations, training: tuple[str, str], content: bytes) -> str:
    try:
        artefact = unpack(content, MAX_ARTEFACT_BYTES)
    except ValueError as error:
        raise RefusedArtefactError(str(error)) from None
    return installations.install(*training, content, artefact)


@contextmanager
def _refusing() -> Iterator[None]:
    """Tell what the installations say as answers."""
    try:
        yield
    except UnknownKindError as error:
        raise Refusal(404, str(error)) from None
    except RefusedArtefactError as error:
        raise Refusal(400, str(error)) from None
    except (UnwantedTrainingError, OtherBytesError) as error:
        raise Refusal(409, str(error)) from None
    except WaitingError as error:
        raise Refusal(503, str(error), retry_after=5) from None
    except OSError as error:
        raise Refusal(503, f"it could not be stored: {error.strerror}", retry_after=10) from None
