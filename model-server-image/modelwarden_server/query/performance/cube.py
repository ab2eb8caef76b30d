"""The sums of one definition, in memory and on the disk, with the indexes behind them (`query.labelling`).

Made of the parts that drift's partials are made of: counts by slice (or batch) and code with the versions of
inferences and labels that they reach in the same commit, an index of rows, an index of labels. Used by one
thread, asked by any. Must not decide what is to be counted.
"""

import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from modelwarden_server.analysis.code_space import CodeSpace, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, merge
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.durable import make_folder, replace_file
from modelwarden_server.query.batch_names import BatchNames
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.labelling import Labelling, LabelSources, SliceIndex
from modelwarden_server.query.sealing import Sealed
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME
from modelwarden_server.schema.digest import Words
from modelwarden_server.store.partials import PartialTable
from modelwarden_server.store.rows_table import RowsTable

log = logging.getLogger(__name__)
_MADE_OF = "definition.json"
_COMPACT_FILES = 64


@dataclass(frozen=True)
class Places:
    """Where a row counts: in the slice of its event time, or for a batch model under its batch's number."""

    names: BatchNames | None = None

    @property
    def column(self) -> str:
        """The column that tells."""
        return EVENT_TIME if self.names is None else BATCH

    def of(self, rows: pa.RecordBatch) -> Integers:
        """The place of each row."""
        values = rows.column(rows.schema.get_field_index(self.column))
        return slice_of(values) if self.names is None else self.names.numbers_of(values)


@dataclass(frozen=True)
class OutcomeCounting:
    """What `query.labelling` has to know of outcomes."""

    space: OutcomeSpace
    at: Places
    counts_rows: bool = True

    @property
    def row_columns(self) -> Sequence[str]:
        """See Counting."""
        return (self.at.column, *self.space.definition.columns)

    @property
    def row_words(self) -> int:
        """See Counting."""
        return self.space.row_words

    @property
    def label_words(self) -> int:
        """See Counting."""
        return self.space.definition.outcome.label_words

    @property
    def label_columns(self) -> Sequence[str]:
        """See Counting."""
        return self.space.definition.outcome.truth_columns

    def places(self, batch: pa.RecordBatch) -> Integers:
        """See Counting."""
        return self.at.of(batch)

    def rows(self, batch: pa.RecordBatch) -> Words:
        """See Counting."""
        return self.space.packed(batch)

    def labels(self, batch: pa.RecordBatch) -> Words:
        """See Counting."""
        return self.space.labels_packed(self.space.labels(batch))

    def arrived(self, slices: Integers, rows: Words) -> SparseCounts:
        """See Counting."""
        return self.space.fold_rows(slices, rows)

    def counted(self, slices: Integers, rows: Words, labels: Words, sign: int) -> SparseCounts:
        """See Counting."""
        return self.space.fold_labels(slices, rows, self.space.labels_unpacked(labels), sign)


@dataclass(frozen=True)
class CubeSources:
    """The tables, the folder of everything that is kept of sums, and of a batch model the numbers of
    batches.
    """

    inferences: RowsTable
    truth: RowsTable
    root: Path
    names: BatchNames | None = None


