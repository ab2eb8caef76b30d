"""Whether an exported model is the one behind `predict`: shown on reference rows, never believed.

Three things are shown. The arrays give what predict gives. Each encoded column is moved by one input alone,
which is how its player is found. And where rows are mixed input by input, their encoded rows are mixed player
by player, and the arrays still give what predict gives: that is all that a Shapley value asks a model.

Must not explain.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.evaluate import linked, raw
from modelwarden_server.explain.explanation import Floats, Predict, Rows
from modelwarden_server.explain.exported import UNKNOWN, Exported, Integers, Link
from modelwarden_server.explain.players import Encode, differ

TOLERATED: Final = 1e-6
"""The greatest difference of arrays and predict: of probabilities, and of values relative to the greatest."""
TOLERATED_OF_SINGLE: Final = 1e-5
"""The same where predict answers in single precision, and so has summed up in it (xgboost)."""
LEAST_ROWS: Final = 8
_MOST_ROWS: Final = 64
_ROWS_IN_ALL: Final = 20_000
_ROWS_AT_ONCE: Final = 8192
_CELLS_AT_ONCE: Final = 4 << 20
"""Of encoded rows: words of a text may be many columns."""


@dataclass(frozen=True)
class Unverified:
    """The exact way is not taken, and why, in words that go on after "because"."""

    why: str


@dataclass(frozen=True, eq=False)
class Verified:
    """A model that is the one behind predict. Its players are those that were found."""

    model: Exported
    outputs: tuple[int, ...]
    """Which of the estimator's outputs each output of predict is."""
    difference: float
    """The greatest that was seen."""
    scale: float
    """1 of probabilities, else the greatest value that predict gave."""
    tolerated: float
    rows: int
    """On how many rows, mixed ones included."""

    def disagreement(self, encoded: Floats, said: Floats) -> Floats:
        """(n,): how far the arrays are from what predict said (n, k), as a share of what is tolerated."""
        told = linked(self.model.link, raw(self.model, encoded))[:, self.outputs]
        apart = np.abs(told - said) / np.maximum(self.scale, np.abs(said) if self.scale != 1 else 1.0)
        return np.asarray(apart.max(axis=1) / self.tolerated)


class _NoError(Exception):
    """Says why a model is not verified."""


def verified(exported: Exported, encode: Encode, predict: Predict, sample: Rows) -> Verified | Unverified:
    """Show it on rows of `sample` (n, d). What predict raises is passed on, ValueError of encode means no."""
    try:
        return _Trial(exported, encode, predict, sample).verified()
    except _NoError as no:
        return Unverified(str(no))


