"""Rows of a reference, piece by piece, into counts by half, group and score bin. Pure; bounded memory.

A row without a score counts nowhere; one without a label counts as a row alone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.cells import MAX_CATEGORY_LENGTH, category_text
from modelwarden_server.analysis.performance.groups import MAX_GROUPS
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts

Places = npt.NDArray[np.int64]
MAX_DISTINCT = 200_000
_ROWS, _POSITIVE, _NEGATIVE = range(3)


class HalvedCounts:
    """Counts of one attribute's groups. The last two groups are OTHER and MISSING."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._counts = np.zeros((3, 2 * len(names) * BINS), dtype=np.int64)

    def add(self, halves: Places, groups: Places, bins: Places, labels: Places) -> None:
        """Rows: which half, which group, which bin (-1: no score); label 1, 0, or another for none."""
        scored = bins >= 0
        codes = ((halves * len(self.names) + groups) * BINS + bins)[scored]
        labels = labels[scored]
        size = self._counts.shape[1]
        self._counts[_ROWS] += np.bincount(codes, minlength=size)
        self._counts[_POSITIVE] += np.bincount(codes[labels == 1], minlength=size)
        self._counts[_NEGATIVE] += np.bincount(codes[labels == 0], minlength=size)

    def half(self, half: int) -> dict[str, BinaryCounts]:
        """The groups of one half that have rows, by name."""
        shaped = self._counts.reshape(3, 2, len(self.names), BINS)[:, half]
        found = {name: BinaryCounts(*shaped[:, place]) for place, name in enumerate(self.names)}
        return {name: counts for name, counts in found.items() if counts.rows.any()}


def most_frequent(chunks: Iterable[pa.Array]) -> tuple[str, ...]:
    """The values that most rows have, at most MAX_GROUPS, in the order of how often; equals by name.

    Of more than MAX_DISTINCT values those that come first are counted.
    """
    seen: Counter[str] = Counter()
    for chunk in chunks:
        coded = chunk.dictionary_encode()
        counts = np.bincount(
            coded.indices.drop_null().to_numpy(zero_copy_only=False), minlength=len(coded.dictionary)
        )
        for value, number in zip(coded.dictionary.to_pylist(), counts.tolist(), strict=True):
            text = category_text(value)
            if text is None or len(text) > MAX_CATEGORY_LENGTH:
                continue
            if text in seen or len(seen) < MAX_DISTINCT:
                seen[text] += number
    ranked = sorted(seen.items(), key=lambda one: (-one[1], one[0]))
    return tuple(text for text, _ in ranked[:MAX_GROUPS])