@dataclass
class Cube:
    """See the module's text. `definition` may be replaced by one of the same hash."""

    definition: Definition
    sources: CubeSources
    space: OutcomeSpace = field(init=False)
    counts: Generation = field(init=False)
    labelling: Labelling = field(init=False)
    baseline: tuple[str, Integers] | None = None
    """The reference: the hash of its content, and its sums by code."""

    def __post_init__(self) -> None:
        self.space = OutcomeSpace(self.definition)
        self._open()
        newest, names = self.counts.newest_slice(), self.sources.names
        lost = names is not None and newest is not None and newest >= len(names)
        far = self.labelling.committed[0] > self.sources.inferences.version
        # Sums of retired rows are of no use without the index that their labels are found by.
        alone = self.counts.carried and self.labelling.slices.kept < 0
        if lost or far or alone:
            log.warning("sums of outcomes do not fit what is known of the tables: they are made anew")
            shutil.rmtree(self.folder, ignore_errors=True)
            self._open()

    def _open(self) -> None:
        table = PartialTable.open(self.sources.root, self.definition.hash)
        # Of a space, counts need no more than the size.
        self.counts = Generation(self.definition.hash, None, cast("CodeSpace", self.space), table)
        counting = OutcomeCounting(self.space, Places(self.sources.names))
        tables = LabelSources(self.sources.inferences, self.sources.truth, table.folder / "rows")
        rows = SliceIndex(tables, self.space.row_words)
        self.labelling = Labelling(counting, tables, rows, table.folder / "labels", table.labelled)
        self.counts.labelling = self.labelling
        make_folder(table.folder)
        replace_file(table.folder / _MADE_OF, json.dumps(self.space.packing).encode())

    @property
    def hash(self) -> str:
        """The definition's."""
        return self.definition.hash

    @property
    def folder(self) -> Path:
        """Where it all is."""
        return self.counts.table.folder

    @property
    def reached(self) -> tuple[int, int]:
        """The versions of inferences and labels that are counted."""
        return self.labelling.reached

    @property
    def kept(self) -> tuple[int, int]:
        """Versions below which it will never ask for files by the version that added them."""
        return min(self.labelling.committed[0], self.labelling.slices.kept), self.labelling.kept

    @property
    def current(self) -> bool:
        """Whether the tables hold nothing that is not counted."""
        return self.labelling.current

    def catch_up(self, progress: Callable[[], bool]) -> None:
        """Count what the tables have. `progress` is called after each version: False ends it there."""
        for _ in self.counts.steps():
            self.counts.folded = self.labelling.reached[0]
            if not progress():
                return

    def persist(self, memory: int) -> None:
        """Bring the disk up to date, join its files, and drop from memory what is there. Raises CommitError
        or OSError.
        """
        if self.sources.names is not None:
            self.sources.names.keep()
        self.counts.persist()
        if self.counts.table.files > _COMPACT_FILES:
            self.counts.compact(_COMPACT_FILES)
        self.counts.shed(memory)

    def window(self, start: int, end: int) -> Integers:
        """Sums by code of the slices in [start, end)."""
        return self.counts.window(start, end)

    def batch(self, name: str) -> Integers | None:
        """Sums by code of one batch; None for an unknown one."""
        number = None if self.sources.names is None else self.sources.names.number(name)
        return None if number is None else self.counts.window(number, number + 1)

    def take_over(self, old: "OldRows", sealed: Sealed) -> None:
        """Rows of sealed slices, which need not be in a table any more, from another definition's index.
        Before the first `catch_up`, so that labels find them; once.
        """
        if self.counts.carried or self.labelling.reached != (-1, -1):
            return
        parts = []
        for keys, slices, rows in old.of(sealed, self.space):
            self.labelling.slices.add(0, keys, slices, rows)
            parts.append(self.space.fold_rows(slices, rows))
        self.counts.take_over(merge(parts))


@dataclass(frozen=True)
class OldRows:
    """The index of rows of a definition that is no longer wanted."""

    index: SliceIndex
    packing: Mapping[str, Any]

    @classmethod
    def opened(cls, folder: Path, sources: CubeSources) -> "OldRows | None":
        """From its folder; None if there is none that can be read."""
        try:
            packing = json.loads((folder / _MADE_OF).read_bytes())
            tables = LabelSources(sources.inferences, sources.truth, folder / "rows")
            return cls(SliceIndex(tables, int(packing["row_words"])), packing)
        except (OSError, ValueError, KeyError):
            return None

    @classmethod
    def live(cls, cube: Cube) -> "OldRows":
        """From sums that are in use, by the thread that uses them."""
        return cls(cube.labelling.slices, cube.space.packing)

    def of(self, sealed: Sealed, space: OutcomeSpace) -> Iterator[tuple[Words, Integers, Words]]:
        """Keys, slices and what that space remembers of the rows of sealed slices; none if what was predicted
        was another thing.
        """
        for keys, slices, rows in self.index.entries():
            held = sealed.holds(slices)
            if not held.any():
                continue
            try:
                yield keys[held], slices[held], space.repacked(rows[held], self.packing)
            except ValueError as error:
                log.warning("counts of retired rows are not carried over: %s", error)
                return
