"""What a regression's errors are expected to be for a row while it has no label (direct loss estimation).

Two sets of boosted trees, for the absolute and for the squared error, given the inputs and the prediction:
fitted on two thirds of the labelled reference (by the seed), judged on the rest, and scaled so that the mean
expected error there is the real one. Errors may depend on inputs; a changed relation of inputs and labels is
not seen. Must not know tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.anomaly import NothingToLearnError
from modelwarden_server.analysis.boosting import Boosted, boost
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.encoding import Encoder, Fitted, fit_encoder
from modelwarden_server.analysis.trees import Floats

LEAST_ROWS: Final = 300
_TAIL: Final = 0.995
_FLOOR: Final = 0.01
_MOMENTS: Final = ("absolute", "squared")
_FACTS: Final = ("rows", "mean", "deviation", "explained")


@dataclass(frozen=True)
class Judged:
    """On the rows that were held back: how many, their real mean error, the standard deviation of real minus
    expected, and the share of the variance that is explained.
    """

    rows: int
    mean: float
    deviation: float
    explained: float


@dataclass(frozen=True, eq=False)
class Moment:
    """One of the two errors: trees, the factor of calibration and the least that is ever expected."""

    boosted: Boosted
    factor: float
    judged: Judged

    def expected(self, matrix: npt.NDArray[np.float32]) -> Floats:
        """The expected error of each row: positive."""
        return np.maximum(self.boosted.predict(matrix) * self.factor, _FLOOR * self.judged.mean)


@dataclass(frozen=True, eq=False)
class LossModel:
    """Expected absolute and squared errors."""

    encoder: Encoder
    absolute: Moment
    squared: Moment

    def expected(self, rows: pa.RecordBatch) -> tuple[Floats, Floats]:
        """Of each row the expected absolute and squared error. The rows have the encoder's columns."""
        matrix = self.encoder.encode(rows)
        return self.absolute.expected(matrix), self.squared.expected(matrix)

    def manifest(self) -> dict[str, Any]:
        """What an artefact's manifest says of it."""
        told: dict[str, Any] = {"encoding": self.encoder.manifest()}
        for name in _MOMENTS:
            moment: Moment = getattr(self, name)
            told[name] = {"base": moment.boosted.base, "factor": moment.factor} | {
                fact: getattr(moment.judged, fact) for fact in _FACTS
            }
        return told

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an artefact."""
        absolute, squared = self.absolute.boosted, self.squared.boosted
        return self.encoder.arrays() | absolute.arrays("absolute") | squared.arrays("squared")

    @classmethod
    def of(cls, manifest: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> "LossModel":
        """The model in an artefact, checked wholly. Raises ValueError."""
        encoder = Encoder.of(manifest.get("encoding"), arrays)
        absolute, squared = (_moment(manifest.get(name), arrays, name, encoder.features) for name in _MOMENTS)
        return cls(encoder, absolute, squared)


def train_loss(
    columns: Sequence[Column], rows: pa.Table, errors: Floats, seed: int
) -> tuple[LossModel, Fitted]:
    """The model for these columns of labelled rows, whose errors (prediction less label) are all finite.

    Raises NothingToLearnError.
    """
    if len(errors) < LEAST_ROWS:
        raise NothingToLearnError(
            f"{len(errors)} rows of the reference have a label: estimating errors needs {LEAST_ROWS}"
        )
    if not np.abs(errors).max() > 0:
        raise NothingToLearnError(
            "the model makes no error in the reference: its predictions are the labels themselves"
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite((errors**2).sum())
    if not finite:
        raise NothingToLearnError("errors in the reference are too large for their squares to be added up")
    order = np.random.RandomState(seed).permutation(len(errors))
    judged, fitted_on = (np.sort(part) for part in np.split(order, [len(errors) // 3]))
    fitted = fit_encoder(columns, rows.take(fitted_on))
    if not fitted.encoder.codes:
        raise NothingToLearnError("neither an input nor the prediction tells rows of the reference apart")
    matrix = fitted.encoder.encode(rows.combine_chunks().to_batches()[0])
    parts = (np.asfortranarray(matrix[part]) for part in (fitted_on, judged))
    known, unseen = parts
    moments = [
        _fitted((known, target[fitted_on]), (unseen, target[judged]), seed)
        for target in (np.abs(errors), errors**2)
    ]
    return LossModel(fitted.encoder, *moments), fitted


_Part = tuple[npt.NDArray[np.float32], Floats]


def _fitted(known: _Part, unseen: _Part, seed: int) -> Moment:
    # A few huge errors would be all that trees see: cut for the fit, and given back by the calibration.
    most = float(np.quantile(known[1], _TAIL)) or float(known[1].max())
    boosted = boost(known[0], np.minimum(known[1], most), seed)
    raw = np.maximum(boosted.predict(unseen[0]), 0.0)
    real = unseen[1]
    mean = float(real.mean())
    if not mean > 0:
        raise NothingToLearnError("the model makes no error in the part of the reference that is held back")
    factor = mean / float(raw.mean()) if raw.mean() > 0 else 1.0
    moment = Moment(boosted, factor, Judged(len(real), mean, 0.0, 0.0))
    # What the floor adds is taken back, so that the means are the same.
    moment = Moment(boosted, factor * mean / float(moment.expected(unseen[0]).mean()), moment.judged)
    off = real - moment.expected(unseen[0])
    variance = float(real.var())
    explained = 1.0 - float((off**2).mean()) / variance if variance > 0 else 0.0
    return Moment(boosted, moment.factor, Judged(len(real), mean, float(off.std()), explained))


def _moment(told: Any, arrays: Mapping[str, npt.NDArray[Any]], name: str, features: int) -> Moment:
    if not isinstance(told, dict):
        raise ValueError(f"the manifest has no {name}")
    numbers = [told.get(key) for key in ("factor", "mean", "deviation", "explained")]
    if not all(isinstance(n, float) and np.isfinite(n) for n in numbers) or not isinstance(
        told.get("rows"), int
    ):
        raise ValueError(f"{name} has facts that are no numbers")
    factor, mean, deviation, explained = (float(n) for n in numbers if n is not None)
    if not factor > 0 or not mean > 0 or deviation < 0:
        raise ValueError(f"{name} has a factor, a mean or a deviation that cannot be")
    boosted = Boosted.of(arrays, name, told.get("base"), features)
    return Moment(boosted, factor, Judged(int(told["rows"]), mean, deviation, explained))
