"""Pairs of attributes that depend on each other in the reference, and whether a window keeps that dependence.

A bounded number of pairs is watched (`MAX_PAIRS`), chosen as a maximum spanning forest of Cramér's V: each
attribute that depends on another is in at least one pair as long as there is room, the strongest first. A
pair is counted as a coarse table, quarters of numbers or the most frequent categories on both sides.

What is asked is dependence alone: the reference's table is fitted to the window's own margins (iterative
proportional fitting, Deming and Stephan 1940), so a shift of either attribute is no finding here. The effect
is the total variation distance of the fitted and the found shares, the test a χ² of homogeneity with
(rows-1)(columns-1) degrees, whose rows count as 1/(1/n + 1/m). Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.significance import chi_square_tail

Shares = npt.NDArray[np.float64]

MAX_PAIRS: Final = 32
MAX_PAIRED: Final = 200
LEAST_STRENGTH: Final = 0.12
LEAST_CHANGE: Final = 0.05
_ROUNDS: Final = 200
_CLOSE: Final = 1e-9
_LEAST_EXPECTED: Final = 5.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two attributes, and the reference's counts, `counts[a * size of b + b]`."""

    one: str
    other: str
    shape: tuple[int, int]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PairChange:
    """How far the dependence of a pair is from the reference's: 0 the same, at most 1; `p_value` that of
    chance.
    """

    one: str
    other: str
    change: float
    p_value: float
    n: int


def strongest(codes: Sequence[npt.NDArray[np.integer]], sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Which columns to watch as pairs, by place. `codes` are the buckets of the same rows."""
    rows = len(codes[0]) if codes else 0
    if rows < 50:
        return []
    edges = []
    for a, b in combinations(range(min(len(codes), MAX_PAIRED)), 2):
        table = np.bincount(codes[a].astype(np.int64) * sizes[b] + codes[b], minlength=sizes[a] * sizes[b])
        strength = cramer(table.reshape(sizes[a], sizes[b]))
        if strength >= LEAST_STRENGTH:
            edges.append((-strength, a, b))
    group = list(range(len(codes)))
    chosen: list[tuple[int, int]] = []
    for _, a, b in sorted(edges):
        if group[a] != group[b] and len(chosen) < MAX_PAIRS:
            chosen.append((a, b))
            group = [group[a] if g == group[b] else g for g in group]
    return chosen


def cramer(table: Integers) -> float:
    """Cramér's V with the correction for bias of Bergsma (2013): 0 independent, 1 one determines the
    other.
    """
    held = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0].astype(np.float64)
    n = held.sum()
    if min(held.shape, default=0) < 2 or n < 2:
        return 0.0
    expected = np.outer(held.sum(axis=1), held.sum(axis=0)) / n
    phi = float(((held - expected) ** 2 / expected).sum()) / n
    r, c = held.shape
    phi = max(0.0, phi - (r - 1) * (c - 1) / (n - 1))
    r, c = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    return float(np.sqrt(phi / max(1e-12, min(r, c) - 1)))


def fitted(base: Shares, rows: Shares, columns: Shares) -> Shares:
    """The table with the dependence of `base` and these margins (shares that add up to 1)."""
    table = np.maximum(base, 1e-12)
    for _ in range(_ROUNDS):
        table = table * _ratio(rows, table.sum(axis=1))[:, None]
        table = table * _ratio(columns, table.sum(axis=0))[None, :]
        if np.abs(table.sum(axis=1) - rows).max() < _CLOSE:
            break
    return table


def pair_change(pair: Pair, base: Shares, target: Shares) -> PairChange | None:
    """What has become of a pair's dependence; None without rows on both sides.

    `base` and `target` are counts by cell of the pair's table; their sums are the rows they stand for.
    """
    # The last bucket of each side is "no value": an attribute that goes empty is told by its own.
    base, found = base.reshape(pair.shape)[:-1, :-1], target.reshape(pair.shape)[:-1, :-1]
    m, n = float(base.sum()), float(found.sum())
    if m < 1 or n < 1:
        return None
    # Half a row everywhere: a place that is empty by chance must not be empty for ever.
    shares = (base + 0.5) / (m + 0.5 * base.size)
    expected = fitted(shares, found.sum(axis=1) / n, found.sum(axis=0) / n)
    change = float(np.abs(found / n - expected).sum()) / 2
    rows = 1.0 / (1.0 / n + 1.0 / m)
    p = _p_value(expected, found / n, rows)
    return PairChange(pair.one, pair.other, change, p, int(n))


def _p_value(expected: Shares, found: Shares, rows: float) -> float:
    """χ² over the places where at least five rows are expected, the others as one place (Cochran)."""
    thin = expected * rows < _LEAST_EXPECTED
    wanted = np.append(expected[~thin], expected[thin].sum())
    have = np.append(found[~thin], found[thin].sum())
    full = (int((found.sum(axis=1) > 0).sum()) - 1) * (int((found.sum(axis=0) > 0).sum()) - 1)
    used = wanted * rows >= _LEAST_EXPECTED
    degrees = min(full, int(used.sum()) - 1)
    if degrees < 1:
        return 1.0
    return chi_square_tail(rows * float(((have - wanted)[used] ** 2 / wanted[used]).sum()), degrees)


def _ratio(wanted: Shares, have: Shares) -> Shares:
    ratio: Shares = np.where(have > 0, wanted / np.maximum(have, 1e-300), 0.0)
    return ratio
