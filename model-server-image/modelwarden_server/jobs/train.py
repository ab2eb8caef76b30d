"""The Job that trains one thing: learn what, fetch the rows, train, bring the artefact.

Repeatable: the same inputs give the same bytes, and an artefact that is in use already ends the Job at once.
The disk is bounded by the reference, memory by the trainer. Must not know how anything is trained.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from modelwarden.resources.cell import CellIdentity, read_identity
from modelwarden_server.analysis.artefact import pack
from modelwarden_server.analysis.columns import Column
from modelwarden_server.innerwire import TRAININGS
from modelwarden_server.jobs.store_client import StoreClient
from modelwarden_server.jobs.trainers import trainer_of
from modelwarden_server.jobs.training import Tell, Trainer, TrainingInput, UntrainableError

_SEED_DIGITS: Final = 8


@dataclass(frozen=True)
class TrainTask:
    """Which training, and where to work."""

    kind: str
    input_hash: str
    workdir: Path | None = None
    trainer: Callable[[str], Trainer] = trainer_of

    @property
    def path(self) -> str:
        """The store's doors for this training."""
        return f"{TRAININGS}/{self.kind}/{self.input_hash}"


class _File(msgspec.Struct):
    name: str
    bytes: int
    sha256: str


class _Training(msgspec.Struct, rename="camel"):
    version: int
    done: bool
    inputs: dict[str, Any]
    identity: dict[str, Any]
    classifier_threshold: float
    records: int
    files: list[_File]
    columns: list[Any]


def run_train(task: TrainTask, store: StoreClient, tell: Tell) -> None:
    """Do the Job. Raises StoreAwayError or MemoryError (try later), UntrainableError or StoreRefusedError (do
    not).
    """
    training = msgspec.convert(store.get(task.path), _Training)
    facts = {"kind": task.kind, "inputHash": task.input_hash}
    if training.done:
        tell("trained already", **facts)
        return
    tell("begun", **facts, records=training.records, files=len(training.files))
    with tempfile.TemporaryDirectory(dir=task.workdir, prefix="train-") as folder:
        given = _given(task, training, store, Path(folder))
        artefact = task.trainer(task.kind)(given, tell)
    if artefact.kind != task.kind or artefact.manifest.get("inputHash") != task.input_hash:
        raise UntrainableError("the trainer made an artefact of another training")
    content = pack(artefact)
    rows = artefact.manifest.get("rows")
    del artefact, given
    kept = store.put(task.path, content, "application/octet-stream")
    tell("trained", **facts, rows=rows, bytes=len(content), artefactHash=kept["artefactHash"])


def tell_failure(task: TrainTask, store: StoreClient, message: str, *, again: bool) -> None:
    """Let the store know why there is no artefact, so that the status can say it."""
    store.tell_failure(task.path, {"message": message, "again": again})


def _given(task: TrainTask, training: _Training, store: StoreClient, folder: Path) -> TrainingInput:
    workdir = folder / "work"
    workdir.mkdir()
    identity: CellIdentity = read_identity(msgspec.json.encode(training.identity))
    seed = training.inputs.get("seed")
    return TrainingInput(
        kind=task.kind,
        input_hash=task.input_hash,
        inputs=training.inputs,
        identity=identity,
        classifier_threshold=training.classifier_threshold,
        columns=tuple(msgspec.convert(column, Column) for column in training.columns),
        records=training.records,
        seed=int(task.input_hash[:_SEED_DIGITS], 16) if seed is None else int(seed),
        workdir=workdir,
        read_reference=_Reference(task, training.files, store, folder),
        read_rows=_Rows(task, store, folder),
        version=training.version,
    )


@dataclass
class _Reference:
    """The reference's rows: files fetched when they are first asked for."""

    task: TrainTask
    files: Sequence[_File]
    store: StoreClient
    folder: Path
    _fetched: list[Path] | None = field(default=None, init=False)

    def __call__(self, columns: Sequence[str] | None, rows_at_once: int) -> Iterator[pa.RecordBatch]:
        """See Batches. Raises UntrainableError for a column that the reference does not have."""
        for path in self._paths():
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
                _check(columns, parquet.schema_arrow.names)
                yield from parquet.iter_batches(
                    batch_size=rows_at_once, columns=None if columns is None else list(columns)
                )

    def _paths(self) -> list[Path]:
        if not self.files:
            raise UntrainableError("this training reads no reference")
        if self._fetched is None:
            paths = [self.folder / f"{number}.parquet" for number in range(len(self.files))]
            for file, path in zip(self.files, paths, strict=True):
                self.store.fetch(f"{self.task.path}/files/{file.name}", path, file.bytes, file.sha256)
            self._fetched = paths
        return self._fetched


@dataclass
class _Rows:
    """The rows that the kind gives: fetched once for each choice of columns, kept as an Arrow IPC stream."""

    task: TrainTask
    store: StoreClient
    folder: Path
    _fetched: dict[tuple[str, ...], Path] = field(default_factory=dict, init=False)

    def __call__(self, columns: Sequence[str] | None, rows_at_once: int) -> Iterator[pa.RecordBatch]:
        """See Batches."""
        asked = tuple(columns or ())
        if asked not in self._fetched:
            path = self.folder / f"rows-{len(self._fetched)}.arrows"
            query = f"?{urlencode([('column', name) for name in asked])}" if asked else ""
            self.store.fetch_arrow(f"{self.task.path}/rows{query}", path)
            self._fetched[asked] = path
        with pa.OSFile(str(self._fetched[asked])) as file, pa.ipc.open_stream(file) as stream:
            for batch in stream:
                for start in range(0, batch.num_rows, rows_at_once):
                    yield batch.slice(start, rows_at_once)


def _check(columns: Sequence[str] | None, known: Sequence[str]) -> None:
    missing = sorted(set(columns or ()) - set(known))
    if missing:
        raise UntrainableError(f"the reference has no column {', '.join(missing)}")
