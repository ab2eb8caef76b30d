"""SHAP values of any model (Kernel SHAP, Lundberg and Lee 2017), from coalitions that all rows share.

Must not look into the model, and must not ask it for more rows at a time than a tile.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from modelwarden_server.explain.black_box import BlackBox
from modelwarden_server.explain.enumeration import MOST_PLAYERS, all_coalitions, shapley_matrix
from modelwarden_server.explain.explanation import Explainer, Explanations, Floats, Path, Rows
from modelwarden_server.explain.masks import Pairs, shared_pairs
from modelwarden_server.explain.missing import Bits, differing, missing
from modelwarden_server.explain.projection import (
    NOISES,
    Estimate,
    Fit,
    Observed,
    adjusted,
    fitted,
    linear_map,
    relevance,
)
from modelwarden_server.explain.seeding import generator
from modelwarden_server.explain.tiles import TILE, coalition_values, predicted

LEAST_SAMPLES: Final = 16
MOST_SAMPLES: Final = 4096
"""Coalitions of a row at most, whatever is asked for."""
_FEWEST_PAIRS = 64
_KEPT = 4
"""Numbers of players whose coalitions are kept in memory."""
_MOST_FITTED = 512
"""Pairs that triples are fitted to, which takes time with their cube; further ones correct that fit."""


@dataclass(frozen=True)
class Budget:
    """How much a row's explanation may cost."""

    samples: int = 2000
    """Coalitions at most; each asks the model for one row of each row of the background."""
    tolerance: float = 0.01
    """Enough when the greatest standard error is at most this share of the range of the values."""
    tile: int = TILE
    """Rows at most in one call of predict: more leave the cache (measured)."""


def kernel_explainer(box: BlackBox, budget: Budget | None = None) -> Explainer:
    """SHAP values against `box.background` in `box.units`: exact by enumeration where 2^d coalitions are
    within the budget (path "enumeration"), else with standard errors (path "kernel").

    d counts the inputs in which a row differs from the background: the others' values are 0. Each row's id
    decides which input is which player, so that errors of two rows have nothing in common. Raises what
    predict raises.
    """
    return _Kernel(box, budget or Budget())


@dataclass(frozen=True, eq=False)
class _Row:
    """What came out for one row: (k, d), and (k, d) or None where the values are exact."""

    values: Floats
    errors: Floats | None
    asked: int


@dataclass(frozen=True, eq=False)
class _Stages:
    """The pairs for one number of players, in prefixes that double, each with its linear map."""

    pairs: Pairs
    signs: Floats
    ends: tuple[int, ...]
    weights: tuple[Floats, ...]
    maps: tuple[tuple[Floats, Floats], ...]


