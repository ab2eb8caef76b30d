"""The verdict on one window: what its labels say, what the scores alone say, whether one may believe either.
Pure; from sums by code, so a window of a month costs what a window of an hour does.

Labels are believed of a window that is settled: it has nearly as many labels as windows usually get, or is
older than labels take. Before that those that are there may be the early ones of one kind. An estimate is
believed where the reference has such scores, and as long as it held what labels said afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import BinaryBlock, MulticlassBlock
from modelwarden_server.analysis.performance.estimate import (
    MOST_OUTSIDE,
    Calibration,
    calibrated,
    estimated,
    estimated_accuracy,
)
from modelwarden_server.analysis.performance.intervals import LEAST_ROWS, Value, Z
from modelwarden_server.analysis.performance.layout import OutcomeSpace
from modelwarden_server.analysis.performance.metrics import labelled_of
from modelwarden_server.analysis.performance.worse import (
    Compared,
    Measured,
    compared,
    floor_of,
    groups_compared,
    judged_values,
)
from modelwarden_server.analysis.score_grid import THRESHOLDS, BinaryCounts

USUAL: Final = 0.8
"""A window is settled with this share of the usual coverage."""
COMPLETE: Final = 0.95
"""Or with this share of its rows labelled, whatever is usual."""
_PLATEAU: Final = 2
NOT_ESTIMATED: Final = "estimates without labels are of regressions and of models of two to 20 classes"
LEAST_GROUP: Final = 100
"""Labelled rows that a group needs for a verdict, if the model's own minimum is not lower."""


@dataclass(frozen=True)
class LabelVerdict:
    """What the labels of a window say. `groups` by the population's place."""

    values: tuple[Compared, ...]
    groups: dict[int, Compared]

    @property
    def judged(self) -> bool:
        """Whether there was anything to compare."""
        return any(one.p_value is not None for one in self.values)

    @property
    def worse(self) -> bool:
        """Whether the model did worse there."""
        return any(one.worse for one in (*self.values, *self.groups.values()))


@dataclass(frozen=True)
class EstimateVerdict:
    """What is estimated of a window; `withheld` says why nothing is."""

    values: tuple[Value, ...] = ()
    compared: tuple[Compared, ...] = ()
    withheld: str | None = None

    @property
    def worse(self) -> bool:
        """Whether the model is expected to do worse there."""
        return any(one.worse for one in self.compared)


@dataclass(frozen=True)
class Coverage:
    """How far a window's labels have come. `aged`: whether it is older than labels usually take; None if
    nobody said how long that is.
    """

    rows: int
    labelled: int
    aged: bool | None = None

    @property
    def share(self) -> float:
        """Labelled rows among all."""
        return self.labelled / self.rows if self.rows else 0.0


def settled(windows: Sequence[Coverage]) -> list[bool]:
    """Which windows, newest first, have the labels that they will have.

    Those with next to all labels; of the others those with USUAL of the highest coverage, if they are old
    enough, or, where nobody said how old that is, if two older windows have no more to show for their age.
    """
    usual = max((window.share for window in windows), default=0.0)
    found = []
    for place, window in enumerate(windows):
        older = [one.share for one in windows[place + 1 :] if one.rows][:_PLATEAU]
        level = len(older) == _PLATEAU and max(older) * USUAL <= window.share
        old = level if window.aged is None else window.aged
        near = old and window.share >= USUAL * usual
        found.append(bool(window.labelled) and (window.share >= COMPLETE or near))
    return found


