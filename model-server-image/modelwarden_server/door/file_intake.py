"""An uploaded file on its way into the store: each piece judged, protected and staged, then one log entry.

All rows of a file become durable together or none does. Reading and writing happen in threads, the question
for ids on the event loop. Must not read files or know HTTP's forms.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.cell import CellSettings
from modelwarden_server.door.durability import check_room
from modelwarden_server.door.file_ids import Asked, Mask, Verdicts, judged
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.file_rows import constants
from modelwarden_server.door.intake import CONFLICT, FORGOTTEN, Shut, closed_reason
from modelwarden_server.door.label_intake import IdentifiedLabels, LabelIntake, LabelUpload, LabelVerdicts
from modelwarden_server.door.sampling import sampled
from modelwarden_server.door.told import FileAnswer
from modelwarden_server.log.protocol import Kind, LogFailedError, LogFullError, Record
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, GENERATION, ID, INSTANT
from modelwarden_server.schema.digest import Words
from modelwarden_server.schema.parsed import ParsedLabels, ParsedRows
from modelwarden_server.schema.sensitive import protect
from modelwarden_server.store.id_overlay import Overlay
from modelwarden_server.store.staged import StagedFile, StagedWriter, TableName
from modelwarden_server.store.store import Store
from modelwarden_server.web import Refusal

Source = Iterator[ParsedRows]


@dataclass(frozen=True)
class Upload:
    """What goes with one file: the settings at its arrival, the images beside it, the secret for hashing."""

    settings: CellSettings
    images: FileImages
    secret: bytes
    arrival: int
    """Microseconds since 1970."""

    @property
    def rules(self) -> Mapping[str, Sensitivity]:
        """How sensitive values are kept."""
        return self.settings.sensitivity


@dataclass
class Taken:
    """What became of a file's rows."""

    answer: FileAnswer = field(default_factory=FileAnswer)
    accepted: int = 0
    repeated: int = 0
    left_out: int = 0
    refused: int = 0
    conflicts: int = 0


@dataclass(frozen=True)
class _Ready:
    """A piece that only waits for its verdicts: `bare` are its rows before sensitive values were hidden."""

    parsed: ParsedRows
    bare: pa.RecordBatch
    asked: Asked
    truth_digests: Words
    batches: frozenset[str]


class Staging:
    """The files that an upload makes, at most one a table."""

    def __init__(self, store: Store, upload: Upload) -> None:
        self._store, self.upload = store, upload
        self._folder: Path = store.folders.root / "staged"
        self._writers: dict[TableName, StagedWriter] = {}

    def write(self, table: TableName, rows: pa.RecordBatch) -> None:
        """Add rows of a record's columns. Raises OSError."""
        if not rows.num_rows:
            return
        schema = self._store.schema
        whole = schema.inference_table if table == "inferences" else schema.truth_table
        if table not in self._writers:
            self._writers[table] = StagedWriter(self._folder, whole, frozenset({ID}))
        once = {
            ARRIVAL_TIME: pa.scalar(self.upload.arrival, INSTANT),
            GENERATION: pa.scalar(self.upload.settings.generation, pa.int64()),
        }
        self._writers[table].write(constants(rows, whole, once))

    def finish(self, sampled_out: int, batches: frozenset[str]) -> list[StagedFile]:
        """The complete files, inferences first. Raises OSError."""
        files = []
        for table in sorted(self._writers, reverse=True):
            done = self._writers[table].finish()
            files.append(
                StagedFile(
                    table=table,
                    name=done.name,
                    rows=done.rows,
                    size=done.size,
                    stats=done.stats,
                    newest=done.newest,
                    arrival=self.upload.arrival,
                    generation=self.upload.settings.generation,
                    sampled_out=sampled_out if table == "inferences" else 0,
                    batch_id=next(iter(batches)) if len(batches) == 1 else None,
                )
            )
        return sorted(files, key=lambda file: file.table != "inferences")

    def discard(self) -> None:
        """Remove the files."""
        for writer in self._writers.values():
            writer.discard()


