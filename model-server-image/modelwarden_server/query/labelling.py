"""Labels as partials: each counts in the slice of its inference, whichever of the two came first.

Two small indexes on the disk, by the id's key: the slice of every inference and what else its label will be
counted by (kept when its rows are retired, so that a late label still finds it), and of every label that
counts its arrival and what it says. What that is, and what is counted of it, a `Counting` knows. A
label that replaces an older one (by arrival, then by its place in the table) takes the old cells away and
adds the new: the same label sent again changes nothing. A label without its inference waits in the index.

Exactly once: the versions that are folded stand in the same commit as the counts (see `Generation.persist`).
The index of labels never reaches further than that; what it lacks after a crash it takes from the table,
without counting it. Made and used by one thread.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.cells import Codes
from modelwarden_server.analysis.code_space import CodeSpace, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, empty, merge
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME, ID
from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.rows_table import RowsTable
from modelwarden_server.store.run_file import Mask
from modelwarden_server.store.runs import RunSet

_BITS = 16
_CODES_A_WORD = 64 // _BITS
_AT_ONCE = 500_000
"""Rows of one version that are held in memory at once."""
_ALL = 1 << 62
"""Bytes to check: these indexes are opened beside the doors, which do not wait for it."""


@dataclass(frozen=True)
class LabelSources:
    """The tables of inferences and labels, and the folder of the index of slices."""

    inferences: RowsTable
    truth: RowsTable
    folder: Path


class Counting(Protocol):
    """What is counted of rows and of their labels, and what has to be remembered of either for that."""

    @property
    def row_columns(self) -> Sequence[str]:
        """Columns of the inferences that `places` and `rows` look at."""
        ...

    @property
    def row_words(self) -> int:
        """Words that are remembered of a row beside its slice."""
        ...

    @property
    def label_columns(self) -> Sequence[str]:
        """Columns of labels."""
        ...

    @property
    def label_words(self) -> int:
        """Words that are remembered of a label."""
        ...

    @property
    def counts_rows(self) -> bool:
        """Whether rows count by themselves too (see `arrived`)."""
        ...

    def places(self, batch: pa.RecordBatch) -> Integers:
        """The slice of each row."""
        ...

    def rows(self, batch: pa.RecordBatch) -> Words:
        """What is remembered of each row, (n, row_words)."""
        ...

    def labels(self, batch: pa.RecordBatch) -> Words:
        """What is remembered of each label, (n, label_words)."""
        ...

    def arrived(self, slices: Integers, rows: Words) -> SparseCounts:
        """What rows count by themselves."""
        ...

    def counted(self, slices: Integers, rows: Words, labels: Words, sign: int) -> SparseCounts:
        """What labels count at their rows; with sign -1 what they had counted."""
        ...


@dataclass(frozen=True)
class LabelCells:
    """The cells of a profile's labels (a `Counting`): rows themselves are counted elsewhere."""

    space: CodeSpace
    row_columns: Sequence[str] = (EVENT_TIME,)
    row_words: int = 0
    counts_rows: bool = False

    @property
    def label_columns(self) -> Sequence[str]:
        """See Counting."""
        return [profile.column.name for profile in self.space.labels]

    @property
    def label_words(self) -> int:
        """See Counting."""
        return -(-len(self.space.labels) // _CODES_A_WORD)

    def places(self, batch: pa.RecordBatch) -> Integers:
        """See Counting."""
        return slice_of(batch.column(EVENT_TIME))

    def rows(self, batch: pa.RecordBatch) -> Words:
        """See Counting."""
        return np.empty((batch.num_rows, 0), dtype=np.uint64)

    def labels(self, batch: pa.RecordBatch) -> Words:
        """See Counting."""
        packed = np.zeros((batch.num_rows, self.label_words), dtype=np.uint64)
        for place, codes in enumerate(self.space.label_cells(batch)):
            word, shift = divmod(place, _CODES_A_WORD)
            packed[:, word] |= codes.astype(np.uint64) << np.uint64(shift * _BITS)
        return packed

    def arrived(self, slices: Integers, rows: Words) -> SparseCounts:
        """See Counting."""
        del slices, rows
        return empty()

    def counted(self, slices: Integers, rows: Words, labels: Words, sign: int) -> SparseCounts:
        """See Counting."""
        del rows
        return self.space.fold_labels(slices, self._unpacked(labels), sign)

    def _unpacked(self, packed: Words) -> list[Codes]:
        found = []
        for place in range(len(self.space.labels)):
            word, shift = divmod(place, _CODES_A_WORD)
            codes = (packed[:, word] >> np.uint64(shift * _BITS)) & np.uint64((1 << _BITS) - 1)
            found.append(codes.astype(np.int32))
        return found


@dataclass
class SliceIndex:
    """The slice of each inference's event time (or its batch's number), and `words` words more of it. Without
    more it is shared by the labels of all profiles.
    """

    sources: LabelSources
    words: int = 0
    reached: int = -1
    kept: int = -1
    _runs: RunSet = field(init=False)

    def __post_init__(self) -> None:
        self._runs = RunSet(self.sources.folder, payload_words=1 + self.words)
        facts = self._runs.load(self._believed, _ALL).facts
        self.reached = self.kept = -1 if facts is None else int(facts["inferences"])

    def _believed(self, facts: Mapping[str, Any]) -> bool:
        return int(facts["inferences"]) <= self.sources.inferences.version

    def find(self, keys: Words) -> tuple[Integers, Integers, Words]:
        """Places (ascending) of the keys whose inference is known, its slice and what else is remembered."""
        places, payload = self._runs.find(keys)
        return places, payload[:, 0].copy().view(np.int64), payload[:, 1:]

    def add(self, version: int, keys: Words, slices: Integers, rows: Words) -> None:
        """Ids of one version of the inferences."""
        if version > self.reached:
            self._runs.add(np.column_stack([keys, slices.astype(np.int64).view(np.uint64), rows]))

    def came(self, version: int) -> None:
        """All ids of that version are in."""
        self.reached = max(self.reached, version)

    def entries(self) -> Iterator[tuple[Words, Integers, Words]]:
        """All there is, a bounded number at a time: keys, slices, what else is remembered."""
        for run in self._runs.runs:
            for start in range(0, run.rows, _AT_ONCE):
                part = np.array(run.table[start : start + _AT_ONCE])
                yield part[:, :2], part[:, 2].copy().view(np.int64), part[:, 3:]

    def keep(self) -> None:
        """Make durable what there is. Raises OSError."""
        if self.kept == self.reached:
            return
        while self._runs.merge_once():
            pass
        self._runs.keep({"inferences": self.reached})
        self.kept = self.reached

    def drop(self, keys: Words) -> None:
        """Forget these ids, on the disk too. Raises OSError; then it may be repeated."""
        self._runs.drop(keys)
        self._runs.keep({"inferences": self.reached})
        self.kept = self.reached


@dataclass
class Labelling:
    """The labels of one `Counting`. `committed` are the versions (inferences, labels) in the partials."""

    counting: Counting
    sources: LabelSources
    slices: SliceIndex
    folder: Path
    committed: tuple[int, int]
    known_before: Callable[[Integers], Mask] | None = None
    """Slices of which rows may be in the index and the counts without having come from the table."""
    reached: tuple[int, int] = (-1, -1)
    kept: int = -1
    _runs: RunSet = field(init=False)

    def __post_init__(self) -> None:
        self._runs = RunSet(self.folder, payload_words=1 + self.counting.label_words)
        facts = self._runs.load(self._believed, _ALL).facts
        self.kept = -1 if facts is None else int(facts["truth"])
        for _, keys, payload in self._labels(self.kept, self.committed[1]):
            self._put(keys, payload)
        self.reached = self.committed
        if self.committed[1] < 0 and not self.counting.counts_rows:
            # Without a label taken in, no inference can be one that labels wait for.
            self.reached = (max(self.committed[0], self.slices.reached), -1)

    @property
    def current(self) -> bool:
        """Whether the tables hold no row that is not taken in."""
        return not any(
            table.files_added(reached)
            for table, reached in zip(
                (self.sources.inferences, self.sources.truth), self.reached, strict=True
            )
        )

    def catch_up(self) -> Iterator[SparseCounts]:
        """What rows and labels add and take away, version by version; `reached` has come as far with each."""
        since = min(self.reached[0], self.slices.reached)
        for version, files in by_version(self.sources.inferences.files_added(since)):
            counts = []
            for keys, slices, rows in map(self._unknown, self._pieces(files)):
                self.slices.add(version, keys, slices, rows)
                if version > self.reached[0]:
                    counts += [self.counting.arrived(slices, rows), self._awaited(keys, slices, rows)]
            self.slices.came(version)
            self.reached = (max(self.reached[0], version), self.reached[1])
            yield merge(counts)
        for version, keys, payload in self._labels(self.reached[1], None):
            part = self._taken(keys, payload)
            self.reached = (self.reached[0], version)
            yield part

    def keep(self, committed: tuple[int, int]) -> None:
        """The counts up to these versions are durable: so is the index, then. Raises OSError."""
        self.committed = committed
        self.slices.keep()
        if self.kept == self.reached[1] or committed[1] != self.reached[1]:
            return
        while self._runs.merge_once():
            pass
        self._runs.keep({"truth": self.reached[1]})
        self.kept = self.reached[1]

    def drop(self, keys: Words) -> None:
        """Forget these ids, on the disk too; what they counted stays. Only while nothing is taken in that is
        not committed. Raises OSError; then it may be repeated.
        """
        self.slices.drop(keys)
        self._runs.drop(keys)
        self._runs.keep({"truth": self.reached[1]})
        self.kept = self.reached[1]

    def _believed(self, facts: Mapping[str, Any]) -> bool:
        return int(facts["truth"]) <= self.committed[1]

    def _pieces(self, files: Sequence[TableFile]) -> Iterator[tuple[Words, Integers, Words]]:
        """The rows of one version: keys, slices, what is remembered; a bounded number at a time."""
        held: list[tuple[Words, Integers, Words]] = []
        columns = list(dict.fromkeys([ID, *self.counting.row_columns]))
        for batch in self.sources.inferences.read(files, columns):
            keys = id_keys(batch.column(ID).to_pylist())
            held.append((keys, self.counting.places(batch), self.counting.rows(batch)))
            if sum(len(keys) for keys, _, _ in held) >= _AT_ONCE:
                yield _together(held)
                held = []
        if held:
            yield _together(held)

    def _unknown(self, piece: tuple[Words, Integers, Words]) -> tuple[Words, Integers, Words]:
        keys, slices, rows = piece
        if self.known_before is None:
            return piece
        asked = np.flatnonzero(self.known_before(slices))
        left = np.ones(len(keys), dtype=np.bool_)
        left[asked[self.slices.find(keys[asked])[0]]] = False
        return keys[left], slices[left], rows[left]

    def _labels(self, since: int, until: int | None) -> Iterator[tuple[int, Words, Words]]:
        """Versions of labels: of each id the newest label within the version, as key and payload."""
        columns = [ID, ARRIVAL_TIME, *self.counting.label_columns]
        width = 3 + self.counting.label_words
        for version, files in by_version(self.sources.truth.files_added(since)):
            if until is not None and version > until:
                return
            parts = []
            for batch in self.sources.truth.read(files, columns):
                keys = id_keys(batch.column(ID).to_pylist())
                arrival = batch.column(ARRIVAL_TIME).cast(pa.int64()).to_numpy(zero_copy_only=False)
                words = [keys, arrival.view(np.uint64)[:, None], self.counting.labels(batch)]
                parts.append(np.concatenate(words, axis=1))
            rows = _newest(np.concatenate(parts)) if parts else np.empty((0, width), np.uint64)
            yield version, rows[:, :2], rows[:, 2:]

    def _awaited(self, keys: Words, slices: Integers, rows: Words) -> SparseCounts:
        """Labels that came before their inference."""
        places, payload = self._runs.find(keys)
        return self.counting.counted(slices[places], rows[places], payload[:, 1:], 1)

    def _taken(self, keys: Words, payload: Words) -> SparseCounts:
        """Labels of one version: −1 for what they replace, +1 for themselves, where the inference is
        known.
        """
        old = np.zeros_like(payload)
        had = np.zeros(len(keys), dtype=np.bool_)
        places, found = self._runs.find(keys)
        old[places], had[places] = found, True
        counts = ~had | (payload[:, 0].view(np.int64) >= old[:, 0].copy().view(np.int64))
        known, slices, rows = self.slices.find(keys)
        here = counts[known]
        known, slices, rows = known[here], slices[here], rows[here]
        replaced = had[known]
        self._put(keys[counts], payload[counts])
        counted = self.counting.counted
        return merge(
            [
                counted(slices, rows, payload[known, 1:], 1),
                counted(slices[replaced], rows[replaced], old[known[replaced], 1:], -1),
            ]
        )

    def _put(self, keys: Words, payload: Words) -> None:
        self._runs.add(np.concatenate([keys, payload], axis=1))


def _together(parts: Sequence[tuple[Words, Integers, Words]]) -> tuple[Words, Integers, Words]:
    keys, slices, rows = zip(*parts, strict=True)
    return np.concatenate(keys), np.concatenate(slices), np.concatenate(rows)


def _newest(rows: Words) -> Words:
    """Of each key the row that arrived last; of those, the last one."""
    arrival = rows[:, 2].copy().view(np.int64)
    order = np.lexsort((np.arange(len(rows)), arrival, rows[:, 1], rows[:, 0]))
    rows = rows[order]
    last = np.ones(len(rows), dtype=np.bool_)
    last[:-1] = (rows[1:, :2] != rows[:-1, :2]).any(axis=1)
    kept: Words = rows[last]
    return kept


def by_version(files: Iterable[TableFile]) -> list[tuple[int, list[TableFile]]]:
    """Files by the version that added them, ascending."""
    versions: dict[int, list[TableFile]] = {}
    for file in files:
        versions.setdefault(file.version, []).append(file)
    return sorted(versions.items())
