"""The frame of LIME for texts and images: one input of a row is cut into parts, the others are held.

Must not know what the parts are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explanations, Floats, Path, Predict, Rows
from modelwarden_server.explain.local_fit import GROUPS, LocalFit
from modelwarden_server.explain.missing import Bits, missing
from modelwarden_server.explain.perturbed import LEAST_SAMPLES, MOST_SAMPLES, Perturbation
from modelwarden_server.explain.seeding import generator
from modelwarden_server.explain.tiles import predicted


class Parting(Protocol):
    """What makes parts of one kind of input."""

    @property
    def path(self) -> Path:
        """For which kind of input."""
        ...

    @property
    def how(self) -> str:
        """What was done, in a sentence's part."""
        ...

    @property
    def at_once(self) -> int:
        """Rows of one request that predict is given in one call: images may be of several sizes."""
        ...

    def readable(self, value: Any) -> bool:
        """Whether a value of the background can be made ready."""
        ...

    def ready(self, value: Any) -> Any:
        """The value as predict takes it. Raises ValueError with a sentence's part."""
        ...

    def explained(
        self, predict: Predict, row: Rows, place: int, samples: int, random: np.random.Generator
    ) -> tuple[Perturbation | None, Any]:
        """Of a row (d,) whose input at `place` is ready: the fit (None without parts), and what to tell."""
        ...


@dataclass(eq=False)
class Parted:
    """LIME of the input at `place` by its parts. See Explainer."""

    box: BlackBox
    parting: Parting
    place: int
    samples: int

    @cached_property
    def _expected(self) -> Floats | None:
        """(k,): of the background's rows whose input can be read; None if there is none."""
        background = self.box.background
        usable = np.array([self.parting.readable(value) for value in background.rows[:, self.place]])
        if not usable.any():
            return None
        weights = background.weights[usable] / background.weights[usable].sum()
        return np.asarray(weights @ self._predicted(self._ready(background.rows[usable])))

    def _predicted(self, ready: Rows) -> Floats:
        return predicted(self.box.predict, ready, self.parting.at_once)

    def explain(self, rows: Rows, ids: Sequence[str], samples: int | None = None) -> Explanations:
        """See Explainer. A row whose input is missing is not asked for: its numbers are NaN. Raises
        ValueError where inputs cannot be cut into parts, or all are missing."""
        there = ~missing(rows[:, self.place])
        if not there.any():
            raise ValueError("the input is missing: there is nothing to leave out of it")
        if not there.all():
            kept = [name for name, is_there in zip(ids, there, strict=True) if is_there]
            return _with_gaps(self.explain(rows[there], kept, samples), there)
        size = self.samples if samples is None else samples
        size = min(max(LEAST_SAMPLES, size - size % GROUPS), MOST_SAMPLES)
        ready = self._ready(rows)
        predictions = self._predicted(ready)
        told = [self._one(row, name, size) for row, name in zip(ready, ids, strict=True)]
        values, errors = np.zeros((2, *predictions.shape, rows.shape[1]))
        values[:, :, self.place] = np.stack([self._sum(found, predictions) for found, _ in told])
        errors[:, :, self.place] = np.stack([self._sum_error(found, predictions) for found, _ in told])
        expected = self._expected
        about = f"that of {self.box.background.how}"
        if expected is None:
            about, expected = "not known and given as 0", np.zeros(predictions.shape[1])
        return Explanations(
            values=values,
            expected=expected,
            predictions=predictions,
            units=self.box.units,
            path=self.parting.path,
            why=f"{self.box.why}; {self.parting.how}; expected is {about}",
            model_rows=np.array([1 + (found.asked if found else 0) for found, _ in told], dtype=np.int64),
            errors=errors,
            parts=tuple(json.dumps(what, ensure_ascii=False, separators=(",", ":")) for _, what in told),
            stability=np.array([found.fit.stability if found else 1.0 for found, _ in told]),
            fit=np.stack([found.fit.fit if found else np.ones(predictions.shape[1]) for found, _ in told]),
        )

    def _one(self, row: Rows, name: str, size: int) -> tuple[Perturbation | None, Any]:
        random = generator(self.box.seed, self.parting.path, name)
        return self.parting.explained(self.box.predict, row, self.place, size, random)

    def _sum(self, found: Perturbation | None, predictions: Floats) -> Floats:
        return found.fit.values.sum(axis=1) if found else np.zeros(predictions.shape[1])

    def _sum_error(self, found: Perturbation | None, predictions: Floats) -> Floats:
        """Of the sum, as if the parts' errors had nothing to do with each other."""
        return np.sqrt((found.fit.errors**2).sum(axis=1)) if found else np.zeros(predictions.shape[1])

    def _ready(self, rows: Rows) -> Rows:
        ready = np.empty(rows.shape, dtype=object)
        ready[:] = rows
        for n in range(len(ready)):
            ready[n, self.place] = self.parting.ready(rows[n, self.place])
        return ready


def _with_gaps(found: Explanations, there: Bits) -> Explanations:
    """The same, of all rows: those that are not `there` (n,) have NaN, no parts and no row asked."""

    def spread(numbers: Floats | None) -> Floats:
        assert numbers is not None
        whole = np.full((len(there), *numbers.shape[1:]), np.nan)
        whole[there] = numbers
        return whole

    asked = np.zeros(len(there), dtype=np.int64)
    asked[there] = found.model_rows
    parts = iter(found.parts or ())
    return replace(
        found,
        values=spread(found.values),
        predictions=spread(found.predictions),
        model_rows=asked,
        errors=spread(found.errors),
        parts=tuple(next(parts) if is_there else None for is_there in there.tolist()),
        stability=spread(found.stability),
        fit=spread(found.fit),
    )


def told_parts(fit: LocalFit, names: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each part's own words, what it does to each output, and the standard error of that."""
    return [
        {**name, "explanation_value": value, "error": error}
        for name, value, error in zip(names, fit.values.T.tolist(), fit.errors.T.tolist(), strict=True)
    ]
