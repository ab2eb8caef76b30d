"""The metrics of a classifier, from its counts. Pure.

Rates at a threshold come from the four counts of a confusion, one class against the rest; means of log-loss
and Brier score from fixed-point sums (their intervals from the bins' middles); AUC and the calibration curve
from bins of score.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.performance.confusion import BinaryConfusion, Confusion
from modelwarden_server.analysis.performance.intervals import (
    LEAST_ROWS,
    Value,
    area,
    around,
    nothing,
    of_counts,
    share,
)
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts

Floats = npt.NDArray[np.float64]
MIDDLES: Final[Floats] = np.minimum((np.arange(BINS) + 0.5) / 1000.0, 1.0)
CURVE_POINTS: Final = 20
_MOST_SMOOTH: Final = 30
"""Of more classes, macro averages have no interval: it would take too long."""


@dataclass(frozen=True)
class LossSums:
    """Sums of log-loss and of Brier scores over the labelled rows, as real numbers."""

    log_loss: float
    brier: float


@dataclass(frozen=True)
class CurvePoint:
    """Rows of neighbouring scores: their mean score, and the share of positives among those with a label."""

    score: float
    positive: Value


def rates(c: BinaryConfusion) -> list[Value]:
    """The rates of one class against the rest at one threshold."""
    counts = np.array([c.tp, c.fp, c.tn, c.fn], dtype=np.float64)
    recall, specificity = share("recall", c.tp, c.tp + c.fn), share("specificity", c.tn, c.tn + c.fp)
    return [
        share("accuracy", c.tp + c.tn, c.labelled),
        _halves("balanced_accuracy", recall, specificity),
        share("precision", c.tp, c.tp + c.fp),
        recall,
        specificity,
        of_counts("f1", counts, _f1),
        share("false_positive_rate", c.fp, c.fp + c.tn),
        share("false_negative_rate", c.fn, c.fn + c.tp),
    ]


def ranking(counts: BinaryCounts) -> Value:
    """AUC."""
    return area(counts.positives.astype(np.float64), counts.negatives.astype(np.float64))


def losses(sums: LossSums, counts: BinaryCounts) -> list[Value]:
    """Mean log-loss and Brier score of two classes."""
    n = counts.labelled
    both = np.stack([counts.positives, counts.negatives]).astype(np.float64)
    right = np.stack([MIDDLES, 1 - MIDDLES])
    found = []
    for metric, total, each in (
        ("log_loss", sums.log_loss, -np.log(np.clip(right, 5e-4, 1.0))),
        ("brier", sums.brier, (1 - right) ** 2),
    ):
        if n < LEAST_ROWS:
            found.append(nothing(metric, n, f"n={n} < {LEAST_ROWS}"))
            continue
        mean = float((both * each).sum()) / n
        spread = max(float((both * each**2).sum()) / n - mean**2, 0.0)
        found.append(around(metric, total / n, math.sqrt(spread / n), n, (0.0, math.inf)))
    return found


def calibration(counts: BinaryCounts, points: int = CURVE_POINTS) -> tuple[list[CurvePoint], Value]:
    """The curve, by groups of labelled rows of about equal size, and the expected calibration error: the mean
    distance of score and share of positives over the groups.
    """
    labelled = (counts.positives + counts.negatives).astype(np.float64)
    n = float(labelled.sum())
    if n < LEAST_ROWS:
        return [], nothing("calibration_error", int(n), f"n={int(n)} < {LEAST_ROWS}")
    reached = np.cumsum(labelled)
    group = np.minimum(np.floor((reached - labelled / 2) / n * points), points - 1).astype(np.int64)
    curve, error, variance = [], 0.0, 0.0
    for place in np.unique(group[labelled > 0]):
        chosen = (group == place) & (labelled > 0)
        rows = float(labelled[chosen].sum())
        score = float((MIDDLES[chosen] * labelled[chosen]).sum() / rows)
        positive = share("positive", float(counts.positives[chosen].sum()), rows, least=1)
        curve.append(CurvePoint(score, positive))
        p = positive.value or 0.0
        error += rows / n * abs(p - score)
        variance += (rows / n) ** 2 * p * (1 - p) / rows
    return curve, around("calibration_error", error, math.sqrt(variance), int(n), (0.0, 1.0))


def of_all_classes(confusion: Confusion) -> list[Value]:
    """Accuracy and the macro averages: the mean over the classes that are true or predicted, of recall and
    false negatives over those that are true somewhere.
    """
    right, n = int(np.trace(confusion.counts)), confusion.labelled
    found = [share("accuracy", right, n)]
    flat = confusion.counts.astype(np.float64).reshape(-1)
    for metric, function in _MACRO.items():
        if len(confusion.classes) <= _MOST_SMOOTH:
            found.append(of_counts(metric, flat, function))
        elif n < LEAST_ROWS:
            found.append(nothing(metric, n, f"n={n} < {LEAST_ROWS}"))
        else:
            found.append(Value(metric, float(function(flat)), n))
    return found


def recall_of(confusion: Confusion, places: Sequence[int]) -> Value:
    """The mean recall of the classes at these places. Each has labelled rows."""
    n = confusion.labelled
    if not places:
        return nothing("recall", n, f"no class has {LEAST_ROWS} labels here and in the reference")
    some = np.array(places)

    def function(flat: Floats) -> Floats:
        right, _, true = _sides(flat)
        found: Floats = (right[..., some] / true[..., some]).mean(axis=-1)
        return found

    flat = confusion.counts.astype(np.float64).reshape(-1)
    if len(confusion.classes) > _MOST_SMOOTH:
        return Value("recall", float(function(flat)), n)
    return of_counts("recall", flat, function)


def by_name(values: Sequence[Value]) -> dict[str, Value]:
    """Values by metric."""
    return {value.metric: value for value in values}


def _f1(c: Floats) -> Floats:
    tp, fp, fn = c[..., 0], c[..., 1], c[..., 3]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = 2 * tp / (2 * tp + fp + fn)
    return found


def _halves(metric: str, one: Value, other: Value) -> Value:
    n = one.n + other.n
    if one.value is None or other.value is None or one.error is None or other.error is None:
        missing = one if one.value is None else other
        return nothing(metric, n, missing.withheld or "")
    error = math.sqrt(one.error**2 + other.error**2) / 2
    return around(metric, (one.value + other.value) / 2, error, n, (0.0, 1.0))


def _sides(flat: Floats) -> tuple[Floats, Floats, Floats]:
    """Of each class the rows that are right, predicted, and true."""
    classes = math.isqrt(flat.shape[-1])
    table = flat.reshape(*flat.shape[:-1], classes, classes)
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(axis=-1), table.sum(axis=-2)


def _macro(
    rate: Callable[[Floats, Floats, Floats], Floats], *, of_true: bool = False
) -> Callable[[Floats], Floats]:
    def function(flat: Floats) -> Floats:
        right, said, true = _sides(flat)
        with np.errstate(invalid="ignore", divide="ignore"):
            each = rate(right, said, true)
        there = (true if of_true else said + true) > 0
        return np.asarray(np.where(there, np.nan_to_num(each), 0.0).sum(axis=-1) / there.sum(axis=-1))

    return function


_MACRO: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "precision": _macro(lambda right, said, _true: right / said),
    "recall": _macro(lambda right, _said, true: right / true, of_true=True),
    "f1": _macro(lambda right, said, true: 2 * right / (said + true)),
    "false_negative_rate": _macro(lambda right, _said, true: 1 - right / true, of_true=True),
}