@dataclass(frozen=True, eq=False)
class PerformanceJudge:
    """Judges windows of one space against the reference's sums."""

    space: OutcomeSpace
    baseline: Integers | None
    threshold: float
    minimum_rows: int

    def coverage(self, totals: Integers, aged: bool | None = None) -> Coverage:
        """Rows and labelled rows of everybody."""
        counts = self.space.block_of(0, totals)
        return Coverage(int(counts[0]), labelled_of(self.space.everybody, counts), aged)

    def by_labels(self, totals: Integers) -> LabelVerdict:
        """What the window's labels say."""
        recalled = self._recalled(totals)
        values = judged_values(self._measured(0, totals, recalled), self.minimum_rows)
        base = self._base
        if recalled is not None and self.baseline is not None:
            base = judged_values(self._measured(0, self.baseline, recalled), 1)
        return LabelVerdict(tuple(compared(values, base)), self._groups(totals))

    def by_estimate(self, totals: Integers) -> EstimateVerdict:
        """What the window's scores say."""
        calibration, scores = self.calibration, self._scores(totals)
        if isinstance(calibration, str) or scores is None:
            return EstimateVerdict(withheld=str(calibration))
        rows = scores.rows
        if rows.sum() < self.minimum_rows:
            return EstimateVerdict(withheld=f"n={int(rows.sum())} < {self.minimum_rows}")
        outside = calibration.outside(rows)
        if outside > MOST_OUTSIDE:
            return EstimateVerdict(
                withheld=f"{100 * outside:.0f} % of the rows have scores that the reference does not have"
            )
        if isinstance(self.space.everybody, BinaryBlock):
            values = estimated(calibration, rows, self.threshold_bin)
        else:
            values = [estimated_accuracy(calibration, rows)]
        names = [value.metric for value in self._base]
        told = sorted((v for v in values if v.metric in names), key=lambda v: names.index(v.metric))
        return EstimateVerdict(tuple(values), tuple(compared(told, self._base)))

    def missed(self, totals: Integers) -> bool | None:
        """Whether an estimate would have missed what the labels of this window say; None if nobody knows."""
        said = {value.metric: value for value in self.by_estimate(totals).values}
        real = judged_values(self._measured(0, totals), self.minimum_rows)
        known = [v for v in real if v.value is not None and v.metric in said]
        return any(_apart(said[value.metric], value) for value in known) if known else None

    @cached_property
    def calibration(self) -> Calibration | str:
        """Of the scores on the reference, or why there is none."""
        nothing = np.zeros(self.space.size, dtype=np.int64)
        scores = self._scores(nothing if self.baseline is None else self.baseline)
        if scores is None:
            return NOT_ESTIMATED
        if self.baseline is None:
            return "there is no reference with labels to calibrate scores on"
        return calibrated(scores)

    def _scores(self, totals: Integers) -> BinaryCounts | None:
        """Of two classes the score of the positive one, of several that of the predicted one (positives are
        rows that it is right of); None for other models.
        """
        block, counts = self.space.everybody, self.space.block_of(0, totals)
        if isinstance(block, BinaryBlock):
            return block.counts(counts)
        return block.confidence(counts) if isinstance(block, MulticlassBlock) else None

    @property
    def threshold_bin(self) -> int:
        """The first bin at or above the threshold: exact on the grid, else of the next edge of it."""
        return int(np.searchsorted(THRESHOLDS, self.threshold))

    @cached_property
    def _base(self) -> list[Value]:
        return [] if self.baseline is None else judged_values(self._measured(0, self.baseline), 1)

    @cached_property
    def _base_of_groups(self) -> dict[int, Value]:
        return {} if self.baseline is None else self._first_values(self.baseline)

    def _groups(self, totals: Integers) -> dict[int, Compared]:
        return groups_compared(self._first_values(totals), self._base_of_groups)

    def _first_values(self, totals: Integers) -> dict[int, Value]:
        """The first metric of every group and segment that has enough labels."""
        least, found = min(self.minimum_rows, LEAST_GROUP), {}
        for place in range(1, len(self.space.populations)):
            if not self.space.block_of(place, totals)[0]:
                continue
            values = judged_values(self._measured(place, totals), least)
            if values and values[0].value is not None:
                found[place] = values[0]
        return found

    def _recalled(self, totals: Integers) -> tuple[int, ...] | None:
        """Of several classes those with labels enough here and in the reference: means over other classes
        are no worse for being of others.
        """
        block = self.space.everybody
        if not isinstance(block, MulticlassBlock) or self.baseline is None:
            return None
        sides = (self.space.block_of(0, one) for one in (totals, self.baseline))
        enough = np.all([block.confusion(one).sum(axis=0) >= LEAST_ROWS for one in sides], axis=0)
        return tuple(np.flatnonzero(enough).tolist())

    def _measured(self, place: int, totals: Integers, recalled: tuple[int, ...] | None = None) -> Measured:
        block = self.space.everybody if place == 0 else self.space.part
        classes = self.space.definition.outcome.classes
        return Measured(block, self.space.block_of(place, totals), self.threshold_bin, classes, recalled)


def _apart(one: Value, other: Value) -> bool:
    """Whether an estimate and what turned out differ by more than both can be off, and by what is worth
    telling.
    """
    if one.value is None or other.value is None or one.error is None or other.error is None:
        return False
    gap = abs(one.value - other.value)
    return gap > Z * float(np.hypot(one.error, other.error)) and gap > floor_of(one.metric, other) / 2
