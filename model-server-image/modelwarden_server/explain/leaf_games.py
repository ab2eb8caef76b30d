"""The games that leaves play between a row and all background rows at once: formulas in trees.py.

Two ways to the same numbers. With few players on a path all games are worked out beforehand, a row looks its
own up (`TableGames`). Else games that are not lost from the start are found by one bitwise and (`PairGames`).
Must not know links, nor what columns mean.
"""

from dataclasses import dataclass
from functools import cached_property
from math import factorial
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.tree_paths import NOBODY, Codes, TreePaths

_BITS_AT_ONCE: Final = 1 << 17
MOST_OF_A_TABLE: Final = 8 << 20
"""Numbers in all tables of an ensemble: 64 MB."""

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Arena:
    """Leaves, background rows and players: the last player is nobody in particular.

    Weights (m,) of the background rows, or None where each row asks with its own.
    """

    paths: TreePaths
    failed: Codes
    """(L, m): codes of the background rows."""
    value: Floats
    """(L, k)"""
    players: int
    weights: Floats | None

    @cached_property
    def who(self) -> Places:
        """(L, u): the player in each place; pads are nobody in particular."""
        players = self.paths.players.astype(np.int64)
        return np.where(players == NOBODY, self.players - 1, players)

    @property
    def pairs(self) -> int:
        """Leaves by background rows."""
        return int(self.failed.size)

    @property
    def columns(self) -> int:
        """How many background rows are told apart: one where they are summed up."""
        return 1 if self.weights is not None else self.failed.shape[1]


class LeafGames(Protocol):
    """Games of some leaves, ready to be asked."""

    @property
    def arena(self) -> Arena:
        """Who plays."""
        ...

    def values(self, code: Codes, shares: Floats | None) -> Floats:
        """(L,) of a row, and (m, k) what each background row counts -> (k, players)."""
        ...


@dataclass(frozen=True, eq=False)
class Payoffs:
    """What a leaf of value 1 gives to a player, by (a, c): to who fails in b, and to who fails in x."""

    plus: Floats
    minus: Floats
    width: int

    @classmethod
    def of(cls, places: int) -> "Payoffs":
        """For paths of at most so many players."""
        width = places + 1
        plus, minus = np.zeros((width, width)), np.zeros((width, width))
        for a in range(width):
            for c in range(width):
                if a:
                    plus[a, c] = factorial(a - 1) * factorial(c) / factorial(a + c)
                if c:
                    minus[a, c] = -factorial(a) * factorial(c - 1) / factorial(a + c)
        return cls(plus.ravel(), minus.ravel(), width)


def table_size(players: npt.NDArray[np.int16], columns: int) -> int:
    """Numbers in the table of leaves with these players in their places, (L, u)."""
    held = (players != NOBODY).sum(axis=1)
    return (
        int((1 << held.astype(np.int64)).sum()) * players.shape[1] * columns if held.max() < 20 else 1 << 62
    )


