"""What a regression's errors are expected to be where no label is known yet: sums over any window, of whoever
has a model of the loss (`enrichments.loss`). Estimated MAE of a window is `absolute / rows`, estimated RMSE
the root of `squared / rows`.

The sampling error of a mean over n rows is about `absolute_deviation / sqrt(n)` (of squares:
`squared_deviation / sqrt(n)`). Blind to a changed relation of inputs and labels: estimates are for changed
inputs. Must not know how a loss is predicted.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LossSums:
    """Of the rows of a window that have an expected loss: their number, and the sums of the expected absolute
    and squared errors.
    """

    rows: int = 0
    absolute: float = 0.0
    squared: float = 0.0


@dataclass(frozen=True, slots=True)
class LossQuality:
    """How the model of the loss did on rows of the reference that it was not fitted on. By calibration the
    mean expected loss there is the real one.
    """

    judged_rows: int
    mae: float
    """Their real mean absolute error."""
    mse: float
    """Their real mean squared error."""
    absolute_deviation: float
    """Standard deviation of real minus expected absolute error of a row."""
    squared_deviation: float
    """The same of squared errors."""
    absolute_explained: float
    """Share of the variance of absolute errors that the model explains (R²; at or below 0: nothing)."""
    artefact_hash: str = ""


class ExpectedLosses(Protocol):
    """Expected losses of one cell's rows. Thread-safe."""

    def quality(self) -> LossQuality | None:
        """Of the model in use; None while there is none."""
        ...

    def window(self, start: int, end: int) -> LossSums:
        """The sums over the slices [start, end) of event time (five minutes since 1970)."""
        ...

    def batch(self, name: str) -> LossSums:
        """The sums over one batch of a batch model."""
        ...
