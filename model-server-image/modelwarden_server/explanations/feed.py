"""Which stored rows are explained, each once: from the inferences into a queue, from there to whoever asks
for work, and what comes back into the table of explanations.

    inferences ──hash(id) < share──► queue ──pieces──► holders ──answers──► explanations ──► out of the queue

The queue is a table of its own (`RowScorer` fills it, exactly once), so that neither joining nor removing of
inferences waits for a model that is slow or away. An answer is durable before its rows leave the queue; what
a crash leaves in both is found by its id. The queue is bounded: what is more is skipped, the oldest first,
and counted. All files are touched by the one thread that fills the queue; the writer waits for nothing here.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden_server.derived.scoring import KEYS, RowScorer
from modelwarden_server.derived.table import DerivedTable, among, oldest_arrival
from modelwarden_server.explained import ID as WIRE_ID
from modelwarden_server.explanations.table import FAILURE, table_rows
from modelwarden_server.explanations.tasks import MOST_ROWS, TaskBoard
from modelwarden_server.schema.compiled import ARRIVAL_TIME, ID, INSTANT
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import AppendTable, Replacement, TableFile

log = logging.getLogger(__name__)
MOST_WAITING: Final = 500_000
MOST_QUEUE_BYTES: Final = 256 << 20
EXPLAINED: Final = "explanations/explained"
FAILED: Final = "explanations/failed"
SKIPPED: Final = "explanations/skipped"
STARTS: Final = "explanations/starts"
_NUMBERS_A_START: Final = 1 << 32


@dataclass(frozen=True)
class Bounds:
    """How much may wait: beyond it the oldest files go, as long as so much is left without them."""

    rows: int = MOST_WAITING
    bytes: int = MOST_QUEUE_BYTES


@dataclass(frozen=True)
class Tally:
    """What became of the rows that were chosen."""

    explained: int = 0
    failed: int = 0
    skipped: int = 0
    waiting: int = 0

    @property
    def chosen(self) -> int:
        """All of them."""
        return self.explained + self.failed + self.skipped + self.waiting


@dataclass(eq=False)
class _Open:
    """A file of the queue that pieces are cut from. `explained`: ids that have their explanation."""

    file: TableFile
    explained: pa.Array | None = None
    uncut: int = 0
    rows: Iterator[pa.RecordBatch] | None = None
    rest: pa.RecordBatch | None = None
    cut: bool = False
    forgotten: set[tuple[int, ...]] = field(default_factory=set)


@dataclass
class Feed:
    """Of one cell. `attend` and what it calls are the scorer's thread's."""

    queue: RowScorer
    results: DerivedTable
    board: TaskBoard
    inputs: tuple[str, ...]
    turned_on: Callable[[], bool]
    bounds: Bounds = field(default_factory=Bounds)
    _open: dict[str, _Open] = field(default_factory=dict, init=False)
    _recovered: bool = field(default=False, init=False)
    _numbered: bool = field(default=False, init=False)
    _persisted: float = field(default=float("-inf"), init=False)
    forgot: Callable[[], None] = lambda: None
    """Told when rows were forgotten."""

    def __post_init__(self) -> None:
        self.queue.duty = self.attend
        self.queue.also_forget = self.forget
        self.queue.renamed = self.renamed
        self.queue.derived.apart = lambda file: file.name in self._open
        self.queue.derived.grace = 0.0  # nobody but this thread reads them
        self.queue.derived.retired = self._skipped
        self._told = self._count()

    @property
    def table(self) -> AppendTable:
        """The explanations."""
        return self.results.table

    def close(self) -> None:
        """Bring what was answered into the table, counts to the disk."""
        self.queue.stop()

    def tally(self) -> Tally:
        """What became of the chosen rows, as of the last turn: in the midst of one a row stands in two
        places, or in none.
        """
        return self._told

    def _count(self) -> Tally:
        files = self.queue.table.files
        opened = {name: one.uncut for name, one in self._open.items()}
        waiting = sum(opened.get(file.name, file.rows) for file in files) + self.board.rows
        return Tally(
            explained=self.table.transaction(EXPLAINED) or 0,
            failed=self.table.transaction(FAILED) or 0,
            skipped=self.queue.table.transaction(SKIPPED) or 0,
            waiting=waiting,
        )

    def attend(self) -> None:
        """One turn. Raises OSError, CommitError, pyarrow.ArrowException: then it is to be tried again."""
        try:
            if not self._recovered:
                self._recover()
            self._commit()
            if self.turned_on():
                self._bound()
                self._cut()
            else:
                self._give_up()
        finally:
            self._told = self._count()
        self._tend()

    def forget(self, keys: Words) -> None:
        """Remove rows wherever they are but in the queue's files. Raises OSError, CommitError."""
        self.forgot()
        wanted = {tuple(key) for key in keys.tolist()}
        first = keys[:, 0]

        def unwanted(ids: pa.Array) -> pa.Array:
            found = set(among(ids.to_pylist(), wanted, first))
            return pa.array([one in found for one in ids.to_pylist()], pa.bool_())

        for opened in self._open.values():
            opened.forgotten |= wanted
        self.board.forget(unwanted)
        self.results.remove(keys)

    def renamed(self, old: TableFile, new: TableFile | None) -> None:
        """A file of the queue was written anew: what is known of it goes on, or pieces would come twice."""
        opened = self._open.pop(old.name, None)
        if opened is not None and new is not None:
            opened.file = new
            self._open[new.name] = opened
            self.board.renamed(old.name, new.name)

    def _recover(self) -> None:
        """Files of the queue whose rows may have their explanation already: the process was killed between
        the two commits.
        """
        newest = max((file.newest.get(ARRIVAL_TIME, 0) for file in self.table.files), default=-1)
        for file in self.queue.table.files:
            first = oldest_arrival(self.queue.table.folder / file.name)
            if first > newest:
                continue
            explained = self._explained(first, file.newest.get(ARRIVAL_TIME, 1 << 62))
            if not len(explained):
                continue
            left = sum(
                pc.sum(pc.invert(pc.is_in(batch.column(0), explained))).as_py() or 0
                for batch in self.queue.table.read([file], [ID])
            )
            self._open[file.name] = _Open(file, explained, left, cut=left == 0)
        self._recovered = True
        self._release()

    def _explained(self, first: int, last: int) -> pa.Array:
        """Ids in the table of explanations, of rows that arrived in [first, last]."""
        low, high = pa.scalar(first, INSTANT), pa.scalar(last, INSTANT)
        found: list[pa.Array] = []
        files = [file for file in self.table.files if file.newest.get(ARRIVAL_TIME, 1 << 62) >= first]
        for batch in self.table.read(files, [ID, ARRIVAL_TIME]):
            inside = pc.and_(pc.greater_equal(batch.column(1), low), pc.less_equal(batch.column(1), high))
            found.append(batch.column(0).filter(inside))
        return pa.concat_arrays(found) if found else pa.array([], pa.string())

    def _commit(self) -> None:
        """Bring what was answered into the table, then out of the queue."""
        done = self.board.finished()
        if done:
            rows = [table_rows(task.keys, task.answer) for task in done if task.answer is not None]
            failed = sum(
                batch.num_rows - batch.column(batch.schema.get_field_index(FAILURE)).null_count
                for batch in rows
            )
            explained = sum(batch.num_rows for batch in rows) - failed
            self.table.append(
                rows,
                {
                    EXPLAINED: (self.table.transaction(EXPLAINED) or 0) + explained,
                    FAILED: (self.table.transaction(FAILED) or 0) + failed,
                },
            )
            self.board.drop(done)
        self._release()

    def _release(self) -> None:
        """Remove files from the queue of which nothing is to be done any more."""
        busy = self.board.files()
        over = [one.file for one in self._open.values() if one.cut and one.file.name not in busy]
        if over:
            self.queue.table.replace(Replacement(over, [], rows_change=True), {})
            for file in over:
                del self._open[file.name]

    def _bound(self) -> None:
        rows = sum(file.rows for file in self.queue.table.files)
        size = sum(file.size for file in self.queue.table.files)
        gone: list[TableFile] = []
        for file in self.queue.table.files:
            if rows - file.rows < self.bounds.rows and size - file.size < self.bounds.bytes:
                break
            if file.name not in self._open:
                gone.append(file)
                rows, size = rows - file.rows, size - file.size
        self._skip(gone, sum(file.rows for file in gone))

    def _give_up(self) -> None:
        """Nothing more is to be explained."""
        files = list(self.queue.table.files)
        if files:
            waiting = self._count().waiting
            self.board.clear()
            self._open.clear()
            self._skip(files, waiting)

    def _skip(self, files: list[TableFile], rows: int) -> None:
        if files:
            log.info("%d rows are not explained: more wait than may wait, or it was turned off", rows)
            self.queue.table.replace(Replacement(files, [], rows_change=True), self._skipped(rows))

    def _skipped(self, rows: int) -> dict[str, int]:
        return {SKIPPED: (self.queue.table.transaction(SKIPPED) or 0) + rows}

    def _cut(self) -> None:
        while self.board.wants:
            opened = self._next()
            if opened is None:
                return
            if not self._numbered:
                start = (self.table.transaction(STARTS) or 0) + 1
                self.table.commit([], {STARTS: start})
                self.board.number_from(start * _NUMBERS_A_START)
                self._numbered = True
            rows = self._some(opened, self.board.rows_a_task)
            if rows is None:
                opened.cut, opened.uncut = True, 0
                self._release()
                continue
            keys = rows.select(range(len(KEYS)))
            wire = rows.select([ID, *self.inputs]).rename_columns([WIRE_ID, *self.inputs])
            self.board.add(opened.file.name, keys, wire)

    def _next(self) -> _Open | None:
        """The file that is cut now: the oldest that is not cut yet."""
        for file in self.queue.table.files:
            opened = self._open.get(file.name)
            if opened is None:
                opened = self._open[file.name] = _Open(file, uncut=file.rows)
            if not opened.cut:
                return opened
        return None

    def _some(self, opened: _Open, most: int) -> pa.RecordBatch | None:
        """At most so many rows that are to be explained, None at the end of the file."""
        while opened.rest is None or not opened.rest.num_rows:
            if opened.rows is None:
                opened.rows = self._read(opened.file)
            batch = next(opened.rows, None)
            if batch is None:
                return None
            opened.rest = _left(batch, opened)
        found: pa.RecordBatch = opened.rest.slice(0, most)
        opened.rest = opened.rest.slice(found.num_rows)
        opened.uncut = max(0, opened.uncut - found.num_rows)
        return found

    def _read(self, file: TableFile) -> Iterator[pa.RecordBatch]:
        at_once = min(MOST_ROWS, max(1, (4 << 20) // max(self.board.bytes_a_row, 1)))
        path = self.queue.table.folder / file.name
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
            yield from parquet.iter_batches(batch_size=at_once)

    def _tend(self) -> None:
        """The table of explanations: counts, joining, retention."""
        self.results.counts.catch_up()
        now = time.monotonic()
        if now - self._persisted >= self.queue.pace.persist:
            self._persisted = now
            self.results.counts.keep()
            self.table.trim_log(self.queue.pace.log_seconds)
        self.results.tidy()


def _left(rows: pa.RecordBatch, opened: _Open) -> pa.RecordBatch:
    """The rows without those that are explained or forgotten."""
    ids = rows.column(rows.schema.get_field_index(ID))
    if opened.explained is not None:
        rows = rows.filter(pc.invert(pc.is_in(ids, opened.explained)))
        ids = rows.column(rows.schema.get_field_index(ID))
    if opened.forgotten and rows.num_rows:
        first = np.array([key[0] for key in opened.forgotten], dtype=np.uint64)
        gone = set(among(ids.to_pylist(), opened.forgotten, first))
        rows = rows.filter(pa.array([one not in gone for one in ids.to_pylist()], pa.bool_()))
    return rows