class TableGames:
    """A table of each leaf: a line for each code that a row may have there, of what each place then gets."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        leaves, places = arena.who.shape
        held = (arena.paths.players != NOBODY).sum(axis=1)
        lines = 1 << held.astype(np.int64)
        self._first = np.cumsum(lines) - lines
        self._table = np.zeros((int(lines.sum()), places, arena.columns))
        payoffs = Payoffs.of(places)
        for many in np.unique(held).tolist():
            same = np.flatnonzero(held == many)
            at_once = max(1, _BITS_AT_ONCE // (arena.failed.shape[1] << many))
            for start in range(0, len(same), at_once):
                self._fill(same[start : start + at_once], many, payoffs)
        number = np.arange(leaves * places)
        self._whose = [
            scipy.sparse.csr_matrix(
                (np.repeat(arena.value[:, k], places), (arena.who.ravel(), number)),
                shape=(arena.players, leaves * places),
            )
            for k in range(arena.value.shape[1])
        ]

    @property
    def arena(self) -> Arena:
        """See LeafGames."""
        return self._arena

    def values(self, code: Codes, shares: Floats | None) -> Floats:
        """See LeafGames."""
        lines = self._table[self._first + code].reshape(-1, self._arena.columns)
        return np.stack(
            [
                (whose @ lines) @ (np.ones(1) if shares is None else shares[:, k])
                for k, whose in enumerate(self._whose)
            ]
        )

    def _fill(self, leaves: Places, many: int, payoffs: Payoffs) -> None:
        failed = self._arena.failed[leaves][:, None, :]
        code = np.arange(1 << many, dtype=failed.dtype)[None, :, None]
        played = (failed & code) == 0
        pair = np.bitwise_count(failed).astype(np.int64) * payoffs.width + np.bitwise_count(code)
        plus, minus = payoffs.plus[pair] * played, payoffs.minus[pair] * played
        at = self._first[leaves][:, None] + np.arange(1 << many)
        weights = self._arena.weights
        for place in range(many):
            bit = failed.dtype.type(1 << place)
            gets = np.where(failed & bit, plus, 0.0) + np.where(code & bit, minus, 0.0)
            self._table[at, place] = gets if weights is None else (gets @ weights)[..., None]


class PairGames:
    """Each leaf with each background row is a pair: a row asks all of them, and follows those it plays.

    `listed`: who fails in each pair is listed beforehand, which pays after some tens of rows.
    """

    def __init__(self, arena: Arena, *, listed: bool = True) -> None:
        self._arena = arena
        self._payoffs = Payoffs.of(arena.who.shape[1])
        self._lists = _Lists.of(arena.failed, arena.who) if listed else None
        failing = np.bitwise_count(arena.failed).ravel()
        self._key = failing.astype(np.int16) * np.int16(self._payoffs.width)

    @property
    def arena(self) -> Arena:
        """See LeafGames."""
        return self._arena

    def values(self, code: Codes, shares: Floats | None) -> Floats:
        """See LeafGames."""
        arena = self._arena
        pair = np.flatnonzero((arena.failed & code[:, None]) == 0)
        leaf = pair // arena.failed.shape[1]
        row = pair - leaf * arena.failed.shape[1]
        key = self._key[pair] + np.bitwise_count(code)[leaf]
        plus, minus = self._payoffs.plus[key], self._payoffs.minus[key]
        if arena.weights is None:
            return self._told_apart(code, pair, (plus, minus), shares)
        weight = arena.weights[row]
        reached = np.bincount(leaf, minus * weight, len(code))
        at = np.flatnonzero(reached)
        losing = _Lists.of(code[at, None], arena.who[at])
        failing, lines = self._failing(pair, leaf)
        found = np.empty((arena.value.shape[1], arena.players))
        for k, value in enumerate(arena.value.T):
            gained = failing.sums(lines, plus * weight * value[leaf], arena.players)
            found[k] = gained + losing.sums(np.arange(len(at)), reached[at] * value[at], arena.players)
        return found

    def _failing(self, pair: Places, leaf: Places) -> tuple["_Lists", Places]:
        """Who fails in the background's row of these pairs, and which lines of the lists they are."""
        if self._lists is not None:
            return self._lists, pair
        codes = self._arena.failed.ravel()[pair, None]
        return _Lists.of(codes, self._arena.who[leaf]), np.arange(len(pair))

    def _told_apart(
        self, code: Codes, pair: Places, payoffs: tuple[Floats, Floats], shares: Floats | None
    ) -> Floats:
        """The same where what a background row counts depends on the row that asks."""
        assert shares is not None
        arena, (plus, minus) = self._arena, payoffs
        leaf = pair // len(shares)
        row = pair - leaf * len(shares)
        losing = _Lists.of(code[:, None], arena.who)
        failing, lines = self._failing(pair, leaf)
        found = np.empty((arena.value.shape[1], arena.players))
        for k, value in enumerate(arena.value.T):
            amount = shares[row, k] * value[leaf]
            gained = failing.sums(lines, plus * amount, arena.players)
            found[k] = gained + losing.sums(leaf, minus * amount, arena.players)
        return found


@dataclass(frozen=True, eq=False)
class _Lists:
    """The players that codes name: of each code `count` of them, from `first` on in `who`."""

    count: npt.NDArray[np.uint8]
    first: npt.NDArray[np.int64]
    who: npt.NDArray[np.int16]

    @classmethod
    def of(cls, codes: Codes, who: Places) -> "_Lists":
        """Of codes (L, m), all of them in their order; `who` (L, u)."""
        count = np.bitwise_count(codes).ravel()
        place = np.arange(who.shape[1], dtype=codes.dtype)
        at_once = max(1, _BITS_AT_ONCE // codes.shape[1])
        named = [np.zeros(0, dtype=np.int16)]
        for start in range(0, len(codes), at_once):
            bits = ((codes[start : start + at_once, :, None] >> place) & codes.dtype.type(1)).astype(np.bool_)
            players = who[start : start + at_once].astype(np.int16)[:, None, :]
            named.append(np.broadcast_to(players, bits.shape)[bits])
        return cls(count, np.cumsum(count, dtype=np.int64) - count, np.concatenate(named))

    def sums(self, lines: Places, amounts: Floats, players: int) -> Floats:
        """(players,): the amount of each of these codes, added up for each player that it names."""
        count = self.count[lines].astype(np.int64)
        ends = np.cumsum(count)
        if not len(ends) or not ends[-1]:
            return np.zeros(players)
        at = np.arange(ends[-1]) + np.repeat(self.first[lines] - ends + count, count)
        return np.asarray(np.bincount(self.who[at], np.repeat(amounts, count), players), dtype=np.float64)
