"""Fitted estimators with what an exact explainer wants of them: arrays, encode, predict, background."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelwarden_server.explain.background import Background, summarised
from modelwarden_server.explain.exact import ExactExplainer, exact_explainer
from modelwarden_server.explain.explanation import Floats, Predict, Rows
from modelwarden_server.explain.exported import Exported, of_wire
from modelwarden_server.explain.players import Encode
from modelwarden_server.explain.verify import Unverified
from modelwarden_server.modelserver.exporter import exported

ROWS = 120
INPUTS = 5


def numbers(seed: int = 0, rows: int = ROWS) -> tuple[Rows, Rows]:
    """Rows of five numbers, and a label that depends on them together."""
    rng = np.random.default_rng(seed)
    rows_ = rng.normal(size=(rows, INPUTS))
    noise = rng.normal(scale=0.3, size=rows)
    return rows_, (rows_[:, 0] * rows_[:, 1] + rows_[:, 2] - 0.5 * rows_[:, 3] + noise > 0).astype(int)


@dataclass(frozen=True)
class Asked:
    """A model as the child gives it."""

    arrays: Exported
    encode: Encode
    predict: Predict
    sample: Rows
    background: Background

    def explainer(self) -> ExactExplainer | Unverified:
        """The exact engine."""
        found = exact_explainer(self.arrays, self.encode, self.predict, self.background, self.sample)
        assert isinstance(found, ExactExplainer | Unverified)
        return found

    def exact(self) -> ExactExplainer:
        """The same where there must be one."""
        found = self.explainer()
        assert not isinstance(found, Unverified), found
        return found


def asked(
    estimator: Any,
    sample: Rows,
    *,
    encode: Encode | None = None,
    predict: Callable[[Rows], Any] | None = None,
    background: int = 12,
) -> Asked:
    """A fitted estimator; `predict` is its predict_proba or predict, after `encode`, if none is given."""
    header, arrays = exported(estimator)
    prepared = encode or (lambda rows: rows)
    own = getattr(estimator, "predict_proba", estimator.predict)

    def outputs(rows: Rows) -> Floats:
        found = np.asarray(predict(rows) if predict else own(prepared(rows)), dtype=np.float64)
        return found[:, None] if found.ndim == 1 else found

    summary = summarised(sample, None, "a hash", background)
    # Weights that are not all the same show that they are not forgotten.
    weights = np.arange(1, background + 1) / sum(range(1, background + 1))
    return Asked(
        of_wire(header, arrays), prepared, outputs, sample, Background(summary.rows, weights, summary.how)
    )
