"""Labels as partials: each counts in the slice of its inference, whichever of the two came first.

Two small indexes on the disk, by the id's key: the slice of every inference (kept when its rows are retired,
so that a late label still finds its slice), and of every label that counts its arrival and its cells. A
label that replaces an older one (by arrival, then by its place in the table) takes the old cells away and
adds the new: the same label sent again changes nothing. A label without its inference waits in the index.

Exactly once: the versions that are folded stand in the same commit as the counts (see `Generation.persist`).
The index of labels never reaches further than that; what it lacks after a crash it takes from the table,
without counting it. Made and used by one thread.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from modelwarden_server.analysis.cells import Codes
from modelwarden_server.analysis.code_space import CodeSpace, slice_of
from modelwarden_server.analysis.partials import Integers, SparseCounts, empty, merge
from modelwarden_server.schema.compiled import ARRIVAL_TIME, EVENT_TIME, ID
from modelwarden_server.schema.digest import Words, id_keys
from modelwarden_server.store.delta import TableFile
from modelwarden_server.store.rows_table import RowsTable
from modelwarden_server.store.runs import RunSet

_BITS = 16
_CODES_A_WORD = 64 // _BITS
_ALL = 1 << 62
"""Bytes to check: these indexes are opened beside the doors, which do not wait for it."""


@dataclass(frozen=True)
class LabelSources:
    """The tables of inferences and labels, and the folder of the index of slices."""

    inferences: RowsTable
    truth: RowsTable
    folder: Path


@dataclass
class SliceIndex:
    """The slice of each inference's event time. Shared by the labels of all profiles."""

    sources: LabelSources
    reached: int = -1
    kept: int = -1
    _runs: RunSet = field(init=False)

    def __post_init__(self) -> None:
        self._runs = RunSet(self.sources.folder, payload_words=1)
        facts = self._runs.load(self._believed, _ALL).facts
        self.reached = self.kept = -1 if facts is None else int(facts["inferences"])

    def _believed(self, facts: Mapping[str, Any]) -> bool:
        return int(facts["inferences"]) <= self.sources.inferences.version

    def find(self, keys: Words) -> tuple[Integers, Integers]:
        """Places (ascending) of the keys whose inference is known, and its slice."""
        places, payload = self._runs.find(keys)
        return places, payload[:, 0].copy().view(np.int64)

    def add(self, version: int, keys: Words, slices: Integers) -> None:
        """The ids of one version of the inferences."""
        if version > self.reached:
            self._runs.add(np.column_stack([keys, slices.astype(np.int64).view(np.uint64)]))

    def came(self, version: int) -> None:
        """All ids of that version are in."""
        self.reached = max(self.reached, version)

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
    """The labels of one profile. `committed` are the versions (inferences, labels) in the partials."""

    space: CodeSpace
    sources: LabelSources
    slices: SliceIndex
    folder: Path
    committed: tuple[int, int]
    reached: tuple[int, int] = (-1, -1)
    kept: int = -1
    _runs: RunSet = field(init=False)

    def __post_init__(self) -> None:
        self._runs = RunSet(self.folder, payload_words=1 + self._code_words)
        facts = self._runs.load(self._believed, _ALL).facts
        self.kept = -1 if facts is None else int(facts["truth"])
        for _, keys, payload in self._labels(self.kept, self.committed[1]):
            self._put(keys, payload)
        inferences = self.committed[0]
        # Without a label taken in, no inference can be one that labels wait for.
        self.reached = (max(inferences, self.slices.reached), -1) if self.committed[1] < 0 else self.committed

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
        """What labels add and take away, version by version; `reached` has come as far with each."""
        for version, keys, slices in self._inferences(min(self.reached[0], self.slices.reached)):
            self.slices.add(version, keys, slices)
            self.slices.came(version)
            part = self._awaited(keys, slices) if version > self.reached[0] else None
            self.reached = (max(self.reached[0], version), self.reached[1])
            yield part or empty()
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

    @property
    def _code_words(self) -> int:
        return -(-len(self.space.labels) // _CODES_A_WORD)

    def _believed(self, facts: Mapping[str, Any]) -> bool:
        return int(facts["truth"]) <= self.committed[1]

    def _inferences(self, since: int) -> Iterator[tuple[int, Words, Integers]]:
        for version, files in by_version(self.sources.inferences.files_added(since)):
            keys, slices = [np.empty((0, 2), dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
            for batch in self.sources.inferences.read(files, [ID, EVENT_TIME]):
                keys.append(id_keys(batch.column(ID).to_pylist()))
                slices.append(slice_of(batch.column(EVENT_TIME)))
            yield version, np.concatenate(keys), np.concatenate(slices)

    def _labels(self, since: int, until: int | None) -> Iterator[tuple[int, Words, Words]]:
        """Versions of labels: of each id the newest label within the version, as key and payload."""
        names = [profile.column.name for profile in self.space.labels]
        for version, files in by_version(self.sources.truth.files_added(since)):
            if until is not None and version > until:
                return
            parts = []
            for batch in self.sources.truth.read(files, [ID, ARRIVAL_TIME, *names]):
                keys = id_keys(batch.column(ID).to_pylist())
                arrival = batch.column(ARRIVAL_TIME).cast(pa.int64()).to_numpy(zero_copy_only=False)
                words = [keys, arrival.view(np.uint64)[:, None], self._packed(self.space.label_cells(batch))]
                parts.append(np.concatenate(words, axis=1))
            rows = _newest(np.concatenate(parts)) if parts else np.empty((0, 3 + self._code_words), np.uint64)
            yield version, rows[:, :2], rows[:, 2:]

    def _packed(self, cells: Sequence[Codes]) -> Words:
        rows = len(cells[0]) if cells else 0
        packed = np.zeros((rows, self._code_words), dtype=np.uint64)
        for place, codes in enumerate(cells):
            word, shift = divmod(place, _CODES_A_WORD)
            packed[:, word] |= codes.astype(np.uint64) << np.uint64(shift * _BITS)
        return packed

    def _unpacked(self, packed: Words) -> list[Codes]:
        found = []
        for place in range(len(self.space.labels)):
            word, shift = divmod(place, _CODES_A_WORD)
            codes = (packed[:, word] >> np.uint64(shift * _BITS)) & np.uint64((1 << _BITS) - 1)
            found.append(codes.astype(np.int32))
        return found

    def _counted(self, slices: Integers, payload: Words, sign: int) -> SparseCounts:
        return self.space.fold_labels(slices, self._unpacked(payload[:, 1:]), sign)

    def _awaited(self, keys: Words, slices: Integers) -> SparseCounts:
        """Labels that came before their inference."""
        places, payload = self._runs.find(keys)
        return self._counted(slices[places], payload, 1)

    def _taken(self, keys: Words, payload: Words) -> SparseCounts:
        """Labels of one version: −1 for what they replace, +1 for themselves, where the inference is
        known.
        """
        old = np.zeros_like(payload)
        had = np.zeros(len(keys), dtype=np.bool_)
        places, found = self._runs.find(keys)
        old[places], had[places] = found, True
        counts = ~had | (payload[:, 0].view(np.int64) >= old[:, 0].copy().view(np.int64))
        known, slices = self.slices.find(keys)
        here = counts[known]
        known, slices = known[here], slices[here]
        replaced = had[known]
        self._put(keys[counts], payload[counts])
        return merge(
            [
                self._counted(slices, payload[known], 1),
                self._counted(slices[replaced], old[known[replaced]], -1),
            ]
        )

    def _put(self, keys: Words, payload: Words) -> None:
        self._runs.add(np.concatenate([keys, payload], axis=1))


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