class FileIntake:
    """Takes files into one store, one at a time: whoever calls sees to that."""

    def __init__(self, store: Store, labels: LabelIntake, shut: Shut, check_open: Callable[[], None]) -> None:
        """`check_open` raises Refusal while nothing is taken in."""
        self._store, self._labels, self._shut, self._check_open = store, labels, shut, check_open
        self._appended: set[Future[int]] = set()

    @property
    def appended(self) -> frozenset["Future[int]"]:
        """What was handed to the log and is not durable yet."""
        return frozenset(self._appended)

    async def take_inferences(self, pieces: Source, upload: Upload, taken: Taken) -> None:
        """Have the file's good rows durable. Raises Refusal and what drawing raises; then none of them is."""
        check_room(self._store, upload.settings)
        overlay, staging = self._store.ids.overlay(), Staging(self._store, upload)
        try:
            files = await self._staged(pieces, overlay, staging, upload, taken)
        except BaseException:
            overlay.close()
            await asyncio.to_thread(staging.discard)
            await asyncio.to_thread(upload.images.discard)
            raise
        await self._durable(files, overlay, upload, taken)
        self._store.ledger.repeated(taken.repeated)

    async def take_labels(self, pieces: Iterator[ParsedLabels], upload: Upload, taken: Taken) -> None:
        """Have the file's good labels durable. Raises as `take_inferences`."""
        check_room(self._store, upload.settings)
        staging = Staging(self._store, upload)
        seen, share = LabelUpload(), upload.settings.ingest.sampling.share
        try:
            while (piece := await asyncio.to_thread(self._next_labels, pieces, upload)) is not None:
                self._check_open()
                verdicts = self._labels.judged(piece.keys, piece.digests, share, seen)
                _tell_labels(piece, verdicts, taken)
                fresh = _filtered(piece.parsed.labels, verdicts.new)
                await asyncio.to_thread(staging.write, "ground_truth", fresh)
            files = await asyncio.to_thread(staging.finish, 0, frozenset[str]())
            self._check_open()
        except BaseException:
            await asyncio.to_thread(staging.discard)
            raise
        await self._durable(files, None, upload, taken)
        self._store.ledger.labels_left(taken.repeated, taken.left_out)

    async def _staged(
        self, source: Source, overlay: Overlay, staging: Staging, upload: Upload, taken: Taken
    ) -> list[StagedFile]:
        """The file's rows, judged and staged; the last look at their batches is taken as this returns."""
        batches: set[str] = set()
        seen = LabelUpload()
        while (ready := await asyncio.to_thread(self._next, source, upload)) is not None:
            self._check_open()
            asked = replace(ready.asked, shut=self._shut_rows(ready))
            verdicts = await judged(self._store.ids, overlay, asked)
            _tell(ready, verdicts, taken)
            batches |= _batches_of(_filtered(ready.parsed.rows, verdicts.new))
            fresh = self._fresh_labels(ready, verdicts, seen)
            await asyncio.to_thread(_stage, ready, verdicts, fresh, staging)
        files = await asyncio.to_thread(staging.finish, taken.left_out, frozenset(batches))
        await asyncio.to_thread(upload.images.sync)
        self._check_open()
        self._check_still_open(batches)
        return files

    def _fresh_labels(self, ready: _Ready, verdicts: Verdicts, seen: LabelUpload) -> Mask:
        """Which of the rows' labels are to be stored."""
        fresh: Mask = (verdicts.new | verdicts.repeated)[ready.parsed.truth_rows]
        places = np.flatnonzero(fresh)
        keys = ready.asked.keys[ready.parsed.truth_rows[places]]
        same, _ = self._labels.same(keys, ready.truth_digests[places], seen)
        fresh[places] = ~same
        self._store.ledger.labels_left(int(same.sum()), 0)
        return fresh

    def _next_labels(self, pieces: Iterator[ParsedLabels], upload: Upload) -> IdentifiedLabels | None:
        """Draw, protect, identify. In a thread."""
        piece = next(pieces, None)
        if piece is None:
            return None
        return self._labels.identified(
            replace(piece, labels=protect(piece.labels, upload.rules, upload.secret))
        )

    def _next(self, source: Source, upload: Upload) -> _Ready | None:
        """Draw, resolve images, protect, identify. In a thread."""
        parsed = next(source, None)
        if parsed is None:
            return None
        bare, problems = upload.images.resolved(parsed.rows)
        parsed = replace(parsed, rows=bare)
        if problems:
            parsed = _without(parsed, problems)
            bare = parsed.rows
        parsed = replace(
            parsed,
            rows=protect(parsed.rows, upload.rules, upload.secret),
            truth=protect(parsed.truth, upload.rules, upload.secret),
        )
        keys, digests = self._store.identify(parsed.rows)
        kept = sampled(keys, upload.settings.ingest.sampling.share)
        asked = Asked(keys, digests, kept, np.zeros(len(keys), np.bool_))
        truth_digests = self._labels.digests(parsed.truth)
        return _Ready(parsed, bare, asked, truth_digests, _batches_of(parsed.rows))

    def _shut_rows(self, ready: _Ready) -> Mask:
        shut = self._shut(tuple(ready.batches)) if ready.batches else frozenset[str]()
        if not shut:
            return ready.asked.shut
        column = ready.parsed.rows.column(BATCH)
        found: Mask = pc.is_in(column, pa.array(sorted(shut), pa.string())).to_numpy(zero_copy_only=False)
        return found

    def _check_still_open(self, batches: set[str]) -> None:
        """A batch may have been closed after the first of its rows was judged."""
        if batches and (shut := self._shut(tuple(batches))):
            raise Refusal(
                503,
                f"batch {min(shut)[:100]!a} was closed while the file was checked: nothing was taken in, send"
                " the file again",
                retry_after=1,
            )

    async def _durable(
        self, files: list[StagedFile], overlay: Overlay | None, upload: Upload, taken: Taken
    ) -> None:
        """Append and wait. From here on the log decides what becomes of the files, not whoever waits."""
        futures = []
        for file in files:
            if file.table == "inferences" and overlay is not None:
                self._store.ids.name(overlay, file.name)
                overlay = None
            futures.append(self._store.take_file(file))
            if file.table == "ground_truth":
                self._labels.sent_unseen(futures[-1])
        if overlay is not None:
            overlay.close()  # no row was new
            if taken.left_out:
                futures.append(self._store.log.append([_left_out(upload, taken.left_out)]))
        self._appended.update(futures)
        try:
            for future in futures:
                await asyncio.wrap_future(future)
        except LogFullError as error:
            await asyncio.to_thread(upload.images.discard)
            raise Refusal(
                503, f"{error}: nothing of this file was taken in, send it again later", retry_after=5
            ) from None
        except LogFailedError as error:
            raise Refusal(503, f"{error}: send the file again later", retry_after=10) from None
        finally:
            self._appended.difference_update(futures)


