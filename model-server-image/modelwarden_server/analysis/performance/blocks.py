"""What is counted of one population: where each count and sum stands in its block, and what a row adds. Pure.

A row by itself adds entries when it comes; with its label it adds others when that comes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.fixed_point import (
    Scale,
    brier_units,
    limbs,
    log_loss_units,
)
from modelwarden_server.analysis.performance.packing import (
    MAX_BINNED,
    Words,
    bins_of,
    doubles_packed,
    doubles_unpacked,
    packed_fields,
    predicted_of,
    probability_of,
    slot_widths,
    slots,
    unpacked_fields,
    words_of,
)
from modelwarden_server.analysis.score_grid import BINS, THRESHOLDS, BinaryCounts

Floats = npt.NDArray[np.float64]
Entry = tuple[Integers, Integers, Integers]
"""Rows (their places), codes within the block, and what is added there."""
ROWS: Final = 0
LOSS: Final = 1
BRIER: Final = 2
_SUMS: Final = 3


class Block(Protocol):
    """The block of one kind of outcome."""

    @property
    def size(self) -> int:
        """How many codes it has."""
        ...

    @property
    def entries(self) -> int:
        """About how many entries a row makes."""
        ...

    @property
    def row_words(self) -> int:
        """Words that a prediction is packed into."""
        ...

    def packed(self, scores: npt.NDArray[Any]) -> Words:
        """Predictions as words."""
        ...

    def entries_of(self, packed: Words, labels: npt.NDArray[Any] | None) -> Iterator[Entry]:
        """What rows add by themselves (`labels` None), or with their labels."""
        ...


@dataclass(frozen=True)
class BinaryBlock:
    """Of two classes: rows, positives and negatives by cell of score, sums of log-loss and Brier score.

    Cells are the bins of the grid; a threshold between two of its edges divides a bin.
    """

    off_grid: float | None = None

    @property
    def cells(self) -> int:
        """How many cells of score there are."""
        return BINS + (self.off_grid is not None)

    @property
    def size(self) -> int:
        return _SUMS + 3 * self.cells

    @property
    def entries(self) -> int:
        return 3

    @property
    def row_words(self) -> int:
        return 1

    @cached_property
    def _edges(self) -> Floats:
        return np.unique([*THRESHOLDS, *([] if self.off_grid is None else [self.off_grid])])

    def packed(self, scores: Floats) -> Words:
        return doubles_packed(scores[:, 0])

    def cell_of(self, threshold: float) -> int:
        """The first cell at or above a threshold. Raises ValueError for one that is no edge."""
        place = int(np.searchsorted(self._edges, threshold))
        if threshold <= 0:
            return 0
        if place >= len(self._edges) or self._edges[place] != threshold:
            raise ValueError(f"{threshold} is not on the grid of thresholds")
        return place

    def entries_of(self, packed: Words, labels: Floats | None) -> Iterator[Entry]:
        scores = doubles_unpacked(packed)
        cells = np.clip(np.searchsorted(self._edges, scores, side="right") - 1, 0, self.cells - 1)
        scored = ~np.isnan(scores)
        if labels is None:
            every = np.arange(len(scores))
            yield every, np.zeros(len(scores), dtype=np.int64), np.ones(len(scores), dtype=np.int64)
            rows = np.flatnonzero(scored)
            yield rows, _SUMS + cells[rows], np.ones(len(rows), dtype=np.int64)
            return
        rows = np.flatnonzero(scored & (labels >= 0))
        negative = labels[rows].astype(np.int64)
        ones = np.ones(len(rows), dtype=np.int64)
        yield rows, _SUMS + (1 + negative) * self.cells + cells[rows], ones
        probability = np.clip(scores[rows], 0.0, 1.0)
        right = np.where(negative == 0, probability, 1.0 - probability)
        yield rows, np.full(len(rows), LOSS), log_loss_units(right)
        yield rows, np.full(len(rows), BRIER), brier_units((1.0 - right) ** 2)

    def counts(self, block: Integers) -> BinaryCounts:
        """The counts on the grid's 1001 bins."""
        return BinaryCounts(*(self._on_grid(cells) for cells in self._parts(block)))

    def above(self, block: Integers, threshold: float) -> tuple[int, int, int]:
        """Rows, positives and negatives at or above a threshold that is an edge."""
        cell = self.cell_of(threshold)
        rows, positives, negatives = (int(part[cell:].sum()) for part in self._parts(block))
        return rows, positives, negatives

    def _parts(self, block: Integers) -> list[Integers]:
        return [block[_SUMS + i * self.cells : _SUMS + (i + 1) * self.cells] for i in range(3)]

    def _on_grid(self, cells: Integers) -> Integers:
        if self.off_grid is None:
            return cells.copy()
        split = self.cell_of(self.off_grid)
        joined = np.delete(cells, split)
        joined[split - 1] += cells[split]
        return joined