class _Trial:
    """One model before its rows."""

    def __init__(self, exported: Exported, encode: Encode, predict: Predict, sample: Rows) -> None:
        if len(sample) < LEAST_ROWS:
            raise _NoError(f"the reference has {len(sample)} rows: {LEAST_ROWS} are the least to verify with")
        self._model, self._encode_all, self._predict = exported, encode, predict
        many = min(len(sample), _MOST_ROWS, max(LEAST_ROWS, _ROWS_IN_ALL // (2 * sample.shape[1])))
        self._rows = sample[np.linspace(0, len(sample) - 1, many).round().astype(np.int64)]
        self._rows_at_once = max(1, min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // len(exported.players)))
        self._what = f"the {exported.estimator or 'estimator'} that was found"

    def verified(self) -> Verified:
        encoded = self._encode(self._rows)
        said = self._predict(self._rows)
        scale = 1.0 if self._model.classifies else float(np.abs(said).max()) or 1.0
        single = bool((said.astype(np.float32) == said).all())
        tolerated = TOLERATED_OF_SINGLE if single else TOLERATED
        model, outputs = self._as_said(encoded, said, scale * tolerated)
        model = replace(model, players=self._found_players(encoded))
        first = Verified(model, outputs, 0.0, scale, tolerated, 2 * len(self._rows))
        mixed, mixture = self._mixed(encoded, model.players)
        reached = self._encode(mixed)
        if differ(reached, mixture).any():
            raise _NoError("mixed rows are not encoded input by input")
        worst = max(
            float(first.disagreement(encoded, said).max()),
            float(first.disagreement(reached, self._predict(mixed)).max()),
        )
        if worst > 1:
            raise _NoError(f"{self._what} differs from predict on mixed rows, by {worst * tolerated:.2g}")
        return replace(first, difference=worst * tolerated)

    def _as_said(self, encoded: Floats, said: Floats, tolerated: float) -> tuple[Exported, tuple[int, ...]]:
        """The model with the link with which it gives what predict said, and which outputs these are."""
        least = np.inf
        links: tuple[Link, ...] = ("identity",)
        if self._model.link != "identity":
            links = (self._model.link, "identity")
        for link in links:
            told = linked(link, raw(self._model, encoded))
            if not np.isfinite(told).all():
                raise _NoError(f"{self._what} gets values for which it has no answer")
            apart = np.abs(told[:, :, None] - said[:, None, :]).max(axis=0)
            least = min(least, float(apart.min(axis=0).max()))
            if least <= tolerated:
                # Of a classifier whose margins predict gives, these are what is explained, as values.
                classifies = self._model.classifies and link == self._model.link
                model = replace(self._model, link=link, classifies=classifies)
                return model, tuple(apart.argmin(axis=0).tolist())
        raise _NoError(f"{self._what} gives something else than predict, by {least:.2g}")

    def _found_players(self, encoded: Floats) -> Integers:
        """(e,): which input moves each encoded column; UNKNOWN of columns that are the same in all rows."""
        moved = self._moved(encoded)
        several = np.flatnonzero(moved.sum(axis=0) > 1)
        if len(several):
            one, other = np.flatnonzero(moved[:, several[0]])[:2] + 1
            raise _NoError(f"inputs {one} and {other} both move a column of the estimator")
        found = np.where(moved.any(axis=0), moved.argmax(axis=0), UNKNOWN).astype(np.int32)
        still = found == UNKNOWN
        if differ(encoded[:, still], encoded[:1, still]).any():
            raise _NoError("a column of the estimator changes with no single input")
        return found

    def _moved(self, encoded: Floats) -> npt.NDArray[np.bool_]:
        """(d, e): which columns move in some row when an input is taken from another row."""
        many, inputs = self._rows.shape
        at_once = max(1, self._rows_at_once // (2 * many))
        others = [self._rows[(np.arange(many) + shift) % many] for shift in (1, many // 2)]
        moved = np.zeros((inputs, encoded.shape[1]), dtype=np.bool_)
        for start in range(0, inputs, at_once):
            end = min(inputs, start + at_once)
            changed = [_with(self._rows, other, i) for i in range(start, end) for other in others]
            reached = self._encode(np.concatenate(changed)).reshape(-1, many, encoded.shape[1])
            moved[start:end] = differ(reached, encoded).reshape(end - start, -1, encoded.shape[1]).any(axis=1)
        return moved

    def _mixed(self, encoded: Floats, players: Integers) -> tuple[Rows, Floats]:
        """Rows mixed of two by random coalitions, and how these should be encoded."""
        many, inputs = self._rows.shape
        rng = np.random.default_rng(0)
        other = (np.arange(many) + rng.integers(1, many, many)) % many
        own = rng.random((many, inputs)) < rng.random((many, 1))
        mixed = np.where(own, self._rows, self._rows[other])
        # Columns that nothing moves are the same in all rows.
        own_columns = np.pad(own, ((0, 0), (0, 1)))[:, players]
        return mixed, np.where(own_columns, encoded, encoded[other])

    def _encode(self, rows: Rows) -> Floats:
        pieces = []
        for start in range(0, len(rows), self._rows_at_once):
            piece = rows[start : start + self._rows_at_once]
            try:
                encoded = self._encode_all(piece)
            except ValueError as error:
                raise _NoError(f"what reaches the estimator cannot be seen: {str(error)[:200]}") from None
            if encoded.shape != (len(piece), len(self._model.players)):
                columns = len(self._model.players)
                raise _NoError(f"{self._what} has {columns} columns, and something else reaches it")
            pieces.append(encoded)
        return np.concatenate(pieces)


def _with(rows: Rows, other: Rows, place: int) -> Rows:
    changed = rows.copy()
    changed[:, place] = other[:, place]
    return changed
