"""Scores every stored inference, once, into a table of its own: on a thread, never in the way of the writer.

    inferences, version v  ──read──►  score  ──one commit──►  scores  ("scored up to v" in the same entry)

Rows come from the table, a bounded number at a time, so nothing is held that may be forgotten meanwhile, and
whatever is killed is done again from the version that the scores name. What arrived before the scoring was
turned on is passed over (by version and by arrival); the very first installation scores all there is. Counts,
compaction and retention of the table of scores are this thread's, too. Must not know what a score is.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden_server.derived.table import Counts, DerivedTable, Renamed
from modelwarden_server.query.labelling import by_version
from modelwarden_server.query.unwanted import Unwanted
from modelwarden_server.schema.compiled import ARRIVAL_TIME, BATCH, EVENT_TIME, ID, INSTANT
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import AppendTable, TableFile
from modelwarden_server.store.listening import NEVER_ASKED, Settled
from modelwarden_server.store.store import Store
from modelwarden_server.store.upkeep import KeepRules

log = logging.getLogger(__name__)
ARTEFACT = "artefact"
_NOTHING = -1
_BYTES_AT_ONCE = 16 << 20
_MOST_ROWS, _FEWEST_ROWS = 32_768, 256
_ROWS_A_COMMIT = 100_000
_WIDTHS = {"text": 64, "list": 256}
KEYS = (ID, EVENT_TIME, ARRIVAL_TIME, BATCH)


class RowScoring(Protocol):
    """What is installed."""

    @property
    def artefact_hash(self) -> str:
        """Which artefact it is."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """The columns of an inference that it reads."""
        ...

    @property
    def bytes_a_row(self) -> int:
        """What a row takes beyond the usual, in memory (long texts)."""
        ...

    def score(self, rows: pa.RecordBatch) -> list[pa.Array]:
        """The columns of the table of scores that are its own."""
        ...


@dataclass(frozen=True)
class ScorePace:
    """Seconds between looks, and between writes of the counts."""

    look: float = 5.0
    persist: float = 60.0
    grace: float = 600.0
    log_seconds: float = 3600.0


def score_schema(own: Sequence[pa.Field]) -> pa.Schema:
    """The table's columns: the row's id, times and batch, what the scoring says, and the artefact's hash."""
    keys = [
        pa.field(ID, pa.string()),
        pa.field(EVENT_TIME, INSTANT),
        pa.field(ARRIVAL_TIME, INSTANT),
        pa.field(BATCH, pa.string()),
    ]
    return pa.schema([*keys, *own, pa.field(ARTEFACT, pa.string())])


