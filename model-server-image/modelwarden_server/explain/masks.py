"""Which coalitions are asked for, drawn once for all rows with as many players.

Coalitions come in pairs, each with its complement (Covert and Lee 2021): half the difference of the two is
free of every effect of even order, which no SHAP value depends on. First all single players, then draws with
the sizes that Kernel SHAP weighs them by, so that fewer pairs are always the first of more. Must not know the
model.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwarden_server.explain.explanation import Floats
from modelwarden_server.explain.missing import Bits
from modelwarden_server.explain.seeding import generator

_DRAWS_A_PAIR = 20
"""Few players have few coalitions: drawing new ones is given up then."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Distinct pairs of coalitions: of each pair one half, the other is its complement."""

    halves: Bits
    """(m, players), the single players first."""
    singles: int
    """How many of them are single players: all or none."""
    drawn: npt.NDArray[np.int64]
    """The pair of each draw after the single players, in the order of drawing: some come again."""

    @property
    def signs(self) -> Floats:
        """(m, players): 1 where a player is in, -1 where he is out."""
        return np.where(self.halves, 1.0, -1.0)

    def weights(self, first: int) -> Floats:
        """(first,): what share of all coalitions each of the first pairs stands for; they sum to 1."""
        players = self.halves.shape[1]
        if first <= self.singles:
            return np.full(first, 1 / first)
        later = np.flatnonzero(self.drawn >= first)
        until = int(later[0]) if later.size else len(self.drawn)
        counts = np.bincount(self.drawn[:until], minlength=first).astype(np.float64)
        share = _share_of_singles(players) if self.singles else 0.0
        weights = (1 - share) * counts / max(counts.sum(), 1.0)
        weights[: self.singles] = share / players
        return np.asarray(weights / weights.sum())


def shared_pairs(players: int, pairs: int, seed: int) -> Pairs:
    """At most `pairs` pairs of coalitions of `players` (>= 4); fewer where there are no more to be found."""
    random = generator(seed, "coalitions", players, pairs)
    singles = players if players < pairs else 0
    sizes = np.arange(2, players - 1) if singles else np.arange(1, players)
    chances = 1.0 / (sizes * (players - sizes))
    seen: dict[bytes, int] = {}
    halves, drawn = [np.eye(players, dtype=np.bool_)[:singles]], []
    wanted, left = pairs - singles, _DRAWS_A_PAIR * pairs
    while len(seen) < wanted and left > 0:
        number = min(left, 2 * wanted)
        left -= number
        of_size = random.choice(sizes, number, p=chances / chances.sum())
        masks = random.random((number, players)).argsort(axis=1).argsort(axis=1) < of_size[:, None]
        masks ^= ~masks[:, :1]  # of each pair the half with the first player
        for mask, packed in zip(masks, np.packbits(masks, axis=1), strict=True):
            key = packed.tobytes()
            if key not in seen:
                if len(seen) == wanted:
                    break
                seen[key] = len(seen)
                halves.append(mask[None])
            drawn.append(singles + seen[key])
    return Pairs(np.concatenate(halves), singles, np.array(drawn, dtype=np.int64))


def _share_of_singles(players: int) -> float:
    """Kernel SHAP's weight of coalitions of one player and of all but one, as a share of all weight."""
    sizes = np.arange(1, players)
    weights = 1.0 / (sizes * (players - sizes))
    return float((weights[0] + weights[-1]) / weights.sum())
