"""What is counted of ranked lists and of tokens (see `blocks`). Pure.

Of ranked lists, for each k from 1 to MAX_PLACES: precision, recall, average precision and nDCG at k, and the
reciprocal rank, as sums and sums of squares in units of 2^-BITS. They are defined as the functions of the
query API are (`query.sql.functions.ranking`). Of tokens, which need no label: mean and deviation of the
likeliest token's likelihood, and the length of the sequence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import ROWS, Entry
from modelwarden_server.analysis.performance.list_columns import MAX_PLACES, MAX_RELEVANT, items_of
from modelwarden_server.analysis.performance.packing import Words

Floats = npt.NDArray[np.float64]
BITS: Final = 30
AT_K: Final = ("precision", "recall", "map", "ndcg")
TOKEN_METRICS: Final = ("mean_likelihood", "likelihood_deviation", "sequence_length")
_PLACES: Final = np.arange(1, MAX_PLACES + 1)
_DISCOUNTS: Final = 1 / np.log2(_PLACES + 1)
_IDEAL: Final = np.cumsum(_DISCOUNTS)
_NO_NUMBER: Final = (1 << 32) - 1


@dataclass(frozen=True)
class Moments:
    """How many rows have a number, their sum and the sum of their squares."""

    n: int
    total: float
    squares: float


@dataclass(frozen=True)
class RankedBlock:
    """Of ranked lists. PAIRED rows have a list and a label, RELEVANT ones of them something relevant;
    TOO_MANY labels have more items than are remembered, and are in no sum; of LATE rows only a part of the
    list is remembered, and nothing relevant is in that.
    """

    LABELLED, PAIRED, RELEVANT, TOO_MANY, LATE = 1, 2, 3, 4, 5
    RANK = 6
    TABLES = 8

    @property
    def size(self) -> int:
        return self.TABLES + 2 * len(AT_K) * MAX_PLACES

    @property
    def entries(self) -> int:
        return self.size

    @property
    def row_words(self) -> int:
        return MAX_PLACES // 2 + 1

    def packed(self, scores: Words) -> Words:
        return scores

    def entries_of(self, packed: Words, labels: Words | None) -> Iterator[Entry]:
        if labels is None:
            yield _ones(np.arange(len(packed)), ROWS)
            return
        (items, length), (relevant, many) = items_of(packed), items_of(labels)
        yield _ones(np.flatnonzero(many >= 0), self.LABELLED)
        both = (many >= 0) & (length >= 0)
        yield _ones(np.flatnonzero(both & (many > MAX_RELEVANT)), self.TOO_MANY)
        paired = np.flatnonzero(both & (many <= MAX_RELEVANT))
        yield _ones(paired, self.PAIRED)
        items, relevant = items[paired], relevant[paired]
        hits = (items[:, :, None] == relevant[:, None, :]).any(axis=2) & (items != 0)
        none = ~hits.any(axis=1)
        yield _ones(paired[none & (length[paired] > MAX_PLACES)], self.LATE)
        yield from _moments(paired, self.RANK, np.where(none, 0.0, 1 / (1 + hits.argmax(axis=1))))
        some = many[paired] > 0
        yield _ones(paired[some], self.RELEVANT)
        for place, values in enumerate(_at_k(hits, many[paired])):
            used = some if place else np.ones(len(paired), dtype=np.bool_)
            for k in range(MAX_PLACES):
                yield from _moments(paired[used], self._code(place, k + 1), values[used, k])

    def at_k(self, counts: Integers, metric: str, k: int) -> Moments:
        """One of AT_K at a k up to MAX_PLACES."""
        n = self.PAIRED if metric == "precision" else self.RELEVANT
        return _moments_of(counts, n, self._code(AT_K.index(metric), k), BITS)

    def rank(self, counts: Integers) -> Moments:
        """The reciprocal rank, 0 where nothing relevant is among the first MAX_PLACES."""
        return _moments_of(counts, self.PAIRED, self.RANK, BITS)

    def _code(self, place: int, k: int) -> int:
        return self.TABLES + 2 * (place * MAX_PLACES + k - 1)


@dataclass(frozen=True)
class TokenBlock:
    """Of tokens: of each of TOKEN_METRICS how many rows have it, sum and sum of squares."""

    @property
    def size(self) -> int:
        return 1 + 3 * len(TOKEN_METRICS)

    @property
    def entries(self) -> int:
        return self.size

    @property
    def row_words(self) -> int:
        return 2

    def packed(self, scores: Floats) -> Words:
        """Scores as `list_columns.likelihoods` tells them."""
        mean, deviation, length = (_unsigned(c, b) for c, b in zip(scores.T, self._bits(), strict=True))
        return np.stack([mean | (deviation << np.uint64(32)), length], axis=1)

    def entries_of(self, packed: Words, labels: Words | None) -> Iterator[Entry]:
        if labels is not None:
            return
        yield _ones(np.arange(len(packed)), ROWS)
        low = np.uint64(_NO_NUMBER)
        fields = (packed[:, 0] & low, packed[:, 0] >> np.uint64(32), packed[:, 1])
        for place, (units, bits) in enumerate(zip(fields, self._bits(), strict=True)):
            rows = np.flatnonzero(units != low)
            yield _ones(rows, 1 + 3 * place)
            yield from _sums(rows, 2 + 3 * place, units[rows].astype(np.int64), bits)

    def moments(self, counts: Integers, metric: str) -> Moments:
        """One of TOKEN_METRICS."""
        place = TOKEN_METRICS.index(metric)
        return _moments_of(counts, 1 + 3 * place, 2 + 3 * place, self._bits()[place])

    def _bits(self) -> tuple[int, int, int]:
        return BITS, BITS, 0


def _at_k(hits: npt.NDArray[np.bool_], relevant: Integers) -> Iterator[Floats]:
    """AT_K of lists for each k, (n, MAX_PLACES); where nothing is relevant only the first means anything."""
    found = np.cumsum(hits, axis=1)
    yield found / _PLACES
    most = np.maximum(relevant, 1)[:, None]
    yield found / most
    reachable = np.minimum(_PLACES, most)
    yield np.cumsum(hits * found / _PLACES, axis=1) / reachable
    yield np.cumsum(hits * _DISCOUNTS, axis=1) / _IDEAL[reachable - 1]


def _ones(rows: Integers, code: int) -> Entry:
    return rows, np.full(len(rows), code), np.ones(len(rows), dtype=np.int64)


def _moments(rows: Integers, code: int, values: Floats) -> Iterator[Entry]:
    """Sum and sum of squares; nothing for nothing."""
    some = np.flatnonzero(values)
    yield from _sums(rows[some], code, np.rint(np.ldexp(values[some], BITS)).astype(np.int64), BITS)


def _sums(rows: Integers, code: int, units: Integers, bits: int) -> Iterator[Entry]:
    yield rows, np.full(len(rows), code), units
    # Rounded once more, so that the sum of squares of 2^33 rows still fits.
    yield rows, np.full(len(rows), code + 1), (units * units + (1 << bits >> 1)) >> bits


def _moments_of(counts: Integers, n: int, code: int, bits: int) -> Moments:
    total, squares = (float(np.ldexp(float(counts[at]), -bits)) for at in (code, code + 1))
    return Moments(int(counts[n]), total, squares)


def _unsigned(values: Floats, bits: int) -> Words:
    """Fixed point in 32 bits, what is missing as _NO_NUMBER."""
    units = np.clip(np.rint(np.ldexp(np.nan_to_num(values), bits)), 0, _NO_NUMBER - 1)
    return np.where(np.isnan(values), _NO_NUMBER, units).astype(np.uint64)
