"""LIME for tables (Ribeiro et al. 2016): a weighted linear fit around the row, on a sample all rows share.

Must not draw anew for each row: the sample lies around the reference's mean, only its weights are the row's.

A sample x counts with sqrt(exp(-|x - row|^2 / width^2)), width = 0.75 sqrt(d), distances in standard
deviations, 1 for another category; the fit is a ridge with alpha 1 (the defaults of lime's package with
discretize_continuous=False, and no inputs left out).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.explanation import Explainer, Explanations, Floats, Rows
from modelwarden_server.explain.local_fit import GROUPS, SEEDS, LocalFit, fitted, sums_of_products
from modelwarden_server.explain.missing import Bits, missing
from modelwarden_server.explain.sample_space import Codes, SampleSpace, Table, sample_space
from modelwarden_server.explain.seeding import generator
from modelwarden_server.explain.tiles import predicted

__all__ = ["Table", "lime_explainer"]

_WIDTH: Final = 0.75
_KEPT = 2
"""Samples of other sizes that are kept in memory."""
_LEAST_SAMPLES: Final = 10 * GROUPS
MOST_SAMPLES: Final = 50_000
_MOST_CELLS: Final = 20_000_000
"""Of a sample: rows times inputs."""


def lime_explainer(box: BlackBox, table: Table, samples: int = 5000) -> Explainer:
    """LIME of rows of a table: for a number the change of the output by one standard deviation, for a
    category that of having the row's own. Not discretised, no inputs left out; `stability` and `fit` told.

    The same row and samples give the same values, whatever its id: all randomness is in the shared sample.
    Raises what predict raises.
    """
    return _Lime(box, sample_space(table), samples)


@dataclass(frozen=True, eq=False)
class _Shared:
    columns: npt.NDArray[np.float32]
    """(m, 1 + d + k): 1, the inputs in standard deviations (0 for categories), the outputs in theirs."""
    centre: Floats
    """(k,): the outputs' mean."""
    scale: Floats
    """(k,): the outputs' standard deviation, 1 where there is none."""
    codes: Codes
    squares: Floats
    """(m,): squared distances of the rows from the mean."""


@dataclass(eq=False)
class _Lime:
    box: BlackBox
    space: SampleSpace
    samples: int
    _kept: dict[int, _Shared] = field(default_factory=dict)
    _keeping: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _expected(self) -> Floats:
        background = self.box.background
        return background.weights @ predicted(self.box.predict, background.rows)

    def explain(self, rows: Rows, ids: Sequence[str], samples: int | None = None) -> Explanations:
        """See Explainer."""
        size = self.samples if samples is None else samples
        size = min(size, MOST_SAMPLES, _MOST_CELLS // rows.shape[1])
        size = max(_LEAST_SAMPLES, size - size % GROUPS)
        asked = np.ones(len(ids), dtype=np.int64)
        with self._keeping:  # one thread draws, the others wait for it
            if size not in self._kept:
                asked[0] += size
            shared = self._shared(size)
        predictions = predicted(self.box.predict, rows)
        gone = missing(rows)
        scaled, codes = self.space.scaled(rows), self.space.codes(rows)
        values = np.full((len(rows), predictions.shape[1], rows.shape[1]), np.nan)
        errors = values.copy()
        told = []
        for n, used in enumerate(~gone):
            one = self._fitted(shared, (scaled[n], codes[n], predictions[n]), used)
            values[n][:, used], errors[n][:, used] = one.values, one.errors
            told.append(one)
        return Explanations(
            values=values,
            expected=self._expected,
            predictions=predictions,
            units=self.box.units,
            path="lime",
            why=f"{self.box.why}; a linear model around the row was fitted to {size} rows drawn around the"
            f" reference's mean, which all explanations share; stability is that of {SEEDS} seeds, each a"
            f" third of them; expected is that of {self.box.background.how}",
            model_rows=asked,
            errors=errors,
            stability=np.array([one.stability for one in told]),
            fit=np.array([one.fit for one in told]),
        )

    def _fitted(self, shared: _Shared, row: tuple[Floats, Floats, Floats], used: Bits) -> LocalFit:
        """The fit for one row: scaled (d,), codes (d,), prediction (k,), and which inputs it has."""
        scaled, codes, prediction = row
        categorical = self.space.categorical
        numbers = used & ~categorical
        drawn = shared.columns[:, 1 : 1 + len(used)]
        apart = np.where(numbers, scaled, 0.0)
        squares = shared.squares if used.all() else (drawn**2) @ numbers
        distance = squares - 2 * (drawn @ apart.astype(np.float32)) + apart @ apart
        columns, own = shared.columns, scaled
        if categorical.any():
            same = shared.codes[:, categorical] == codes[categorical]
            columns = columns.copy()
            columns[:, 1 + np.flatnonzero(categorical)] = same
            distance += (~same)[:, used[categorical]].sum(axis=1)
            own = np.where(categorical, 1.0, scaled)
        if not used.all():
            columns = columns[:, np.concatenate([[True], used, np.ones(len(prediction), dtype=np.bool_)])]
        width = _WIDTH**2 * max(int(used.sum()), 1)
        weights = np.exp(-0.5 * np.maximum(distance, 0.0) / width)
        sums = sums_of_products(columns, weights)
        itself = np.concatenate([[1.0], own[used], (prediction - shared.centre) / shared.scale])
        # The row itself, of weight 1, as lime's package has it: shared out among the groups.
        sums += np.outer(itself, itself) / GROUPS
        found = fitted(sums, int(used.sum()))
        scale = shared.scale[:, None]
        return replace(found, values=found.values * scale, errors=found.errors * scale)

    def _shared(self, size: int) -> _Shared:
        found = self._kept.get(size)
        if found is None:
            scaled, codes, outputs = [], [], []
            for seed in range(SEEDS):
                drawn = self.space.drawn(size // SEEDS, generator(self.box.seed, "lime", seed))
                scaled.append(drawn.scaled)
                codes.append(drawn.codes)
                outputs.append(predicted(self.box.predict, drawn.rows))
            while len(self._kept) >= _KEPT:
                self._kept.pop(next(iter(self._kept)))
            found = _of_sample(np.concatenate(scaled), np.concatenate(codes), np.concatenate(outputs))
            self._kept[size] = found
        return found


def _of_sample(scaled: Floats, codes: Codes, outputs: Floats) -> _Shared:
    """In single precision: what the model says is centred before, it may be large and vary little."""
    centre, scale = outputs.mean(axis=0), outputs.std(axis=0)
    scale[scale == 0] = 1.0
    ones = np.ones((len(scaled), 1))
    columns = np.concatenate([ones, scaled, (outputs - centre) / scale], axis=1).astype(np.float32)
    return _Shared(columns, centre, scale, codes, (scaled**2).sum(axis=1))
