"""The documented door for reference data: upload, close, look.

POST  /api/v3/models/{id}/reference_data[?dataset=]   multipart, parts `reference_data` or
`reference_data.parquet` PATCH /api/v3/models/{id}/reference_data[?dataset=]   {"status": "uploaded",
"total_record_count": N} GET   /api/v3/models/{id}/reference_data[?dataset=]

Who may call and whether the model is this one is decided before a request comes here.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.door.bodies import drain, read_json
from modelwarden_server.door.multipart import (
    FormLimits,
    FormReceiver,
    MultipartError,
    ReceivedFile,
    TooLargeError,
    receive,
)
from modelwarden_server.door.reference_rows import ReferenceFileError, ReferenceRows, read_reference
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
STATUS_WORDS: dict[State, str] = {
    "open": "started",
    "closed": "processing",
    "profiled": "completed",
    "failed": "failed",
}
_AT_ONCE = 2
_WAITING = 32
_REFUSED = (DatasetError, MultipartError, TooLargeError, ReferenceFileError, TimeoutError)


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
    limits: FormLimits
    string_length: Callable[[], int]
    protect: Callable[[pa.RecordBatch], pa.RecordBatch]
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
        try:
            self.refuse()
            name = self.datasets().addressed(request.query_params.get("dataset"), to_add=True)
            receiver = FormReceiver(request.headers.get("content-type", ""), self.uploads, PARTS, self.limits)
        except (DatasetError, MultipartError, Refusal) as error:
            await drain(request.stream(), self.limits.body_bytes)
            raise _refusal(error) from None
        if self.inside >= _WAITING:
            raise Refusal(503, "too many uploads at once: try again in a few seconds", retry_after=5)
        self.inside += 1
        try:
            async with self._turn:
                files = await receive(receiver, request.stream())
                answer = await asyncio.to_thread(self._take, name, files)
        except NotDurableError as error:
            self.fatal(str(error))
            raise Refusal(503, "the files may not be on the disk: send them again later") from error
        except (*_REFUSED, CommitError, OSError, ClientDisconnect) as error:
            raise _refusal(error) from error
        finally:
            self.inside -= 1
        return json_answer(answer, 207)

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

    def _take(self, name: str, files: Sequence[ReceivedFile]) -> dict[str, Any]:
        store = self.datasets()
        counts = {"success": 0, "failure": 0, "total": 0}
        failures: list[dict[str, Any]] = []
        ignored: set[str] = set()
        uploads: list[Upload] = []
        try:
            for file in files:
                told = ReferenceRows()
                rows = read_reference(file.content, file.head, self.schema, self.string_length(), told)
                uploads.append(Upload(file.sha256(), store.stage(name, map(self.protect, rows))))
                counts["success"] += told.total - told.failed
                counts["failure"] += told.failed
                counts["total"] += told.total
                failures += [{"message": reason, "status": 400} for reason in told.reasons]
                ignored.update(told.ignored)
            kept = [upload for upload in uploads if upload.file.rows]
            store.discard(name, [upload.file for upload in uploads if not upload.file.rows])
            store.commit(name, kept)
        except BaseException:
            store.discard(name, [upload.file for upload in uploads])
            raise
        finally:
            for file in files:
                file.content.close()
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
        case TooLargeError():
            return Refusal(413, str(error))
        case TimeoutError():
            return Refusal(408, "the files did not arrive in time: send them again")
        case ClientDisconnect():
            return Refusal(400, "the upload broke off: send it again")
        case CommitError() | OSError():
            return Refusal(503, f"the files could not be stored, nothing was taken: {error}", retry_after=10)
        case _:
            return Refusal(400, str(error))
