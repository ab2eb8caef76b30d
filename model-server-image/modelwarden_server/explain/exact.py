"""The exact way: from a model's arrays, where these were verified against `predict` itself. Puts together
verify.py, linear.py and trees.py. Must not believe an exported model that was not verified.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.background import Background
from modelwarden_server.explain.explanation import Explainer, Explanations, Floats, Path, Predict, Rows
from modelwarden_server.explain.exported import Exported, Integers, LinearModel
from modelwarden_server.explain.linear import LinearEngine
from modelwarden_server.explain.missing import missing
from modelwarden_server.explain.players import Base, Encode, completed
from modelwarden_server.explain.trees import TreeBackground, TreeEngine
from modelwarden_server.explain.verify import Unverified, Verified, verified

_DISAGREES: Final = 10.0
"""Times what is tolerated when a model is verified: of rows that may be far from the reference."""
_CALLS: Final = 2
"""Rows that predict is given for a row: once to be encoded, once to be compared."""
_CELLS_AT_ONCE: Final = 4 << 20
_MOST_TRIED: Final = 32
"""Rows of a request that may bring what no row had until now: each costs a row for each input."""


def exact_explainer(
    exported: Exported, encode: Encode, predict: Predict, background: Background, sample: Rows
) -> Explainer | Unverified:
    """An engine from the arrays, or why they are not those of `predict`.

    `sample` (n, d): reference rows to verify with, at most 1000; of a linear model they are the background.
    What `predict` or `encode` raise is passed on; ValueError of `encode` counts as not verified.
    """
    shown = verified(exported, encode, predict, sample)
    if isinstance(shown, Unverified):
        return shown
    linear = isinstance(shown.model, LinearModel)
    if linear and shown.model.link == "log":
        return Unverified("values of a linear model through an exponential have no exact form")
    rows = sample if linear else background.rows
    how = f"the mean of {len(sample)} reference rows" if linear else background.how
    try:
        base = Base(rows[:1], encode(rows[:1]), encode)
        players, lost, pieces = shown.model.players, False, []
        at_once = max(1, _CELLS_AT_ONCE // len(players))
        for start in range(0, len(rows), at_once):
            piece = rows[start : start + at_once]
            encoded = encode(piece)
            players, without = completed(players, base, piece, encoded, len(piece))
            lost = lost or bool(without.any())
            # Only the mean of a linear model's background counts; it may have many columns.
            pieces.append(encoded.sum(axis=0, keepdims=True) / len(rows) if linear else encoded)
        if lost:
            return Unverified("inputs of some reference rows do not reach the estimator one by one")
        weights = np.ones(len(pieces)) if linear else background.weights
        against = TreeBackground(np.concatenate(pieces), weights)
        return ExactExplainer(_Subject(shown, predict, base, against, how), players)
    except ValueError as error:
        return Unverified(f"its arrays cannot be used: {str(error)[:200]}")


@dataclass(frozen=True, eq=False)
class _Subject:
    """What an exact explainer is made for."""

    shown: Verified
    predict: Predict
    base: Base
    against: TreeBackground
    how: str


class ExactExplainer:
    """See Explainer. Threads may ask it at the same time.

    A row of which predict says something else than the arrays is not explained, and `failures` says so.
    """

    def __init__(self, subject: _Subject, players: Integers) -> None:
        self._subject = subject
        self._lock = threading.Lock()
        self._engine = self._made(players)
        self._why = self._told()

    def explain(self, rows: Rows, ids: Sequence[str], samples: int | None = None) -> Explanations:  # noqa: ARG002
        """See Explainer: there is nothing random, and nothing is sampled."""
        subject = self._subject
        encoded, said = subject.base.encode(rows), subject.predict(rows)
        places = list(subject.shown.outputs)
        failures: list[str | None] = [None] * len(rows)
        for row in np.flatnonzero(~(subject.shown.disagreement(encoded, said) <= _DISAGREES)):
            failures[row] = "predict says something else of this row than the model that was found in it"
        engine, lost = self._engine_for(rows, encoded)
        for row in np.flatnonzero(lost):
            failures[row] = "inputs of this row reach the model in a way that the reference's do not"
        usable = np.array([failure is None for failure in failures])
        values = np.full((len(rows), len(places), rows.shape[1]), np.nan)
        if usable.any():
            values[usable] = engine.values(encoded[usable])[:, places]
        values[np.broadcast_to(missing(rows)[:, None, :], values.shape)] = np.nan
        return Explanations(
            values=values,
            expected=engine.expected[places],
            predictions=engine.predictions(encoded)[:, places],
            units=engine.units,
            path=self._path,
            why=self._why,
            model_rows=np.full(len(rows), _CALLS, dtype=np.int64),
            failures=None if usable.all() else tuple(failures),
        )

    @property
    def _path(self) -> Path:
        return "linear" if isinstance(self._subject.shown.model, LinearModel) else "trees"

    def _made(self, players: Integers) -> LinearEngine | TreeEngine:
        model, against = self._subject.shown.model, self._subject.against
        inputs = self._subject.base.row.shape[1]
        if isinstance(model, LinearModel):
            return LinearEngine(replace(model, players=players), inputs, against.weights @ against.encoded)
        return TreeEngine(replace(model, players=players), inputs, against)

    def _engine_for(
        self, rows: Rows, encoded: Floats
    ) -> tuple[LinearEngine | TreeEngine, npt.NDArray[np.bool_]]:
        """An engine that knows the player of each column in which these rows are unlike the background, and
        the rows that cannot be explained by it."""
        with self._lock:
            known = self._engine.model.players
            players, lost = completed(known, self._subject.base, rows, encoded, _MOST_TRIED)
            if (players != known).any():
                self._engine = self._made(players)
            return self._engine, lost

    def _told(self) -> str:
        shown, engine = self._subject.shown, self._engine
        what = {"probability": "the probability", "margin": "the margin", "value": "the predicted value"}
        kind = "coefficients" if self._path == "linear" else "trees"
        name = f" of {shown.model.estimator}" if shown.model.estimator else ""
        carried = (
            ", carried over from the margin for each background row"
            if self._path == "trees" and shown.model.link in ("logit", "log")
            else ""
        )
        return (
            f"Exact SHAP values of {what[engine.units]}{carried}, from the {kind}{name}: on"
            f" {shown.rows} rows, half of them mixed, they give what predict gives"
            f" (to {max(shown.difference, 1e-16):.0e});"
            f" background: {self._subject.how}"
        )