@dataclass(frozen=True)
class MulticlassBlock:
    """Of several classes: rows by predicted class, the confusion, sums; and if `binned` (everybody, up to
    MAX_BINNED classes) of each class against the rest what BinaryBlock has by bin, and by bin of the
    predicted class's score whether the prediction was right.
    """

    classes: int
    binned: bool = True

    @property
    def scored(self) -> bool:
        """Whether scores are remembered, so that there are sums of losses."""
        return self.classes <= MAX_BINNED

    @property
    def _bins(self) -> bool:
        return self.binned and self.scored

    @property
    def _tables(self) -> int:
        return _SUMS + self.classes

    @property
    def _cubes(self) -> int:
        return self._tables + self.classes**2

    @property
    def size(self) -> int:
        return self._cubes + (3 * BINS * (self.classes + 1) if self._bins else 0)

    @property
    def entries(self) -> int:
        return 3 + (self.classes + 1 if self._bins else 0)

    @property
    def row_words(self) -> int:
        return words_of(slot_widths(self.classes))

    def packed(self, scores: Floats) -> Words:
        return packed_fields(slots(scores), slot_widths(self.classes), len(scores))

    def entries_of(self, packed: Words, labels: Floats | None) -> Iterator[Entry]:
        predicted, *scores = unpacked_fields(packed, slot_widths(self.classes))
        predicted = predicted_of(predicted)
        if labels is None:
            every = np.arange(len(predicted))
            yield every, np.zeros(len(predicted), dtype=np.int64), np.ones(len(predicted), dtype=np.int64)
            yield from self._ones(np.flatnonzero(predicted >= 0), lambda rows: _SUMS + predicted[rows])
            if self._bins:
                yield from self._of_bins(scores, None)
                yield from self._of_confidence(predicted, scores, None)
            return
        rows = np.flatnonzero((predicted >= 0) & (labels >= 0))
        true = labels.astype(np.int64)
        yield from self._ones(rows, lambda r: self._tables + predicted[r] * self.classes + true[r])
        if scores:
            yield from self._losses(rows, np.stack([probability_of(slot) for slot in scores], axis=1), true)
        if self._bins:
            yield from self._of_bins(scores, true)
            yield from self._of_confidence(predicted, scores, true)

    def _ones(self, rows: Integers, codes: "_Codes") -> Iterator[Entry]:
        yield rows, codes(rows), np.ones(len(rows), dtype=np.int64)

    def _losses(self, rows: Integers, probabilities: Floats, true: Integers) -> Iterator[Entry]:
        chosen = probabilities[rows]
        right = chosen[np.arange(len(rows)), true[rows]]
        yield rows, np.full(len(rows), LOSS), log_loss_units(right)
        squares = (chosen**2).sum(axis=1) - 2 * right + 1
        yield rows, np.full(len(rows), BRIER), brier_units(squares)

    def _of_bins(self, scores: list[Integers], true: Integers | None) -> Iterator[Entry]:
        for place, slot in enumerate(scores):
            wrong = None if true is None else np.where(true < 0, -1, true != place)
            yield self._of_class(place, bins_of(slot), wrong)

    def _of_confidence(
        self, predicted: Integers, scores: list[Integers], true: Integers | None
    ) -> Iterator[Entry]:
        greatest = np.stack(scores, axis=1)[np.arange(len(predicted)), np.maximum(predicted, 0)]
        bins = np.where(predicted < 0, -1, bins_of(greatest))
        wrong = None if true is None else np.where(true < 0, -1, true != predicted)
        yield self._of_class(self.classes, bins, wrong)

    def _of_class(self, place: int, bins: Integers, negative: Integers | None) -> Entry:
        start = self._cubes + 3 * BINS * place
        if negative is None:
            rows = np.flatnonzero(bins >= 0)
            return rows, start + bins[rows], np.ones(len(rows), dtype=np.int64)
        rows = np.flatnonzero((bins >= 0) & (negative >= 0))
        codes = start + (1 + negative[rows]) * BINS + bins[rows]
        return rows, codes, np.ones(len(rows), dtype=np.int64)

    def confusion(self, block: Integers) -> Integers:
        """Predicted by true class, (K, K)."""
        return block[self._tables : self._cubes].reshape(self.classes, self.classes).copy()

    def predicted(self, block: Integers) -> Integers:
        """Rows by predicted class."""
        return block[_SUMS : self._tables].copy()

    def counts(self, block: Integers, place: int) -> BinaryCounts | None:
        """One class against the rest; None where scores are not counted."""
        return self._counts(block, place)

    def confidence(self, block: Integers) -> BinaryCounts | None:
        """Rows by the score of the predicted class: right ones are the positives."""
        return self._counts(block, self.classes)

    def _counts(self, block: Integers, place: int) -> BinaryCounts | None:
        if not self._bins:
            return None
        start = self._cubes + 3 * BINS * place
        return BinaryCounts(*(block[start + i * BINS : start + (i + 1) * BINS].copy() for i in range(3)))


