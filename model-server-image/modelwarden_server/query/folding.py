"""Keeps partials up with the table of inferences: the writer hands over each version, a thread of this room's
own catches up with older ones, changes to a new profile, and brings partials to the disk.

The writer is never made to wait for more than the folding of one batch of its own. A version is folded
once: it is only taken if everything before it has been, and the version reached stands in the same commit
as the counts.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, Times, slice_of
from modelwarden_server.analysis.partials import SparseCounts
from modelwarden_server.analysis.profile import ReferenceProfile
from modelwarden_server.analysis.rebin import rebin_slices
from modelwarden_server.query.batch_counts import BatchCounts
from modelwarden_server.query.executor import Executor, ThreadExecutor
from modelwarden_server.query.follower import Follower
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.labelling import LabelCells, Labelling, LabelSources, SliceIndex, by_version
from modelwarden_server.query.sealing import Sealed, SealedFile
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.listening import NEVER_ASKED, Settled
from modelwarden_server.store.partials import PartialTable, drop_partials
from modelwarden_server.store.rows_table import RowsTable

log = logging.getLogger(__name__)

_BEHIND = 8
_SEAL_SECONDS = 60.0
_NOTHING = Sealed()
LABEL_FOLDER = "labels"
ROWS_ONLY = "rows"
"""The name of partials that count rows and how late they come, while there is no profile."""
TIMES = Times(EVENT_TIME, ARRIVAL_TIME)


@dataclass(frozen=True)
class Pace:
    """When partials go to the disk and leave memory: seconds, counts, files, bytes."""

    persist_seconds: float = 60.0
    persist_entries: int = 500_000
    compact_files: int = 64
    memory_bytes: int = 128 << 20


DEFAULT_PACE = Pace()


class Profiles(Protocol):
    """Which profile is the one to compare with."""

    def wanted(self) -> str | None:
        """The hash of that profile, or None while there is none."""
        ...

    def load(self, profile_hash: str) -> ReferenceProfile:
        """The profile. Raises ValueError or OSError if it cannot be read."""
        ...


class Folder(Follower):
    """The partials of one cell. `fold` is the writer's, `start`, `wake` and `stop` the cell's, `live`
    everybody's.
    """

    def __init__(
        self,
        table: RowsTable,
        stored: frozenset[str],
        profiles: Profiles,
        root: Path,
        pace: Pace = DEFAULT_PACE,
        labels: LabelSources | None = None,
        *,
        by_batch: bool = False,
    ) -> None:
        """`stored` are the attributes that are columns of the table; partials go under `root`. `by_batch`: of
        a batch model.
        """
        super().__init__("partials", "partials", pace.persist_seconds)
        self._by_batch = by_batch
        self._table, self._stored, self._profiles, self._root = table, stored, profiles, root
        self._pace, self._labels = pace, labels
        self._slices: SliceIndex | None = None
        self._sealed = SealedFile(root)
        self._sealing = threading.Lock()
        self._persisted = 0.0
        self._clock: Callable[[], float] = time.monotonic
        self._executor: Executor = ThreadExecutor(2, 2)
        self._live: Generation | None = None
        # Held while a version is folded or generations change: short, because what takes long is done before.
        self._turn = threading.Lock()

    @property
    def live(self) -> Generation | None:
        """The partials to answer from; None until the first have caught up."""
        return self._live

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """Take in what the writer just committed as `version` (a `CommitListener`).

        Never raises: what fails here is caught up with later.
        """
        try:
            with self._turn:
                self._take(version, batches)
        except Exception as error:  # noqa: BLE001 - the writer must not stop for the sake of an answer
            self.problem = self._told(error)

    def settled(self) -> Settled:
        """See CommitListener: what is in the partials on the disk."""
        live = self._live
        if live is None:
            return Settled(-1, -1 if self._labels is not None else NEVER_ASKED)
        labelling = live.labelling
        reached = [live.table.folded, *([] if live.batches is None else [live.batches.kept])]
        if labelling is None:
            return Settled(min(reached), NEVER_ASKED)
        return Settled(min(*reached, labelling.committed[0], labelling.slices.kept), labelling.kept)

    def retired(self, slices: Sequence[int], batches: Sequence[str]) -> None:
        """See CommitListener: the counts of these slices are on the disk before their rows go, and are never
        made from rows again. Raises RuntimeError, CommitError or OSError; then the rows must stay.
        """
        del batches
        if not self.reach(_SEAL_SECONDS):
            raise RuntimeError("the partials are behind the tables: their slices cannot be sealed yet")
        live = self._live
        if live is None:
            raise RuntimeError("there are no partials yet")
        live.persist()
        with self._sealing:
            self._sealed.keep(self._sealed.current.with_slices(slices, live.name))

    def reach(self, timeout: float) -> bool:
        """Wait until what is in the table now is in the live partials; False if that takes too long."""
        newest = max((file.version for file in self._table.files_added(-1)), default=-1)
        if self._labels is not None or self._by_batch:
            self._wake.set()

        def reached() -> bool:
            live = self._live
            if live is None or live.folded < newest:
                return False
            if live.batches is not None and live.batches.folded < newest:
                return False
            return live.labelling is None or live.labelling.current

        return self._wait_for(reached, timeout)

    def _take(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        live = self._live
        if live is None or version <= live.folded:
            return
        if any(file.version < version for file in self._table.files_added(live.folded)):
            self._wake.set()
            return
        if live.pending > _BEHIND * self._pace.persist_entries:
            self._wake.set()  # the disk is slow: the thread catches up from the table, and waits for it
            return
        live.add((part for batch in batches for part in live.space.fold(batch, TIMES)), version)
        self._progressed()
        if live.pending > self._pace.persist_entries:
            self._wake.set()

    def _step(self) -> None:
        self._change()
        self._tend()

    def _keep(self) -> None:
        self._persist()
        self._keep_batches()

    def _drop(self, keys: Words) -> None:
        """What is read from the tables after this no longer has these ids: their rows went before."""
        live, labels = self._live, self._labels
        if labels is None:
            return
        if live is None:
            raise OSError("there are no partials yet: ids cannot be forgotten there")
        live.forget(keys)
        if self._slices is None and labels.folder.is_dir():
            self._slices = SliceIndex(labels)
        if self._slices is not None:
            self._slices.drop(keys)
        for other in self._root.iterdir():  # of profiles that a change has not come to, or gone from
            if other != live.table.folder:
                shutil.rmtree(other / LABEL_FOLDER, ignore_errors=True)

    def _change(self) -> None:
        name, live = self._profiles.wanted() or ROWS_ONLY, self._live
        if live is not None and live.name == name:
            self._catch_up(live)
            self._follow(live)
            self._progressed()
            return
        generation = self._opened(name)
        with self._sealing:  # nothing is sealed while counts change hands
            self._exchange(generation)
        if self._live is not generation:
            return
        self._progressed()
        log.info("partials of %s are live: %d rows", name[:12], generation.rows)
        drop_partials(self._root, frozenset({name}))
        self._wake.set()  # another one may have become the wanted one meanwhile

    def _exchange(self, generation: Generation) -> None:
        """Make it the live one, with the counts of slices whose rows are gone."""
        sealed = self._sealed.current
        keeper = None if generation.carried or sealed.keeper == generation.name else self._keeper(sealed)
        without = Sealed() if keeper is None else sealed
        self._catch_up(generation, without)
        self._follow(generation)
        with self._turn:
            self._catch_up(generation, without)
            if self._stopping.is_set():
                return
            if keeper is not None:
                self._catch_up(keeper)
                found = keeper.slices(sealed.slices)
                generation.take_over(rebin_slices(found, keeper.space, generation.space))
            self._live = generation
        generation.persist()
        if sealed.ranges and sealed.keeper != generation.name:
            self._sealed.keep(replace(sealed, keeper=generation.name, approximate=generation.approximate))

    def _follow(self, generation: Generation) -> None:
        """Take in what the writer never hands over: labels, and rows by batch."""
        generation.catch_up_with_labels()
        if generation.batches is not None:
            generation.batches.catch_up()

    def _keeper(self, sealed: Sealed) -> Generation | None:
        """The partials that hold the counts of sealed slices; None if there are none, or no more."""
        if not sealed.ranges or sealed.keeper is None:
            return None
        if self._live is not None and self._live.name == sealed.keeper:
            return self._live
        try:
            return self._opened(sealed.keeper, labelled=False)
        except (ValueError, OSError) as error:
            log.error("the counts of retired rows cannot be carried over: %s", error)
            return None

    def _opened(self, name: str, *, labelled: bool = True) -> Generation:
        profile = None if name == ROWS_ONLY else self._profiles.load(name)
        table = PartialTable.open(self._root, name)
        if table.folded > self._table.version:
            log.warning("partials reach further than the table of inferences: they are made anew")
            drop_partials(self._root, frozenset())
            table = PartialTable.open(self._root, name)
        generation = Generation(name, profile, CodeSpace.of(profile, self._stored), table)
        if name == self._sealed.current.keeper:
            generation.approximate = self._sealed.current.approximate
        if self._labels is not None and generation.space.labels and labelled:
            self._slices = self._slices or SliceIndex(self._labels)
            folder = table.folder / LABEL_FOLDER
            committed = table.labelled
            if committed[1] > self._labels.truth.version:
                log.warning("labels in the partials reach further than their table")
            generation.labelling = Labelling(
                LabelCells(generation.space), self._labels, self._slices, folder, committed
            )
        if self._by_batch and profile is not None and labelled:
            generation.batches = BatchCounts(table.folder, generation.space, self._table, TIMES)
        return generation

    def _catch_up(self, generation: Generation, without: Sealed = _NOTHING) -> None:
        """Fold all versions that the table has and the generation has not, a bounded number
        of rows at a time.
        """
        columns = [EVENT_TIME, ARRIVAL_TIME, *generation.space.names]

        def fold(file: TableFile) -> list[SparseCounts]:
            batches = (_unsealed(batch, without) for batch in self._table.read([file], columns))
            return [part for batch in batches for part in generation.space.fold(batch, TIMES)]

        for version, files in by_version(self._table.files_added(generation.folded)):
            if self._stopping.is_set():
                return
            generation.add((part for parts in self._executor.map(fold, files) for part in parts), version)
            self._progressed()
            if generation.pending > self._pace.persist_entries:
                generation.persist()
                generation.shed(self._pace.memory_bytes)

    def _tend(self) -> None:
        live = self._live
        if live is None:
            return
        now = self._clock()
        if live.pending <= self._pace.persist_entries and now - self._persisted < self._pace.persist_seconds:
            return
        self._persisted = now
        self._persist()
        self._keep_batches()
        if live.table.files > self._pace.compact_files:
            live.compact(self._pace.compact_files)
        live.shed(self._pace.memory_bytes)

    def _keep_batches(self) -> None:
        if self._live is not None and self._live.batches is not None:
            self._live.batches.keep(self._pace.compact_files, self._pace.memory_bytes)

    def _persist(self) -> None:
        if self._live is not None:
            self._live.persist()


def _unsealed(batch: pa.RecordBatch, sealed: Sealed) -> pa.RecordBatch:
    """The rows of slices that are not sealed."""
    if not sealed.ranges or not batch.num_rows:
        return batch
    gone = sealed.holds(slice_of(batch.column(batch.schema.get_field_index(EVENT_TIME))))
    return batch.filter(pa.array(~gone)) if gone.any() else batch
