"""The documented door for reference data: upload, close, look.

POST  /api/v3/models/{id}/reference_data[?dataset=]   multipart, parts `reference_data` or
                                                      `reference_data.parquet`, and `image_data`
PATCH /api/v3/models/{id}/reference_data[?dataset=]   {"status": "uploaded", "total_record_count": N}
GET   /api/v3/models/{id}/reference_data[?dataset=]

Who may call and whether the model is this one is decided before a request comes here.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity, LimitSettings
from modelwarden_server.door.bodies import drain, read_json
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.multipart import (
    FormLimits,
    FormReceiver,
    MultipartError,
    ReceivedFile,
    TooLargeError,
    receive,
)
from modelwarden_server.door.parquet_pieces import OversizedFileError, UnreadableFileError
from modelwarden_server.door.reference_rows import ReferenceRows, ReferenceRules, read_reference
from modelwarden_server.door.space import RESERVE, RESERVE_SHARE
from modelwarden_server.durable import make_folder
from modelwarden_server.schema.compiled import CompiledSchema
from modelwarden_server.store.datasets import Dataset, State
from modelwarden_server.store.delta import CommitError, NotDurableError
from modelwarden_server.store.reference import (
    CountMismatchError,
    DatasetClosedError,
    DatasetError,
    ReferenceStore,
    UnknownDatasetError,
    Upload,
)
from modelwarden_server.web import Refusal, check_model, json_answer

PARTS = ("reference_data", "reference_data.parquet")
IMAGES = "image_data"
STATUS_WORDS: dict[State, str] = {
    "open": "started",
    "closed": "processing",
    "profiled": "completed",
    "failed": "failed",
}
_AT_ONCE = 2
_FULL_PARTS = 4
_WAITING = 32
_LARGE = (TooLargeError, OversizedFileError)
_REFUSED = (DatasetError, MultipartError, UnreadableFileError, TimeoutError, *_LARGE)


class _Close(msgspec.Struct):
    status: str
    total_record_count: int | None = None


@dataclass
class ReferenceDoor:
    """Everything the three requests need. `protect` hashes or masks what must not reach a disk."""

    identity: CellIdentity
    schema: CompiledSchema
    datasets: Callable[[], ReferenceStore]
    """Refuses (503) as long as there are none."""
    uploads: Path
    """A folder on the cell's volume for files that are still arriving."""
    limits: Callable[[], LimitSettings]
    protect: Callable[[pa.RecordBatch], pa.RecordBatch]
    images: Callable[[ReceivedFile | None], FileImages]
    """What the names of images in an upload with this zip mean. Raises UnreadableFileError."""
    imaging: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by an upload with images."""
    reserve: int = RESERVE
    reserve_share: float = RESERVE_SHARE
    """What must stay free on the volume: so many bytes or that share of it, whichever is less."""
    refuse: Callable[[], None] = lambda: None
    """Refuses while nothing is taken in."""
    fatal: Callable[[str], None] = lambda _: None
    """Told when data were published that may not survive a power cut: the process must start anew."""
    _turn: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    inside: int = 0
    """Uploads that are being worked on or wait."""

    def sweep(self) -> None:
        """Remove what a killed process left behind. Whoever calls holds the volume."""
        make_folder(self.uploads)
        for left in self.uploads.iterdir():
            left.unlink()

    def routes(self) -> list[Route]:
        """The routes of this door."""
        path = "/api/v3/models/{id}/reference_data"
        return [
            Route(path, self.upload, methods=["POST"]),
            Route(path, self.close, methods=["PATCH"]),
            Route(path, self.show, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Take files into the open dataset: 207 with counts and failures."""
        check_model(request, self.identity)

        def named() -> str:
            name = self.datasets().addressed(request.query_params.get("dataset"), to_add=True)
            self.datasets().check_uploads(name)
            return name

        return json_answer(await self.receive(request, named, whole=False), 207)

    async def receive(self, request: Request, named: Callable[[], str], *, whole: bool) -> dict[str, Any]:
        """Take the files of a form into the dataset that `named` tells; the documented answer.

        With `whole` a file with a bad row is refused as it is (400). Raises Refusal.
        """
        try:
            self.refuse()
            name = named()
            receiver = self._receiver(request)
        except (DatasetError, MultipartError, Refusal) as error:
            await drain(request.stream(), self.limits().max_file_bytes)
            raise _refusal(error) from None
        if self.inside >= _WAITING:
            raise Refusal(503, "too many uploads at once: try again in a few seconds", retry_after=5)
        self.inside += 1
        try:
            async with AsyncExitStack() as inside:
                await inside.enter_async_context(self._turn)
                files = await receive(receiver, request.stream(), self.limits().max_file_bytes)
                if any(file.part == IMAGES for file in files):
                    await inside.enter_async_context(self.imaging)
                return await asyncio.to_thread(self._take, name, files, whole)
        except NotDurableError as error:
            self.fatal(str(error))
            raise Refusal(503, "the files may not be on the disk: send them again later") from error
        except (*_REFUSED, CommitError, OSError, ClientDisconnect) as error:
            raise _refusal(error) from error
        finally:
            self.inside -= 1

    def _receiver(self, request: Request) -> FormReceiver:
        limits = self.limits()
        form = FormLimits(
            body_bytes=limits.max_file_bytes * min(limits.max_parts, _FULL_PARTS),
            files=limits.max_parts,
            reserve=self.reserve,
            reserve_share=self.reserve_share,
            file_bytes=limits.max_file_bytes,
        )
        return FormReceiver(request.headers.get("content-type", ""), self.uploads, (*PARTS, IMAGES), form)

    async def close(self, request: Request) -> Response:
        """Close the dataset with the stated number of rows: 200, or 400 with both numbers."""
        check_model(request, self.identity)
        wanted = await read_json(request, _Close, '{"status": "uploaded", "total_record_count": N}')
        if wanted.status != "uploaded":
            raise Refusal(400, 'status must be "uploaded": that closes the reference data')
        try:
            name = self.datasets().addressed(request.query_params.get("dataset"), to_add=False)
            await asyncio.to_thread(self.datasets().close, name, wanted.total_record_count)
        except (CountMismatchError, DatasetClosedError) as error:
            raise Refusal(400, str(error)) from None
        except DatasetError as error:
            raise _refusal(error) from None
        return json_answer({"message": "success"})

    async def show(self, request: Request) -> Response:
        """What is known of the dataset: 200, or 404 while there is none."""
        check_model(request, self.identity)
        try:
            name = self.datasets().addressed(request.query_params.get("dataset"), to_add=False)
            return json_answer(described(self.identity.model_id, self.datasets().get(name)))
        except DatasetError as error:
            raise _refusal(error) from None

    def _take(self, name: str, files: Sequence[ReceivedFile], whole: bool) -> dict[str, Any]:
        try:
            rows = [file for file in files if file.part != IMAGES]
            zips = [file for file in files if file.part == IMAGES]
            if not rows or len(zips) > 1:
                raise MultipartError(f"send files in parts {PARTS[0]}, and at most one {IMAGES} beside them")
            images = self.images(zips[0] if zips else None)
            try:
                return self._take_rows(name, rows, images, whole)
            except BaseException:
                images.discard()
                raise
        finally:
            for file in files:
                file.content.close()

    def _take_rows(
        self,
        name: str,
        files: Sequence[ReceivedFile],
        images: FileImages,
        whole: bool,
    ) -> dict[str, Any]:
        store = self.datasets()
        rules = ReferenceRules(self.schema, self.limits(), images)
        counts = {"success": 0, "failure": 0, "total": 0}
        failures: list[dict[str, Any]] = []
        ignored: set[str] = set()
        uploads: list[Upload] = []
        try:
            for file in files:
                told = ReferenceRows()
                rows = read_reference(file, rules, told)
                uploads.append(Upload(file.sha256(), store.stage(name, map(self.protect, rows))))
                counts["success"] += told.total - told.failed
                counts["failure"] += told.failed
                counts["total"] += told.total
                failures += [{"message": reason, "status": 400} for reason in told.reasons]
                ignored.update(told.ignored)
            if whole and counts["failure"]:
                raise UnreadableFileError(
                    f"{counts['failure']} of {counts['total']} rows are not good, the first: "
                    + failures[0]["message"]
                )
            images.sync()
            kept = [upload for upload in uploads if upload.file.rows]
            store.discard(name, [upload.file for upload in uploads if not upload.file.rows])
            store.commit(name, kept)
        except BaseException:
            store.discard(name, [upload.file for upload in uploads])
            raise
        answer: dict[str, Any] = {"counts": counts, "failures": failures}
        if ignored:
            answer["ignored_columns"] = sorted(ignored)
        return answer


def described(model_id: str, dataset: Dataset) -> dict[str, Any]:
    """A dataset in the documented shape, and its name."""
    changed = dataset.closed_at or dataset.created_at
    return {
        "model_id": model_id,
        "dataset": dataset.name,
        "records": dataset.records,
        "partner_record_count": dataset.partner_record_count,
        "status": STATUS_WORDS[dataset.state],
        "created_at": dataset.created_at.isoformat(),
        "updated_at": changed.isoformat(),
    }


def _refusal(error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case UnknownDatasetError():
            return Refusal(404, str(error))
        case DatasetClosedError():
            return Refusal(409, str(error))
        case TooLargeError() | OversizedFileError():
            return Refusal(413, str(error))
        case TimeoutError():
            return Refusal(408, "the files did not arrive in time: send them again")
        case ClientDisconnect():
            return Refusal(400, "the upload broke off: send it again")
        case CommitError() | OSError():
            return Refusal(503, f"the files could not be stored, nothing was taken: {error}", retry_after=10)
        case _:
            return Refusal(400, str(error))