def _all(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows


@dataclass
class RowScorer:
    """The scoring of one cell, of one kind. `fold` and the like are the writer's; `use` and `drop` come from
    wherever things are installed; `turned_on` tells whether rows that come now are to be scored.
    """

    source: AppendTable
    table: AppendTable
    counts: Counts
    turned_on: Callable[[], bool]
    pace: ScorePace = field(default_factory=ScorePace)
    rules: Callable[[], KeepRules] = KeepRules
    clock: Callable[[], float] = time.time
    hurry: Callable[[], None] = lambda: None
    """Has maintenance look again, which asks what is settled."""
    chosen: Callable[[pa.RecordBatch], pa.RecordBatch] = _all
    """Which rows are scored at all."""
    duty: Callable[[], None] = lambda: None
    """Something else that the thread does, each time that it looks."""
    also_forget: Callable[[Words], None] = lambda _keys: None
    """Has the rows of these ids removed wherever else they are, before this table's."""
    renamed: Renamed = lambda _old, _new: None
    """Told of files of this table that are written anew because rows are forgotten."""
    problem: str | None = None
    """Why scores are behind the table, if they are."""

    def __post_init__(self) -> None:
        name = self.table.folder.name
        self._app, self._since_app = f"{name}/inferences", f"{name}/since"
        known = self.table.transaction(self._app)
        self._scored = _NOTHING if known is None else known
        self._since = self.table.transaction(self._since_app) or _NOTHING
        self._passed, self._passed_arrival = self._scored, self._since
        self._scoring: RowScoring | None = None
        # Before maintenance begins: what is not scored must not be joined with what is.
        self._claim = self._scored if known is not None and self.turned_on() else NEVER_ASKED
        self._persisted = float("-inf")
        self.derived = DerivedTable(
            self.source, self.table, self.counts, lambda: self.rules(), self.clock, self.pace.grace
        )
        self._unwanted = Unwanted()
        self._asked = threading.Event()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._moved = threading.Condition()
        self._started = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-scorer", daemon=True)
        self._note(self.source.version)

    @classmethod
    def started(
        cls, store: Store, table: AppendTable, counts: Counts, turned_on: Callable[[], bool]
    ) -> "RowScorer":
        """A scorer of a store's inferences, at work, and told of what is to be forgotten."""
        scorer = cls(
            store.tables.inferences,
            table,
            counts,
            turned_on,
            rules=lambda: store.maintenance.rules(),
            clock=store.clock,
            hurry=store.maintenance.wake,
        )
        store.on_forget.append(scorer.forget)
        scorer.start()
        return scorer

    @property
    def scored(self) -> int:
        """The version of the inferences up to which rows are scored or passed over; -1: none."""
        return self._scored

    @property
    def behind_rows(self) -> int:
        """Rows that wait to be scored; 0 while nothing is installed."""
        if self._scoring is None:
            return 0
        return sum(f.rows for f in self.source.files_added(max(self._scored, self._passed)))

    def start(self) -> None:
        """Begin."""
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being scored, bring counts to the disk."""
        self._stopping.set()
        self._asked.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def use(self, scoring: RowScoring) -> None:
        """Score with this from now on."""
        self._scoring = scoring
        self._wake.set()

    def drop(self) -> None:
        """Score no more."""
        self._scoring = None
        self._note(self.source.version)
        self._wake.set()

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def remove(self, keys: Words) -> None:
        """Remove the rows of these ids, at once: the thread's own, others ask for it (`forget`)."""
        self.also_forget(keys)
        self.derived.remove(keys, self.renamed)

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: rows are read from the table, by the thread."""
        del batches
        self.behind(version)

    def behind(self, version: int) -> None:
        """See CommitListener."""
        self._note(version)
        self._wake.set()

    def fold_truth(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """See CommitListener: labels change no score."""

    def behind_truth(self, version: int) -> None:
        """See CommitListener."""

    def settled(self) -> Settled:
        """See CommitListener. Without a claim while nothing is installed: whatever is compacted then is read
        as a whole, or passed over as a whole.
        """
        self._asked.set()
        return Settled(self._claim, NEVER_ASKED)

    def retired(self, slices: Sequence[int], batches: Sequence[str]) -> None:
        """See CommitListener: counts are of their own, and rows are removed after those of the inferences."""
        del slices, batches
        self._wake.set()

    def forget(self, keys: Words) -> None:
        """Remove the scores of ids whose rows are gone from the inferences (`Store.on_forget`). Durable when
        this returns. Raises OSError or CommitError; then it is to be asked again.
        """
        if self._started:
            self._unwanted.ask(keys, self._wake.set)

    def reach(self, timeout: float) -> bool:
        """Wait until all rows that are in the table now have a score, and are counted; False if that takes
        too long or nothing is installed.
        """
        newest = max((file.version for file in self.source.files_added(_NOTHING)), default=_NOTHING)
        self._wake.set()

        def reached() -> bool:
            return self._scored >= newest and self.counts.folded >= self.derived.newest

        with self._moved:
            return self._moved.wait_for(lambda: reached() or self._scoring is None, timeout) and reached()

    def _note(self, version: int) -> None:
        """Rows up to here came while nobody wanted them scored."""
        if self.turned_on() or version <= self._passed:
            return
        self._passed = version
        files = self.source.files
        if files:
            self._passed_arrival = max(self._passed_arrival, files[-1].newest.get(ARRIVAL_TIME, _NOTHING))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.problem = self._attempt(self._work) or self._attempt(self.duty) or self._attempt(self._tend)
            self._unwanted.attend(self.remove)
            with self._moved:
                self._moved.notify_all()
            # A problem waits a little, so that failing does not keep the thread busy.
            self._stopping.wait(1.0 if self.problem else 0.0)
            self._wake.wait(1.0 if self.problem else self.pace.look)
            self._wake.clear()
        self._unwanted.attend(self.remove)
        self.problem = self._attempt(self.counts.keep)

    def _attempt(self, work: Callable[[], None]) -> str | None:
        """The thread's edge: what fails is told and tried again; no inference depends on it."""
        try:
            work()
        except Exception as error:
            log.warning("scores are behind: %s", error, exc_info=error)
            return f"{type(error).__name__}: {error}"
        return None

    def _work(self) -> None:
        scoring = self._scoring
        if not self.turned_on():
            self._claim = NEVER_ASKED
            return
        if scoring is None:
            return
        self._lay_claim()
        self._pass_over()
        while not self._stopping.is_set() and self._scoring is scoring and self.turned_on():
            work = self._next()
            if work is None:
                return
            self._score(scoring, *work)
            self.counts.catch_up()
            self.duty()
            self._unwanted.attend(self.remove)
            with self._moved:
                self._moved.notify_all()

    def _lay_claim(self) -> None:
        """From here on files that are not scored are left apart. What maintenance began to join before ends
        before it asks again.
        """
        if self._claim != NEVER_ASKED:
            return
        self._asked.clear()
        self._claim = self._scored
        self.hurry()
        while not self._asked.wait(0.02) and not self._stopping.is_set():
            self._unwanted.attend(self.remove)  # maintenance may be waiting for that before it asks

    def _pass_over(self) -> None:
        """Make durable what is never to be scored."""
        if self._passed <= self._scored and self._passed_arrival <= self._since:
            return
        reached, since = max(self._passed, self._scored), max(self._passed_arrival, self._since)
        self.table.commit([], {self._app: reached} | ({self._since_app: since} if since > 0 else {}))
        self._scored = self._claim = reached
        self._since = since

    def _next(self) -> tuple[list[TableFile], int] | None:
        """The files of the next versions, as many as make a commit, and up to which version they go."""
        found: list[TableFile] = []
        reached = _NOTHING
        for version, files in by_version(self.source.files_added(self._scored)):
            if found and sum(f.rows for f in found) + sum(f.rows for f in files) > _ROWS_A_COMMIT:
                break
            found += files
            reached = version
        return (found, reached) if found else None

    def _score(self, scoring: RowScoring, files: list[TableFile], version: int) -> None:
        rows = self._scored_rows(scoring, files)
        first = next(rows, None)
        if first is None:
            self.table.commit([], {self._app: version})
        else:
            self.table.append(_chained(first, rows), {self._app: version})
        self._scored = self._claim = version

    def _scored_rows(self, scoring: RowScoring, files: Sequence[TableFile]) -> Iterator[pa.RecordBatch]:
        for rows in self._rows(files, scoring):
            wanted = self.chosen(rows if self._since <= 0 else rows.filter(_later(rows, self._since)))
            if not wanted.num_rows:
                continue
            keys = [wanted.column(i) for i in range(len(KEYS))]
            artefact = pa.repeat(pa.scalar(scoring.artefact_hash, pa.string()), wanted.num_rows)
            columns = [*keys, *scoring.score(wanted), artefact]
            yield pa.RecordBatch.from_arrays(columns, schema=self.table.schema)

    def _rows(self, files: Sequence[TableFile], scoring: RowScoring) -> Iterator[pa.RecordBatch]:
        columns = [*KEYS, *scoring.columns]
        at_once = rows_at_once(self.source.schema, columns, scoring.bytes_a_row)
        for file in files:
            path = self.source.folder / file.name
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
                for batch in parquet.iter_batches(batch_size=at_once, columns=columns):
                    yield batch.select(columns)

    def _tend(self) -> None:
        """Counts to the disk, files joined, files removed whose rows are gone."""
        self.counts.catch_up()
        now = time.monotonic()
        if now - self._persisted >= self.pace.persist:
            self._persisted = now
            if self._scoring is None and self._passed > self._scored:
                self._pass_over_quietly()
            self.counts.keep()
            self.table.trim_log(self.pace.log_seconds)
        self.derived.tidy()

    def _pass_over_quietly(self) -> None:
        """While it is turned off, so that a restart knows. Nothing claims files."""
        self._pass_over()
        self._claim = NEVER_ASKED


def rows_at_once(schema: pa.Schema, columns: Sequence[str], more: int) -> int:
    """How many rows of these columns may be in memory; `more` bytes a row come on top."""
    width = more + sum(_width(schema.field(name).type) for name in columns)
    return max(_FEWEST_ROWS, min(_MOST_ROWS, _BYTES_AT_ONCE // max(width, 1)))


def _width(kind: pa.DataType) -> int:
    if pa.types.is_string(kind):
        return _WIDTHS["text"]
    if pa.types.is_nested(kind):
        return _WIDTHS["list"]
    return max(1, int(kind.bit_width) // 8)


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _later(rows: pa.RecordBatch, since: int) -> pa.Array:
    arrival = rows.column(KEYS.index(ARRIVAL_TIME))
    return pc.greater(arrival, pa.scalar(since, arrival.type))
