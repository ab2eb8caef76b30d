"""SHAP values of linear models, exact: each input's share of the margin or of the value.

phi_j = sum over the columns c of input j of coef_c * (x_c - mean of the background's column c), the Shapley
values of the interventional game (Štrumbelj and Kononenko 2014; shap's LinearExplainer). They are of what is
summed up before the link: through a sigmoid there is no exact form. Must not know what a row was encoded
from.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelwarden_server.explain.evaluate import raw
from modelwarden_server.explain.explanation import Floats, Units
from modelwarden_server.explain.exported import UNKNOWN, LinearModel

_CELLS_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class LinearEngine:
    """A linear model over `inputs` players against the mean of a background. Outputs as the link has them:
    of a logit (-margin, margin)."""

    model: LinearModel
    inputs: int
    mean: Floats
    """(e,): the background's weighted mean."""

    @property
    def units(self) -> Units:
        """In what values are."""
        return "margin" if self.model.classifies or self.model.link != "identity" else "value"

    @property
    def expected(self) -> Floats:
        """(outputs,)"""
        return np.asarray(self._both(raw(self.model, self.mean[None]))[0])

    def predictions(self, encoded: Floats) -> Floats:
        """(n, e) -> (n, outputs), in units."""
        return self._both(raw(self.model, encoded))

    def values(self, encoded: Floats) -> Floats:
        """(n, e) -> (n, outputs, inputs)."""
        known = np.flatnonzero(self.model.players != UNKNOWN)
        order = known[np.argsort(self.model.players[known], kind="stable")]
        players, first = np.unique(self.model.players[order], return_index=True)
        found = np.zeros((len(encoded), len(self.model.coef), self.inputs))
        at_once = max(1, _CELLS_AT_ONCE // self.model.coef.size)
        for start in range(0, len(encoded) if len(order) else 0, at_once):
            piece = slice(start, start + at_once)
            moved = (encoded[piece] - self.mean)[:, None, order] * self.model.coef[None, :, order]
            found[piece, :, players] = np.add.reduceat(moved, first, axis=2)
        return self._both(found)

    def _both(self, found: Floats) -> Floats:
        return np.concatenate([-found, found], axis=1) if self.model.link == "logit" else found
