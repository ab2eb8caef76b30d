"""One number for each thing that is counted of an outcome: `offset of the population + place in its block`.

A row counts in the block of everybody, of its group of each attribute and of each segment it is in, first by
itself, then with its label; a label that is replaced counts with the sign -1. Code 0 counts rows. Sums of
numbers are fixed point, so everything is an integer and adds up in any order. Pure. What codes mean must not
change for a definition of the same hash: they are what is on the disk.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.partials import Integers, SparseCounts, sum_by_key
from modelwarden_server.analysis.performance.blocks import (
    BinaryBlock,
    Block,
    MulticlassBlock,
    RegressionBlock,
)
from modelwarden_server.analysis.performance.fixed_point import Scale
from modelwarden_server.analysis.performance.groups import MISSING, OTHER, GroupRule, SegmentRule
from modelwarden_server.analysis.performance.label_block import MultilabelBlock
from modelwarden_server.analysis.performance.list_blocks import RankedBlock, TokenBlock
from modelwarden_server.analysis.performance.outcome import Outcome, Task
from modelwarden_server.analysis.performance.packing import (
    Words,
    doubles_packed,
    doubles_unpacked,
    packed_fields,
    unpacked_fields,
    words_of,
)

FORMAT: Final = 2
"""Raised when codes or packed rows mean something else than before: the sums are then made anew."""
_GROUP_BITS: Final = 8
_ENTRIES_AT_ONCE: Final = 300_000


@dataclass(frozen=True)
class Definition:
    """What is counted: the outcome, the threshold of two classes, who is counted apart, and of a regression
    its scale.
    """

    outcome: Outcome
    threshold: float = 0.5
    groups: tuple[GroupRule, ...] = ()
    segments: tuple[SegmentRule, ...] = ()
    scale: Scale | None = None

    @cached_property
    def hash(self) -> str:
        """Equal definitions count the same. A threshold on the grid is none of it: the grid has them all."""
        outcome = self.outcome
        plain = {
            "format": FORMAT,
            "task": outcome.task.value,
            "predictions": outcome.predictions,
            "truths": [(t.column, t.value) for t in outcome.truths],
            "classes": outcome.classes,
            "threshold": self.off_grid,
            "groups": [
                (g.attribute, g.values, [[repr(b) for b in r] for r in g.ranges]) for g in self.groups
            ],
            "segments": [
                (s.name, [(c.attribute, c.comparator, c.values) for c in s.where]) for s in self.segments
            ],
            "scale": None if self.scale is None else (self.scale.bits, self.scale.centre),
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @property
    def off_grid(self) -> float | None:
        """The threshold, if it is none of the grid's: it gets an edge of its own."""
        if self.outcome.task is not Task.BINARY or not 0 < self.threshold < 1:
            return None
        return None if round(self.threshold * 1000) / 1000 == self.threshold else self.threshold

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of inferences that are looked at."""
        names = [*self.outcome.predictions, *(g.attribute for g in self.groups)]
        names += [name for segment in self.segments for name in segment.columns]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class OutcomeSpace:
    """The codes of one definition. `populations`: block 0 is everybody's, then each group's (OTHER and
    MISSING after the listed ones), then each segment's.
    """

    definition: Definition

    @cached_property
    def everybody(self) -> Block:
        """The block of everybody."""
        return self._block(whole=True)

    @cached_property
    def part(self) -> Block:
        """The block of any other population."""
        return self._block(whole=False)

    def _block(self, *, whole: bool) -> Block:
        definition = self.definition
        match definition.outcome.task:
            case Task.BINARY:
                return BinaryBlock(definition.off_grid)
            case Task.MULTICLASS:
                return MulticlassBlock(len(definition.outcome.classes), binned=whole)
            case Task.REGRESSION:
                return RegressionBlock(definition.scale or Scale(20))
            case Task.MULTILABEL:
                return MultilabelBlock(len(definition.outcome.classes))
            case Task.RANKED_LIST:
                return RankedBlock()
            case Task.TOKEN_SEQUENCE:
                return TokenBlock()

    @cached_property
    def populations(self) -> tuple[tuple[str | None, int, str | None], ...]:
        """Of each block the attribute and the group's place in it, or the segment's name."""
        found: list[tuple[str | None, int, str | None]] = [(None, 0, None)]
        for rule in self.definition.groups:
            found += [(rule.attribute, place, None) for place in range(len(rule.names) + 2)]
        found += [(None, 0, segment.name) for segment in self.definition.segments]
        return tuple(found)

    @cached_property
    def size(self) -> int:
        """How many codes there are."""
        return self.everybody.size + (len(self.populations) - 1) * self.part.size

    def block_of(self, place: int, totals: Integers) -> Integers:
        """The part of counts by code that is one population's."""
        if place == 0:
            return totals[: self.everybody.size]
        start = self._start(place)
        return totals[start : start + self.part.size]

    def _start(self, place: int) -> int:
        return self.everybody.size + (place - 1) * self.part.size

    @property
    def row_words(self) -> int:
        """The words that are remembered of a row."""
        return self.everybody.row_words + words_of(self._widths)

    @property
    def _widths(self) -> list[int]:
        return [_GROUP_BITS] * len(self.definition.groups) + [1] * len(self.definition.segments)

    def packed(self, rows: pa.RecordBatch | pa.Table) -> Words:
        """What is remembered of these rows, shape (n, row_words)."""
        scores = self.everybody.packed(self.definition.outcome.scores(rows))
        fields = [rule.encode(rows.column(rule.attribute)) for rule in self.definition.groups]
        fields += [segment.holds(rows).astype(np.int64) for segment in self.definition.segments]
        return np.concatenate([scores, packed_fields(fields, self._widths, rows.num_rows)], axis=1)

    @property
    def packing(self) -> dict[str, Any]:
        """How remembered rows are packed, as plain JSON, for a later definition to read them by."""
        definition = self.definition
        return {
            "outcome": [definition.outcome.task.value, *definition.outcome.predictions],
            "score_words": self.everybody.row_words,
            "row_words": self.row_words,
            "groups": [[rule.attribute, *rule.names] for rule in definition.groups],
            "segments": [
                [s.name, [[c.attribute, c.comparator, *c.values] for c in s.where]]
                for s in definition.segments
            ],
        }

    def repacked(self, rows: Words, before: Mapping[str, Any]) -> Words:
        """Rows that another definition has packed (`packing`), as this one does: groups by name, else OTHER;
        segments that are the same, else nobody. Raises ValueError if another thing was predicted.
        """
        after = self.packing
        if [before["outcome"], before["score_words"]] != [after["outcome"], after["score_words"]]:
            raise ValueError("what is predicted is another thing than before")
        scores = rows[:, : self.everybody.row_words]
        widths = [_GROUP_BITS] * len(before["groups"]) + [1] * len(before["segments"])
        old = unpacked_fields(rows[:, self.everybody.row_words :], widths)
        groups = {attribute: (names, old[i]) for i, (attribute, *names) in enumerate(before["groups"])}
        inside = dict(zip(map(str, before["segments"]), old[len(groups) :], strict=True))
        fields = [_by_name(rule, groups.get(rule.attribute), len(rows)) for rule in self.definition.groups]
        nobody = np.zeros(len(rows), dtype=np.int64)
        fields += [inside.get(str(segment), nobody) for segment in after["segments"]]
        return np.concatenate([scores, packed_fields(fields, self._widths, len(rows))], axis=1)

    def labels(self, rows: pa.RecordBatch | pa.Table) -> npt.NDArray[Any]:
        """The labels of these rows (see Outcome.labels)."""
        return self.definition.outcome.labels(rows)

    def labels_packed(self, labels: npt.NDArray[Any]) -> Words:
        """What is remembered of labels, shape (n, label_words of the outcome)."""
        return doubles_packed(labels) if labels.ndim == 1 else labels

    def labels_unpacked(self, words: Words) -> npt.NDArray[Any]:
        """The labels again."""
        plain = self.definition.outcome.task in (Task.BINARY, Task.MULTICLASS, Task.REGRESSION)
        return doubles_unpacked(words) if plain else words

    def fold_rows(self, slices: Integers, packed: Words) -> SparseCounts:
        """The partial of rows by themselves."""
        return self._folded(slices, packed, None, 1)

    def fold_labels(
        self, slices: Integers, packed: Words, labels: npt.NDArray[Any], sign: int = 1
    ) -> SparseCounts:
        """The partial of labels at their rows. With sign -1: what labels that are replaced had added."""
        return self._folded(slices, packed, labels, sign)

    def _folded(
        self, slices: Integers, packed: Words, labels: npt.NDArray[Any] | None, sign: int
    ) -> SparseCounts:
        keys, values = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        blocks = 1 + len(self.definition.groups) + len(self.definition.segments)
        at_once = max(1, _ENTRIES_AT_ONCE // (blocks * self.everybody.entries))
        for low in range(0, len(slices), at_once):
            piece = slice(low, low + at_once)
            part = self._piece(slices[piece], packed[piece], None if labels is None else labels[piece])
            keys.append(part.keys)
            values.append(part.counts * sign)
        if len(keys) == 2:
            return SparseCounts(keys[1], values[1])
        return sum_by_key(np.concatenate(keys), np.concatenate(values))

    def _piece(self, slices: Integers, packed: Words, labels: npt.NDArray[Any] | None) -> SparseCounts:
        scores, who = packed[:, : self.everybody.row_words], packed[:, self.everybody.row_words :]
        keys, values = [], []
        whole = list(self.everybody.entries_of(scores, labels))
        # Of more than a few classes a part's block is another than everybody's.
        parts = whole if self.part == self.everybody else list(self.part.entries_of(scores, labels))
        for place, (start, inside) in enumerate(self._starts(who)):
            for rows, codes, numbers in whole if place == 0 else parts:
                used = slice(None) if inside is None else inside[rows]
                chosen = rows[used]
                base = start if isinstance(start, int) else start[chosen]
                keys.append(slices[chosen] * self.size + base + codes[used])
                values.append(numbers[used])
        if not keys:
            return sum_by_key(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        return sum_by_key(np.concatenate(keys), np.concatenate(values))

    def _starts(self, who: Words) -> Iterator[tuple[int | Integers, npt.NDArray[np.bool_] | None]]:
        """Where each row's block begins, once a population that it can be in; and who is in."""
        yield 0, None
        fields = unpacked_fields(who, self._widths)
        first, groups = 1, self.definition.groups
        for rule, group in zip(groups, fields, strict=False):
            yield self._start(first) + group * self.part.size, None
            first += len(rule.names) + 2
        for inside in fields[len(groups) :]:
            yield self._start(first), inside.astype(np.bool_)
            first += 1

    def names(self) -> Sequence[str]:
        """The names of groups by block, "" for everybody and segments."""
        groups = {rule.attribute: (*rule.names, OTHER, MISSING) for rule in self.definition.groups}
        return [groups[a][place] if a is not None else "" for a, place, _ in self.populations]


def _by_name(rule: GroupRule, old: tuple[list[str], Integers] | None, rows: int) -> Integers:
    """The groups of a rule, told from the places in an older list of names."""
    other = len(rule.names)
    if old is None:
        return np.full(rows, other, dtype=np.int64)
    places = {name: place for place, name in enumerate(rule.names)}
    table = np.array([*(places.get(name, other) for name in old[0]), other, other + 1], dtype=np.int64)
    return np.asarray(table[old[1]])