def _left_out(upload: Upload, rows: int) -> Record:
    return Record(Kind.INFERENCES, 0, b"", upload.arrival, upload.settings.generation, sampled_out=rows)


def _stage(ready: _Ready, verdicts: Verdicts, fresh: Mask, staging: Staging) -> None:
    """In a thread."""
    staging.upload.images.keep(_filtered(ready.bare, verdicts.new))
    staging.write("inferences", _filtered(ready.parsed.rows, verdicts.new))
    staging.write("ground_truth", _filtered(ready.parsed.truth, fresh))


def _tell_labels(piece: IdentifiedLabels, verdicts: LabelVerdicts, taken: Taken) -> None:
    parsed = piece.parsed
    late = dict.fromkeys(parsed.places[verdicts.forgotten].tolist(), FORGOTTEN)
    taken.answer.refuse(
        parsed.refused | late, {**dict.fromkeys(parsed.refused, 400), **dict.fromkeys(late, 409)}
    )
    taken.answer.total += parsed.total
    taken.accepted += int(verdicts.new.sum())
    taken.repeated += int(verdicts.repeated.sum())
    taken.left_out += int(verdicts.left_out.sum())
    taken.refused += len(parsed.refused)
    taken.conflicts += len(late)


def _tell(ready: _Ready, verdicts: Verdicts, taken: Taken) -> None:
    parsed, places = ready.parsed, ready.parsed.places
    reasons = dict(parsed.refused)
    late: dict[int, str] = {}
    late |= dict.fromkeys(places[verdicts.conflict].tolist(), CONFLICT)
    late |= dict.fromkeys(places[verdicts.forgotten].tolist(), FORGOTTEN)
    if verdicts.shut.any():
        names = parsed.rows.column(BATCH).filter(pa.array(verdicts.shut)).to_pylist()
        late |= {
            place: closed_reason(name)
            for place, name in zip(places[verdicts.shut].tolist(), names, strict=True)
        }
    taken.answer.refuse(reasons | late, {**dict.fromkeys(reasons, 400), **dict.fromkeys(late, 409)})
    taken.answer.total += parsed.total
    taken.accepted += int(verdicts.new.sum())
    taken.repeated += int(verdicts.repeated.sum())
    taken.left_out += int(verdicts.left_out.sum())
    taken.refused += len(reasons)
    taken.conflicts += len(late)


def _without(parsed: ParsedRows, problems: Mapping[int, str]) -> ParsedRows:
    """The same rows without those that have problems, by index of the row."""
    good = np.ones(parsed.rows.num_rows, dtype=np.bool_)
    good[list(problems)] = False
    new_index = np.cumsum(good) - 1
    labels = good[parsed.truth_rows]
    refused = dict(parsed.refused) | {int(parsed.places[row]): why for row, why in problems.items()}
    return ParsedRows(
        total=parsed.total,
        rows=_filtered(parsed.rows, good),
        places=parsed.places[good],
        truth=_filtered(parsed.truth, labels),
        truth_rows=new_index[parsed.truth_rows[labels]],
        refused=refused,
    )


def _batches_of(rows: pa.RecordBatch) -> frozenset[str]:
    return frozenset(pc.unique(rows.column(BATCH).drop_null()).to_pylist())


def _filtered(batch: pa.RecordBatch, mask: Mask) -> pa.RecordBatch:
    return batch if mask.all() else batch.filter(pa.array(mask))