class _Codes(Protocol):
    def __call__(self, rows: Integers) -> Integers: ...


@dataclass(frozen=True)
class RegressionBlock:
    """Of numbers: rows, labelled rows, saturated ones, and the sums of e, |e|, e², y, y² (squares in two
    limbs), where e is prediction - label and y is the label from the scale's centre.
    """

    scale: Scale
    LABELLED = 1
    SATURATED = 2
    E, ABS, E2, Y, Y2 = 3, 4, 5, 7, 8

    @property
    def size(self) -> int:
        return 10

    @property
    def entries(self) -> int:
        return 10

    @property
    def row_words(self) -> int:
        return 1

    def packed(self, scores: Floats) -> Words:
        return doubles_packed(scores[:, 0])

    def entries_of(self, packed: Words, labels: Floats | None) -> Iterator[Entry]:
        predictions = doubles_unpacked(packed)
        if labels is None:
            every = np.arange(len(predictions))
            yield every, np.zeros(len(predictions), dtype=np.int64), np.ones(len(predictions), dtype=np.int64)
            return
        rows = np.flatnonzero(np.isfinite(predictions) & np.isfinite(labels))
        error, far = self.scale.units(predictions[rows] - labels[rows])
        label, out = self.scale.centred(labels[rows])
        ones = np.ones(len(rows), dtype=np.int64)
        sums = {self.LABELLED: ones, self.SATURATED: (far | out).astype(np.int64), self.E: error}
        sums |= {self.ABS: np.abs(error), self.Y: label}
        sums |= dict(zip((self.E2, self.E2 + 1), limbs(error**2), strict=True))
        sums |= dict(zip((self.Y2, self.Y2 + 1), limbs(label**2), strict=True))
        for code, values in sums.items():
            yield rows, np.full(len(rows), code), values
