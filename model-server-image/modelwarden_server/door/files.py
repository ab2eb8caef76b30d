"""`POST /api/v3/models/{id}/inferences/file`: a file of inferences or of labels in, durable, then 207.

Parts: `inference_data` or `ground_truth_data` (parquet, a JSON list, JSON lines); `batch_id` for rows that
name no batch themselves (empty means none; a row's own wins); `image_data`, a zip of the images that rows
name. The upload lies on the volume without a name until it is judged; only what is to be kept is written
under one. Here are the order of things and their limits; rows are judged in `file_intake`.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.cell import CellSettings
from modelwarden_server.cell import Cell
from modelwarden_server.door.admission import check_open, row_limits
from modelwarden_server.door.bodies import drain
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.file_intake import FileIntake, Taken, Upload
from modelwarden_server.door.file_rows import FileRules, inferences_of, labels_of
from modelwarden_server.door.image_zip import ImageZip, ZipLimits
from modelwarden_server.door.images import ImageRoom
from modelwarden_server.door.intake import Shut
from modelwarden_server.door.labels import LabelRoom
from modelwarden_server.door.multipart import (
    FormLimits,
    FormReceiver,
    MultipartError,
    ReceivedFile,
    TooLargeError,
    receive,
)
from modelwarden_server.door.parquet_pieces import OversizedFileError, UnreadableFileError
from modelwarden_server.durable import make_folder
from modelwarden_server.schema.parsed import BodyError, Limits, TooManyRowsError
from modelwarden_server.schema.scalars import ValueProblem, take_id
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal, check_model, json_answer

log = logging.getLogger(__name__)
INFERENCES, LABELS, IMAGES, BATCH_FIELD = "inference_data", "ground_truth_data", "image_data", "batch_id"
_RECEIVED_AT_ONCE = 4
_WAITING = 32
_FORM_BYTES = 1 << 20
_ANY_ROWS = 1 << 62
_BAD = (MultipartError, BodyError, UnreadableFileError)
_LARGE = (TooLargeError, OversizedFileError, TooManyRowsError)


class FileRoom:
    """The door for files. `shut` tells which batches take no more rows; `labels` is attached before."""

    def __init__(self, cell: Cell, images: ImageRoom, labels: LabelRoom, shut: Shut) -> None:
        self._cell, self._images, self._labels, self._shut = cell, images, labels, shut
        self._uploads: Path = cell.folder / "uploads"
        self._intake: FileIntake | None = None
        self._secret = b""
        self._receiving = asyncio.Semaphore(_RECEIVED_AT_ONCE)
        self._judging = asyncio.Lock()
        self._inside = 0
        self._tasks: set[asyncio.Task[Response]] = set()

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        return [Route("/api/v3/models/{id}/inferences/file", self.post, methods=["POST"])]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        make_folder(self._uploads)
        self._secret = store.secret
        self._intake = FileIntake(store, self._labels.intake, self._shut, partial(check_open, self._cell))
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        return {}

    def close(self) -> None:
        """See Room."""

    @property
    def busy(self) -> int:
        """Uploads that are being worked on or wait."""
        return self._inside

    async def settle(self) -> None:
        """Wait until the files that were handed to the log are durable, or failed."""
        if self._intake is not None:
            waiting = map(asyncio.wrap_future, self._intake.appended)
            await asyncio.gather(*waiting, return_exceptions=True)

    async def post(self, request: Request) -> Response:
        """Take a file in: 207 with counts and failures, or an error for the file as a whole."""
        check_model(request, self._cell.identity)
        try:
            check_open(self._cell)
            if self._inside >= _WAITING:
                raise Refusal(503, "too many uploads at once: send this one again later", retry_after=5)
            receiver = self._receiver(request)
        except (MultipartError, Refusal) as error:
            # Who is answered while still sending may see a broken connection instead of the answer.
            await drain(request.stream(), self._cell.settings.current.ingest.limits.max_file_bytes)
            raise _refusal(error) from None
        self._inside += 1
        started, status = time.perf_counter(), 500
        try:
            answer = await self._received(request, receiver)
            status = answer.status_code
        except (Refusal, *_BAD, *_LARGE, OSError, TimeoutError, ClientDisconnect, pa.ArrowException) as error:
            refusal = _refusal(error)
            status = refusal.status
            raise refusal from error
        finally:
            self._inside -= 1
            self._cell.metrics.requests.labels(str(status)).observe(time.perf_counter() - started)
        return answer

    def _receiver(self, request: Request) -> FormReceiver:
        limits = self._cell.settings.current.ingest.limits
        form = FormLimits(
            body_bytes=2 * limits.max_file_bytes + _FORM_BYTES,
            file_bytes=limits.max_file_bytes,
            files=min(2, limits.max_parts),
        )
        kind = request.headers.get("content-type", "")
        return FormReceiver(kind, self._uploads, (INFERENCES, LABELS, IMAGES), form)

    async def _received(self, request: Request, receiver: FormReceiver) -> Response:
        most = self._cell.settings.current.ingest.limits.max_file_bytes
        async with self._receiving:
            files = await receive(receiver, request.stream(), most)
        # Whether or not the client waits for the answer, rows that were begun are finished.
        return await self._finished(self._judged(files, receiver.fields.get(BATCH_FIELD, b"")))

    async def _finished(self, work: Coroutine[Any, Any, Response]) -> Response:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _judged(self, files: Sequence[ReceivedFile], batch: bytes) -> Response:
        try:
            async with self._judging, self._images.uploads:
                check_open(self._cell)
                taken = await self._take(files, batch)
        finally:
            for file in files:
                file.content.close()
        self._count(taken, of_labels=any(file.part == LABELS for file in files))
        return json_answer(taken.answer.body(), 207)

    async def _take(self, files: Sequence[ReceivedFile], batch: bytes) -> Taken:
        assert self._intake is not None
        rows, images = _parts(files)
        settings, taken = self._cell.settings.current, Taken()
        unpacked = None if images is None else await asyncio.to_thread(_opened, images, settings)
        upload = Upload(
            settings,
            FileImages(self._images.images, unpacked, self._cell.schema.data, settings.sensitivity),
            self._secret,
            self._cell.store.arrival(),
        )
        rules = FileRules(self._cell.schema, self._limits(settings, batch), settings.ingest.limits)
        if rows.part == INFERENCES:
            inferences = await asyncio.to_thread(inferences_of, rows, rules)
            taken.answer.ignored = inferences.ignored
            await self._intake.take_inferences(inferences.pieces, upload, taken)
        else:
            labels = await asyncio.to_thread(labels_of, rows, rules)
            taken.answer.ignored = labels.ignored
            await self._intake.take_labels(labels.pieces, upload, taken)
        return taken

    def _limits(self, settings: CellSettings, batch: bytes) -> Limits:
        try:
            name = take_id(batch.decode(), required=False)
        except (ValueProblem, UnicodeDecodeError) as problem:
            raise BodyError(f"batch_id: {problem}") from None
        if name is not None and not self._cell.schema.is_batch:
            raise BodyError("batch_id: must be left out, this is not a batch model (spec.isBatch)")
        return replace(row_limits(self._cell, settings), rows=_ANY_ROWS, batch=name)

    def _count(self, taken: Taken, of_labels: bool) -> None:
        if of_labels:
            labels = self._cell.metrics.labels
            labels.labels("accepted").inc(taken.accepted)
            labels.labels("repeated").inc(taken.repeated)
            labels.labels("sampled_out").inc(taken.left_out)
            labels.labels("refused").inc(taken.refused + taken.conflicts)
            return
        rows = self._cell.metrics.rows
        rows.labels("accepted").inc(taken.accepted)
        rows.labels("repeated").inc(taken.repeated)
        rows.labels("sampled_out").inc(taken.left_out)
        rows.labels("refused").inc(taken.refused)
        rows.labels("conflict").inc(taken.conflicts)
        if taken.refused + taken.conflicts:
            self._cell.store.ledger.refused(taken.refused, taken.conflicts)


def _parts(files: Sequence[ReceivedFile]) -> tuple[ReceivedFile, ReceivedFile | None]:
    """The part with rows, and the one with images if there is one."""
    rows = [file for file in files if file.part != IMAGES]
    images = [file for file in files if file.part == IMAGES]
    if len(rows) != 1 or len(images) > 1:
        raise MultipartError(
            f"send one part {INFERENCES} or {LABELS} in a request, and at most one {IMAGES} beside it"
        )
    return rows[0], images[0] if images else None


def _opened(images: ReceivedFile, settings: CellSettings) -> ImageZip:
    if not images.size:
        raise UnreadableFileError(f"the part {IMAGES} is empty: send the zip again")
    limits = settings.ingest.limits
    return ImageZip(images.content, ZipLimits(limits.max_zip_entries, limits.max_decompressed_bytes))


def _refusal(error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case TooLargeError() | OversizedFileError() | TooManyRowsError():
            return Refusal(413, str(error))
        case TimeoutError():
            return Refusal(408, "the file did not arrive in time: send it again")
        case ClientDisconnect():
            return Refusal(400, "the upload broke off: send it again")
        case OSError() | pa.ArrowException():
            return Refusal(503, f"the file could not be stored, nothing was taken: {error}", retry_after=10)
        case _:
            return Refusal(400, str(error))
