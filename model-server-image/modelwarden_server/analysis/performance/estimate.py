"""How well a classifier does where no label is known: confidence-based (CBPE). Pure.

The reference says how often a score is right: P(positive | score), non-decreasing (isotonic regression by
pooling adjacent violators, Ayer et al. 1955) over groups of neighbouring bins. A window's rows, each positive
with that probability, give the expected confusion at the threshold, and all metrics of it.

Of several classes only the accuracy is estimated: how often a prediction is right, by the score of the
predicted class, calibrated in the same way. What a score of one class says of another one, which recall of
a class would need, no calibration by one score can tell.

The error of an estimate has two parts: labels of the window's rows are drawn (each a Bernoulli variable of
its own probability), and the probabilities are known from a finite reference (delta method). It is blind to
a changed relation of inputs and labels: it speaks of changed inputs only.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.classification import MIDDLES
from modelwarden_server.analysis.performance.intervals import LEAST_ROWS, Value, area, around, nothing
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts

Floats = npt.NDArray[np.float64]
LEAST_REFERENCE: Final = 500
_LEAST_CLASS: Final = 30
_GROUPS: Final = 200
_LEAST_GROUP: Final = 25
MOST_OUTSIDE: Final = 0.02
"""Share of a window's rows with scores that the reference does not have, above which nothing is estimated."""
LOWER_IS_BETTER: Final = frozenset(
    {"log_loss", "brier", "false_positive_rate", "false_negative_rate", "mae", "rmse", "calibration_error"}
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """P(positive) of each bin of score, by blocks of bins that have one probability."""

    block_of: Integers
    probability: Floats
    """By block."""
    variance: Floats
    """Of the probability, by block."""
    supported: npt.NDArray[np.bool_]
    """By bin: whether the reference has rows about there."""

    @property
    def by_bin(self) -> Floats:
        """P(positive) of each bin."""
        found: Floats = self.probability[self.block_of]
        return found

    def outside(self, rows: Integers) -> float:
        """The share of rows whose scores the reference does not have."""
        n = float(rows.sum())
        return float(rows[~self.supported].sum()) / n if n else 0.0


def calibrated(reference: BinaryCounts) -> Calibration | str:
    """The calibration of a reference's labelled rows, or why there is none."""
    n, positives = reference.labelled, int(reference.positives.sum())
    if n < LEAST_REFERENCE:
        return f"the reference has {n} labelled rows, {LEAST_REFERENCE} are needed"
    if min(positives, n - positives) < _LEAST_CLASS:
        return f"the reference has fewer than {_LEAST_CLASS} rows of one class"
    labelled = (reference.positives + reference.negatives).astype(np.float64)
    group = _groups(labelled)
    sizes = _summed(group, labelled)
    blocks = _pooled(_summed(group, reference.positives.astype(np.float64)), sizes)
    block_of = blocks[group]
    rows = np.bincount(block_of, weights=labelled)
    right = np.bincount(block_of, weights=reference.positives.astype(np.float64))
    # A block of one class alone is not certain: half a row of each more.
    smooth = (right + 0.5) / (rows + 1.0)
    there = np.flatnonzero(labelled)
    supported = np.zeros(BINS, dtype=np.bool_)
    supported[max(0, there[0] - 2) : there[-1] + 3] = True
    return Calibration(block_of, right / rows, smooth * (1 - smooth) / rows, supported)


def estimated(calibration: Calibration, rows: Integers, threshold_bin: int) -> list[Value]:
    """Metrics of rows by score bin, without a label. `threshold_bin` is the first bin that is called
    positive.
    """
    n = int(rows.sum())
    if n < LEAST_ROWS:
        return [
            nothing(metric, n, f"n={n} < {LEAST_ROWS}") for metric in (*_RATES, "auc", "log_loss", "brier")
        ]
    window = _Window(calibration, rows.astype(np.float64), threshold_bin)
    found = [window.rate(metric, rate) for metric, rate in _RATES.items()]
    found.append(window.ranking())
    right = np.stack([MIDDLES, 1 - MIDDLES])
    found.append(window.mean("log_loss", -np.log(np.clip(right, 5e-4, 1.0))))
    found.append(window.mean("brier", (1 - right) ** 2))
    return found


def estimated_accuracy(calibration: Calibration, rows: Integers) -> Value:
    """Of several classes: the share of right predictions among rows by the predicted class's score, with
    `calibration` of right ones.
    """
    n = int(rows.sum())
    if n < LEAST_ROWS:
        return nothing("accuracy", n, f"n={n} < {LEAST_ROWS}")
    right = np.stack([np.ones(BINS), np.zeros(BINS)])
    return _Window(calibration, rows.astype(np.float64), 0).mean("accuracy", right, most=1.0)


@dataclass(frozen=True, eq=False)
class _Window:
    calibration: Calibration
    rows: Floats
    at: int

    @property
    def n(self) -> int:
        return int(self.rows.sum())

    def _by_block(self, weights: Floats) -> Floats:
        blocks = len(self.calibration.probability)
        return _summed(self.calibration.block_of, weights, blocks)

    def rate(self, metric: str, function: Callable[[Floats, Floats, float, float], Floats]) -> Value:
        """A function of expected true positives and false negatives, and of the rows on either side."""
        p, above = self.calibration.by_bin, np.arange(BINS) >= self.at
        sides = [np.where(above, self.rows, 0.0), np.where(above, 0.0, self.rows)]
        expected = [float((side * p).sum()) for side in sides]
        totals = [float(side.sum()) for side in sides]

        def value(tp: float, fn: float) -> float:
            with np.errstate(invalid="ignore", divide="ignore"):
                return float(function(np.asarray(tp), np.asarray(fn), totals[0], totals[1]))

        found = value(*expected)
        if not math.isfinite(found):
            return nothing(metric, self.n, "it would divide by nothing")
        step = max(1e-6, 1e-4 * self.n)
        slopes = [
            (value(expected[0] + step, expected[1]) - value(expected[0] - step, expected[1])) / (2 * step),
            (value(expected[0], expected[1] + step) - value(expected[0], expected[1] - step)) / (2 * step),
        ]
        drawn = sum(s**2 * float((side * p * (1 - p)).sum()) for s, side in zip(slopes, sides, strict=True))
        per_block = sum(s * self._by_block(side) for s, side in zip(slopes, sides, strict=True))
        known = float((np.asarray(per_block) ** 2 * self.calibration.variance).sum())
        return around(metric, found, math.sqrt(drawn + known), self.n, (0.0, 1.0))

    def ranking(self) -> Value:
        """AUC: of expected positives and negatives by bin."""
        p = self.calibration.by_bin
        plain = area(self.rows * p, self.rows * (1 - p))
        if plain.value is None or plain.error is None:
            return plain
        blocks = len(self.calibration.probability)
        step = 1e-4
        moved = np.clip(self.calibration.probability + step * np.eye(blocks), 0.0, 1.0)
        found = [_auc(self.rows * q, self.rows * (1 - q)) for q in moved[:, self.calibration.block_of]]
        slopes = (np.array(found) - plain.value) / step
        known = float((slopes**2 * self.calibration.variance).sum())
        return around("auc", plain.value, math.sqrt(plain.error**2 + known), self.n, (0.0, 1.0))

    def mean(self, metric: str, loss: Floats, most: float = math.inf) -> Value:
        """The mean of a loss (at most `most`), `loss[0]` of a positive row of that bin, `loss[1]` of a
        negative one.
        """
        p = self.calibration.by_bin
        value = float((self.rows * (p * loss[0] + (1 - p) * loss[1])).sum()) / self.n
        gap = loss[0] - loss[1]
        drawn = float((self.rows * p * (1 - p) * gap**2).sum()) / self.n**2
        known = float((self._by_block(self.rows * gap) ** 2 * self.calibration.variance).sum()) / self.n**2
        return around(metric, value, math.sqrt(drawn + known), self.n, (0.0, most))


_RATES: Final[dict[str, Callable[[Floats, Floats, float, float], Floats]]] = {
    "accuracy": lambda tp, fn, above, below: (tp + below - fn) / (above + below),
    "balanced_accuracy": lambda tp, fn, above, below: (
        (tp / (tp + fn) + (below - fn) / (above - tp + below - fn)) / 2
    ),
    "precision": lambda tp, _fn, above, _below: tp / above,
    "recall": lambda tp, fn, _above, _below: tp / (tp + fn),
    "specificity": lambda tp, fn, above, below: (below - fn) / (above - tp + below - fn),
    "f1": lambda tp, fn, above, _below: 2 * tp / (above + tp + fn),
    "false_positive_rate": lambda tp, fn, above, below: (above - tp) / (above - tp + below - fn),
    "false_negative_rate": lambda tp, fn, _above, _below: fn / (tp + fn),
}


def _summed(places: Integers, weights: Floats, size: int = 0) -> Floats:
    return np.bincount(places, weights=weights, minlength=size).astype(np.float64)


def _auc(positives: Floats, negatives: Floats) -> float:
    below = np.cumsum(negatives) - negatives / 2
    pairs = positives.sum() * negatives.sum()
    return float((positives * below).sum() / pairs) if pairs else 0.5


def _groups(labelled: Floats) -> Integers:
    """The group of each bin: neighbouring bins with enough labelled rows together. Every group has some."""
    least = max(_LEAST_GROUP, float(labelled.sum()) / _GROUPS)
    group, gathered, number = np.zeros(BINS, dtype=np.int64), 0.0, 0
    for place, rows in enumerate(labelled):
        group[place] = number
        gathered += rows
        if gathered >= least:
            number, gathered = number + 1, 0.0
    if gathered < least and number:
        group[group == number] = number - 1
    return group


def _pooled(right: Floats, sizes: Floats) -> Integers:
    """The block of each group: neighbours whose shares would descend are one."""
    stack: list[list[float]] = []  # of each block: right, size, how many groups
    for one, size in zip(right, sizes, strict=True):
        stack.append([float(one), float(size), 1])
        while len(stack) > 1 and stack[-2][0] * stack[-1][1] >= stack[-1][0] * stack[-2][1]:
            last = stack.pop()
            stack[-1] = [a + b for a, b in zip(stack[-1], last, strict=True)]
    return np.repeat(np.arange(len(stack)), [int(block[2]) for block in stack])
