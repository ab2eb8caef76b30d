"""What the model did with each row, and the loss by which a metric calls a row bad.

Every metric of two classes is a share of rows: accuracy of all labelled ones, precision of those predicted
positive, recall of those that are positive. F1 is 2J/(1+J) with J = TP/(TP+FP+FN), so a slice has the least
F1 where the most of the rows that are or were called positive are mistaken: what is tested is J, which orders
slices as F1 does. Errors and the estimated loss are means over rows. Must not know rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.table import Floats, Mask

Places = npt.NDArray[np.int32]


class Metric(StrEnum):
    """What a hotspot is worse in."""

    ACCURACY = "accuracy"
    PRECISION = "precision"
    RECALL = "recall"
    F1 = "f1"
    ABSOLUTE_ERROR = "absolute_error"
    SQUARED_ERROR = "squared_error"
    ESTIMATED_LOSS = "estimated_loss"
    """1 − the probability of the predicted class: what the model itself expects, without labels."""


SHARES: Final = frozenset({Metric.ACCURACY, Metric.PRECISION, Metric.RECALL, Metric.F1})
"""Metrics that are better when they are higher, and a share of rows (F1: a function of one)."""


@dataclass(frozen=True, eq=False)
class Loss:
    """`counts`: rows that the metric is taken over; `loss` of each row, used only there. Shapes (rows,).

    Of a share the loss is 0 or 1.
    """

    metric: Metric
    counts: Mask
    loss: Floats

    @property
    def addable(self) -> bool:
        """Whether the losses and their squares can be added up."""
        with np.errstate(over="ignore"):
            return bool(np.isfinite((self.loss[self.counts] ** 2).sum()))


@dataclass(frozen=True, eq=False)
class Classified:
    """True and predicted class of each row as places in `classes`; -1: not known. `positive` is the place of
    the positive class of two, None of more. `expected` is the estimated loss of each row, NaN: not known.
    """

    classes: tuple[str, ...]
    true: Places
    predicted: Places
    positive: int | None = None
    expected: Floats | None = None

    @property
    def rows(self) -> int:
        return len(self.true)

    @property
    def labelled(self) -> Mask:
        """Rows of which both classes are known."""
        return (self.true >= 0) & (self.predicted >= 0)

    def losses(self) -> Mapping[Metric, Loss]:
        """The losses there are."""
        labelled = self.labelled
        wrong = (self.true != self.predicted).astype(np.float64)
        found = [Loss(Metric.ACCURACY, labelled, wrong)]
        if self.positive is not None:
            called, is_so = self.predicted == self.positive, self.true == self.positive
            found += [
                Loss(Metric.PRECISION, labelled & called, wrong),
                Loss(Metric.RECALL, labelled & is_so, wrong),
                Loss(Metric.F1, labelled & (called | is_so), wrong),
            ]
        if self.expected is not None:
            found.append(Loss(Metric.ESTIMATED_LOSS, ~np.isnan(self.expected), self.expected))
        return {one.metric: one for one in found}


@dataclass(frozen=True, eq=False)
class Regressed:
    """True and predicted number of each row; NaN or infinite: not known."""

    true: Floats
    predicted: Floats

    @property
    def rows(self) -> int:
        return len(self.true)

    @property
    def labelled(self) -> Mask:
        """Rows of which both numbers are known."""
        return np.isfinite(self.true) & np.isfinite(self.predicted)

    def losses(self) -> Mapping[Metric, Loss]:
        """The losses there are."""
        labelled = self.labelled
        error = np.zeros(self.rows)
        with np.errstate(over="ignore"):
            error[labelled] = np.abs(self.predicted[labelled] - self.true[labelled])
            square = error**2
        found = [
            Loss(Metric.ABSOLUTE_ERROR, labelled, error),
            Loss(Metric.SQUARED_ERROR, labelled, square),
        ]
        return {one.metric: one for one in found}


Outcome = Classified | Regressed
