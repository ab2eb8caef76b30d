"""How unlike the reference a row is: encoding, isolation forest, and the place of a score among the
reference's own.

One half of the reference (by the seed) fits the encoding and grows the forest, the other half is what
scores are compared with: a forest has memorised the rows it was grown on a little, and a limit taken from
those would be crossed too often. Percentile: the share of that half's rows with a lower score, in percent.
Must not know tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.encoding import Encoder, Fitted, fit_encoder
from modelwarden_server.analysis.exceedance import Limit
from modelwarden_server.analysis.forest import Forest, grow
from modelwarden_server.analysis.trees import Floats, Matrix

LEAST_ROWS: Final = 100
PERCENTILE: Final = 99.0
EXPLAINED_FROM: Final = 95.0
MOST_NAMED: Final = 3
_KEPT: Final = 10_001
_WORTH_NAMING: Final = 0.2
Places = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Scored:
    """Of each row: score 0 to 1, percentile 0 to 100, and the places (among the encoder's columns) of up to
    three columns that made it so, the strongest first, −1 for none. Shape of `named` (rows, 3).
    """

    score: Floats
    percentile: Floats
    named: Places


@dataclass(frozen=True, eq=False)
class AnomalyModel:
    """`kept` are scores of the reference, ascending: all of them, or 10 001 at equal distances of rank."""

    encoder: Encoder
    forest: Forest
    kept: Floats
    rows: int
    """Rows of the reference that scores are compared with."""
    mean: float
    """Their mean score."""

    @property
    def limit(self) -> Limit:
        """The reference's 99th percentile. A row is beyond it if and only if its percentile is 99 or more."""
        place = int(np.ceil(PERCENTILE / 100 * len(self.kept))) - 1
        rank = place + 1 if len(self.kept) == self.rows else _ranks(self.rows)[place] + 1
        return Limit(float(self.kept[place]), int(rank), self.rows)

    def score(self, rows: pa.RecordBatch) -> Scored:
        """Score rows that have the encoder's columns. Columns are named for rows from the 95th percentile
        on; below, nothing made a row stand out.
        """
        matrix = self.encoder.encode(rows)
        score = self.forest.score(matrix)
        percentile = 100.0 * np.searchsorted(self.kept, score, side="left") / len(self.kept)
        named = np.full((len(score), MOST_NAMED), -1, dtype=np.int32)
        told = np.flatnonzero(percentile >= EXPLAINED_FROM)
        if len(told):
            named[told] = self._named(matrix[told])
        return Scored(score, percentile, named)

    def _named(self, matrix: Matrix) -> Places:
        by_feature = self.forest.contributions(matrix)
        columns = len(self.encoder.columns)
        share = np.zeros((len(matrix), columns))
        for feature, column in enumerate(self.encoder.owner.tolist()):
            share[:, column] += by_feature[:, feature]
        order = np.argsort(-share, axis=1, kind="stable")[:, :MOST_NAMED]
        best = np.take_along_axis(share, order, axis=1)
        worth = (best > 0) & (best >= _WORTH_NAMING * best[:, :1])
        named = np.full((len(matrix), MOST_NAMED), -1, dtype=np.int32)
        named[:, : order.shape[1]] = np.where(worth, order, -1)
        return named

    def manifest(self) -> dict[str, Any]:
        """What an artefact's manifest says of it."""
        return {
            "encoding": self.encoder.manifest(),
            "sample": self.forest.sample,
            "scoredRows": self.rows,
            "meanScore": self.mean,
        }

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of an artefact."""
        return self.encoder.arrays() | self.forest.arrays() | {"reference_scores": self.kept}

    @classmethod
    def of(cls, manifest: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> "AnomalyModel":
        """The model in an artefact, checked wholly. Raises ValueError."""
        encoder = Encoder.of(manifest.get("encoding"), arrays)
        sample, rows, mean = (manifest.get(k) for k in ("sample", "scoredRows", "meanScore"))
        if not isinstance(sample, int) or not isinstance(rows, int) or not isinstance(mean, float):
            raise ValueError("sample, scoredRows or meanScore are missing or no numbers")
        forest = Forest.of(arrays, sample, encoder.features)
        kept = arrays.get("reference_scores")
        if kept is None or kept.ndim != 1 or len(kept) != min(rows, _KEPT) or 2 * len(kept) < LEAST_ROWS:
            raise ValueError("reference_scores are missing or not as many as they should be")
        kept = kept.astype(np.float64)
        if not ((kept > 0) & (kept <= 1)).all() or (np.diff(kept) < 0).any() or not 0 <= mean <= 1:
            raise ValueError("reference_scores are no ascending scores")
        return cls(encoder, forest, kept, rows, mean)


class NothingToLearnError(ValueError):
    """No model can be made of these rows. The message is a sentence."""


def train_anomaly(columns: Sequence[Column], rows: pa.Table, seed: int) -> tuple[AnomalyModel, Fitted]:
    """The model for these columns of the reference's rows (all, or a sample). Raises NothingToLearnError."""
    if rows.num_rows < LEAST_ROWS:
        raise NothingToLearnError(
            f"the reference has {rows.num_rows} rows: anomaly detection needs at least {LEAST_ROWS}"
        )
    order = np.random.RandomState(seed).permutation(rows.num_rows)
    grown, judged = (np.sort(half) for half in np.array_split(order, 2))
    fitted = fit_encoder(columns, rows.take(grown))
    if not fitted.encoder.codes:
        told = "; ".join(f"{name}: {why}" for name, why in list(fitted.left_out.items())[:5])
        raise NothingToLearnError(f"no input tells rows of the reference apart ({told})")
    matrix = fitted.encoder.encode(rows.combine_chunks().to_batches()[0])
    forest = grow(matrix[grown], seed)
    scores = np.sort(forest.score(np.asfortranarray(matrix[judged])))
    kept = scores if len(scores) <= _KEPT else scores[_ranks(len(scores))]
    return AnomalyModel(fitted.encoder, forest, kept, len(scores), float(scores.mean())), fitted


def _ranks(rows: int) -> npt.NDArray[np.int64]:
    """The ranks (from 0) of the scores that are kept of so many."""
    return np.round(np.linspace(0, rows - 1, _KEPT)).astype(np.int64)