@dataclass(eq=False)
class _Kernel:
    box: BlackBox
    budget: Budget
    _kept: dict[tuple[int, int], _Stages] = field(default_factory=dict)
    _keeping: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def _expected(self) -> Floats:
        background = self.box.background
        return background.weights @ predicted(self.box.predict, background.rows, self.budget.tile)

    def explain(self, rows: Rows, ids: Sequence[str], samples: int | None = None) -> Explanations:
        """See Explainer."""
        most = self.budget.samples if samples is None else samples
        most = min(max(LEAST_SAMPLES, most), MOST_SAMPLES)
        predictions = predicted(self.box.predict, rows, self.budget.tile)
        told = [
            self._row(row, name, own - self._expected, most)
            for row, name, own in zip(rows, ids, predictions, strict=True)
        ]
        values = np.stack([one.values for one in told])
        values[np.broadcast_to(missing(rows)[:, None, :], values.shape)] = np.nan
        errors = None
        path: Path = "enumeration"
        if any(one.errors is not None for one in told):
            path = "kernel"
            errors = np.stack([np.zeros_like(o.values) if o.errors is None else o.errors for o in told])
            errors[np.isnan(values)] = np.nan
        return Explanations(
            values=values,
            expected=self._expected,
            predictions=predictions,
            units=self.box.units,
            path=path,
            why=self._why(path),
            model_rows=np.array([one.asked + 1 for one in told], dtype=np.int64),
            errors=errors,
        )

    def _why(self, path: Path) -> str:
        how = {
            "enumeration": "all coalitions of its inputs were asked for: exact",
            "kernel": "sampled coalitions of its inputs were asked for: with standard errors",
        }[path]
        return f"{self.box.why}; {how}; against {self.box.background.how}"

    def _row(self, row: Rows, name: str, total: Floats, most: int) -> _Row:
        """One row (d,) whose prediction is `total` (k,) from what is expected."""
        background = self.box.background
        values = np.zeros((len(total), len(row)))
        varying = np.flatnonzero(differing(row, background.rows))
        players = len(varying)
        if players == 0:
            return _Row(values, None, 0)
        if players == 1:
            values[:, varying[0]] = total
            return _Row(values, None, 0)
        if players <= MOST_PLAYERS and 2**players - 2 <= max(most, 2 ** LEAST_SAMPLES.bit_length()):
            masks = all_coalitions(players)[1:-1]
            inner = self._asked(row, varying, masks)
            of_all = np.vstack([np.zeros_like(total), inner - self._expected, total])
            values[:, varying] = (shapley_matrix(players) @ of_all).T
            return _Row(values, None, len(masks) * len(background.rows))
        order = varying[generator(self.box.seed, "players", name).permutation(players)]
        estimate, pairs = self._estimated(row, order, total, most)
        errors = np.zeros_like(values)
        values[:, order], errors[:, order] = estimate.values.T, estimate.errors.T
        return _Row(values, errors, 2 * pairs * len(background.rows))

    def _asked(self, row: Rows, players: Rows, masks: Bits) -> Floats:
        """(m, k): values of coalitions (m, players) of the inputs at these places."""
        whole = np.zeros((len(masks), len(row)), dtype=np.bool_)
        whole[:, players] = masks
        background = self.box.background
        return coalition_values(
            self.box.predict, row, background.rows, background.weights, whole, self.budget.tile
        )

    def _estimated(self, row: Rows, order: Rows, total: Floats, most: int) -> tuple[Estimate, int]:
        """The estimate of the first stage that is good enough or the last, and how many pairs it took."""
        stages = self._stages(len(order), most // 2)
        halves = np.empty((0, len(total)))
        fit: Fit | None = None
        noise = NOISES[0]
        for end, weights, (to_values, spread) in zip(stages.ends, stages.weights, stages.maps, strict=True):
            masks = stages.pairs.halves[len(halves) : end]
            both = self._asked(row, order, np.concatenate([masks, ~masks]))
            halves = np.concatenate([halves, (both[: len(masks)] - both[len(masks) :]) / 2])
            learnt = min(end, _MOST_FITTED)
            seen, signs = Observed(halves[:learnt], total), stages.signs[:learnt]
            if fit is None:
                first = relevance(to_values @ halves + np.outer(spread, total))
                noise, fit = _likeliest(signs, weights[:learnt], seen, first)
            elif len(fit.left_out) < learnt:
                fit = fitted(signs, weights[:learnt], seen, relevance(fit.estimate.values), noise)
            estimate = fit.estimate if learnt == end else adjusted(fit, stages.signs[:end], to_values, halves)
            if self._enough(estimate):
                break
        return estimate, end

    def _enough(self, estimate: Estimate) -> bool:
        ranges = np.ptp(estimate.values, axis=0)
        return bool((estimate.errors.max(axis=0) <= self.budget.tolerance * ranges).all())

    def _stages(self, players: int, most: int) -> _Stages:
        with self._keeping:
            found = self._kept.get((players, most))
            if found is None:
                while len(self._kept) >= _KEPT:
                    self._kept.pop(next(iter(self._kept)))
                found = self._kept[players, most] = _staged(shared_pairs(players, most, self.box.seed))
            return found


def _staged(pairs: Pairs) -> _Stages:
    players, signs = pairs.halves.shape[1], pairs.signs
    ends = tuple(_ends(max(_FEWEST_PAIRS, 2 * players), len(pairs.halves)))
    weights = tuple(pairs.weights(end) for end in ends)
    maps = tuple(linear_map(signs[:end], w) for end, w in zip(ends, weights, strict=True))
    return _Stages(pairs, signs, ends, weights, maps)


def _ends(first: int, last: int) -> Iterator[int]:
    """first, twice that …, last."""
    while first < last:
        yield first
        first *= 2
    yield last


def _likeliest(signs: Floats, weights: Floats, seen: Observed, first: Floats) -> tuple[float, Fit]:
    """The likeliest noise, and a fit with it. From a first word on which players matter; the values of a
    first fit say it better."""
    found = [(noise, fitted(signs, weights, seen, first, noise)) for noise in NOISES]
    best, fit = max(found, key=lambda one: one[1].likelihood)
    return best, fitted(signs, weights, seen, relevance(fit.estimate.values), best)
