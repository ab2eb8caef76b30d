"""What is counted of several labels at once (see `blocks`): of each of them what BinaryBlock counts of two
classes. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import ROWS, BinaryBlock, Entry
from modelwarden_server.analysis.performance.outcome import LABEL_BITS, POSITIVE
from modelwarden_server.analysis.performance.packing import (
    Words,
    bins_of,
    packed_fields,
    probability_of,
    score_slots,
    slot_width,
    unpacked_fields,
    words_of,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MultilabelBlock:
    """Rows, rows with a first label, then a BinaryBlock of each label. Scores are remembered in 16 bits:
    thresholds of the grid are exact.
    """

    labels: int
    LABELLED = 1
    _FIRST = 2

    @property
    def one(self) -> BinaryBlock:
        """The block of one label."""
        return BinaryBlock()

    @property
    def size(self) -> int:
        return self._FIRST + self.labels * self.one.size

    @property
    def entries(self) -> int:
        return 1 + 3 * self.labels

    @property
    def row_words(self) -> int:
        return words_of(self._widths)

    @property
    def _widths(self) -> tuple[int, ...]:
        return (slot_width(),) * self.labels

    def packed(self, scores: Floats) -> Words:
        return packed_fields([score_slots(column) for column in scores.T], self._widths, len(scores))

    def entries_of(self, packed: Words, labels: Words | None) -> Iterator[Entry]:
        slots = unpacked_fields(packed, self._widths)
        true: list[Floats | None] = [None] * self.labels
        if labels is None:
            rows, code = np.arange(len(packed)), ROWS
        else:
            said = unpacked_fields(labels, (LABEL_BITS,) * self.labels)
            rows, code = np.flatnonzero(said[0]), self.LABELLED
            true = [np.where(one == 0, -1.0, one - POSITIVE) for one in said]
        yield rows, np.full(len(rows), code), np.ones(len(rows), dtype=np.int64)
        for place, slot in enumerate(slots):
            scores = np.where(bins_of(slot) < 0, np.nan, probability_of(slot))
            start = self._start(place)
            for chosen, codes, numbers in self.one.entries_of(self.one.packed(scores[:, None]), true[place]):
                yield chosen, start + codes, numbers

    def block_of(self, counts: Integers, place: int) -> Integers:
        """The part that is one label's."""
        return counts[self._start(place) : self._start(place + 1)]

    def _start(self, place: int) -> int:
        return self._FIRST + place * self.one.size
