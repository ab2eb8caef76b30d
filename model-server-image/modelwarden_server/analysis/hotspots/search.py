"""The search: a beam over conjunctions of conditions, on the rows of one half.

A node is a rule with its rows. Its children are counted, not tried: one histogram of rows and losses a
column gives every interval of that column at once (differences of running sums), every category, and every
set of worst categories. What is sought is the highest z of "the mean loss here is above that of all other
rows": it rises when rows without excess loss are shed and falls when rows with it are lost. Rows of the best
rule are then set apart and the rest is searched again, so a strong hotspot does not hide a weak one. Made for
one half of the rows: what is found says nothing until it is measured on the other. Deterministic: ties go to
the earlier column and the lower bin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.hotspots.bins import COARSE, SIZE, TOP, Bins, CategoryBins, NumberBins
from modelwarden_server.analysis.hotspots.rules import Rule
from modelwarden_server.analysis.hotspots.table import Floats, Mask

Rows = npt.NDArray[np.int64]
Kept = tuple[int, ...]
"""Bins of a column that a condition keeps."""

_SETS = 5
_PENALTY = 0.5
_LOWEST_Z = 2.0
_STARTS, _ENDS = np.triu_indices(COARSE + 1, k=1)


@dataclass(frozen=True)
class Reach:
    """How far is searched: nodes kept a level, conditions of a rule, rounds; columns that may be combined
    when there are more; `least`: the fewest rows of a rule.
    """

    width: int = 20
    depth: int = 3
    rounds: int = 6
    columns: int = 40
    least: int = 100


DEFAULT_REACH = Reach()


@dataclass(frozen=True, eq=False)
class Node:
    """A rule as bins by column, its rows, and its z."""

    kept: tuple[tuple[int, Kept], ...]
    rows: Rows
    score: float = -np.inf

    @property
    def worth(self) -> float:
        """What nodes are compared by in the end: each condition has to add something."""
        return self.score - _PENALTY * len(self.kept)


@dataclass(frozen=True, eq=False)
class _Child:
    """A rule with one condition more than the node at place `parent` of the beam."""

    score: float
    parent: int
    column: int
    kept: Kept


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Nodes of the beam with a column that each can be divided by: places of both, the score to be passed,
    rows and losses by fine bin.
    """

    parents: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    passed: Floats
    counts: npt.NDArray[np.int64]
    losses: Floats

    def at(self, places: Sequence[int]) -> "_Pairs":
        """Some of them."""
        some = np.array(places, dtype=np.int64)
        return _Pairs(
            self.parents[some], self.columns[some], self.passed[some], self.counts[some], self.losses[some]
        )

    def child(self, place: int, score: float, kept: Kept) -> _Child:
        """The child that keeps these bins of the column."""
        return _Child(score, int(self.parents[place]), int(self.columns[place]), kept)


@dataclass(eq=False)
class BeamSearch:
    """One metric's search over the rows that the metric is taken over. `loss` is finite; `bins` and `loss`
    are of the same rows.
    """

    bins: Bins
    loss: Floats
    reach: Reach
    _total: tuple[int, float, float] = field(init=False, default=(0, 0.0, 0.0))
    _binary: npt.NDArray[np.uint8] | None = field(init=False, default=None)
    _missing: npt.NDArray[np.int64] = field(init=False)
    _cuts: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        if np.isin(self.loss, (0.0, 1.0)).all():
            self._binary = self.loss.astype(np.uint8)
        self._missing = np.array([one.missing for one in self.bins.columns], dtype=np.int64)
        self._cuts = np.zeros((len(self.bins.columns), COARSE + 1), dtype=np.int64)
        for place, one in enumerate(self.bins.columns):
            if isinstance(one, NumberBins):
                self._cuts[place] = one.cuts[-1]
                self._cuts[place, : len(one.cuts)] = one.cuts

    def rules(self) -> list[Rule]:
        """The best rule of each round, and every rule that is one of them with a condition left out."""
        left = np.ones(len(self.loss), dtype=np.bool_)
        found: list[Rule] = []
        for _ in range(self.reach.rounds):
            best = self._round(np.flatnonzero(left))
            if best is None:
                break
            left[best.rows] = False
            for kept in _with_parents(best.kept):
                rule = self._rule(kept)
                if rule not in found:
                    found.append(rule)
        return found

    def _rule(self, kept: Sequence[tuple[int, Kept]]) -> Rule:
        return Rule.of(*(self.bins.columns[column].condition(bins) for column, bins in kept))

    def _round(self, rows: Rows) -> Node | None:
        loss = self.loss[rows]
        if len(rows) < 2 * self.reach.least or not loss.std() > 0:
            return None
        self._total = (len(rows), float(loss.sum()), float(loss.std()))
        columns: Sequence[int] = range(len(self.bins.columns))
        beam, best, first = [Node((), rows)], None, True
        for _ in range(self.reach.depth):
            beam = self._level(beam, columns)
            if first and len(columns) > self.reach.columns:
                columns = self._promising(rows)
            first = False
            for node in beam:
                if best is None or node.worth > best.worth:
                    best = node
        if best is None or best.score < _LOWEST_Z:
            return None
        return self._pruned(self._refined(best, rows), rows)

    def _level(self, beam: Sequence[Node], columns: Sequence[int]) -> list[Node]:
        """The best children of all nodes; children of the same rows count once."""
        found: list[Node] = []
        known: set[bytes] = set()
        rules: set[tuple[tuple[int, Kept], ...]] = set()
        for child in sorted(self._children(beam, columns), key=lambda one: -one.score):
            if len(found) == self.reach.width:
                break
            parent = beam[child.parent]
            kept = tuple(sorted([*parent.kept, (child.column, child.kept)]))
            if kept in rules:
                continue
            rules.add(kept)
            rows = self._narrowed(parent.rows, child.column, child.kept)
            same = rows.tobytes()
            if same not in known:
                known.add(same)
                found.append(Node(kept, rows, child.score))
        return found

    def _narrowed(self, rows: Rows, column: int, kept: Kept) -> Rows:
        keep = np.zeros(256, dtype=np.bool_)
        keep[list(kept)] = True
        return rows[keep[self.bins.columns[column].codes[rows]]]

    def _promising(self, rows: Rows) -> list[int]:
        """Of many columns those whose best single condition scores highest."""
        best = dict.fromkeys(range(len(self.bins.columns)), -np.inf)
        for child in self._children([Node((), rows)], list(best)):
            best[child.column] = max(best[child.column], child.score)
        order = sorted(best, key=lambda column: -best[column])[: self.reach.columns]
        return sorted(order)

    def _children(self, beam: Sequence[Node], columns: Sequence[int]) -> list[_Child]:
        """Children that score higher than their parents, and above 0."""
        parents, free, counts, losses = [], [], [], []
        for place, node in enumerate(beam):
            taken = {column for column, _ in node.kept}
            mine = [column for column in columns if column not in taken]
            rows, lost = self._histograms(node.rows, mine)
            parents += [place] * len(mine)
            free += mine
            counts.append(rows)
            losses.append(lost)
        if not free:
            return []
        passed = np.array([max(0.0, beam[place].score) for place in parents])
        whole = _Pairs(
            np.array(parents), np.array(free), passed, np.concatenate(counts), np.concatenate(losses)
        )
        found: list[_Child] = []
        for kind, judge in ((NumberBins, self._intervals), (CategoryBins, self._sets)):
            at = [place for place, column in enumerate(free) if isinstance(self.bins.columns[column], kind)]
            if at:
                found += judge(whole.at(at))
        return found

    def _histograms(self, rows: Rows, columns: Sequence[int]) -> tuple[npt.NDArray[np.int64], Floats]:
        """Rows and losses by column and fine bin."""
        counts = np.zeros((len(columns), SIZE), dtype=np.int64)
        losses = np.zeros((len(columns), SIZE))
        whole = len(rows) == len(self.loss)
        if self._binary is not None:
            wrong = self._binary[rows]
            for place, column in enumerate(columns):
                codes = self.bins.columns[column].codes
                both = np.bincount(
                    (codes if whole else codes[rows]) * np.uint8(2) + wrong, minlength=2 * SIZE
                )
                losses[place] = both[1::2]
                counts[place] = both[::2] + both[1::2]
            return counts, losses
        weights = self.loss[rows]
        for place, column in enumerate(columns):
            codes = self.bins.columns[column].codes
            chosen = codes if whole else codes[rows]
            counts[place] = np.bincount(chosen, minlength=SIZE)
            losses[place] = np.bincount(chosen, weights=weights, minlength=SIZE)
        return counts, losses

    def _scores(self, counts: npt.NDArray[np.int64], losses: Floats) -> Floats:
        """z of the mean loss here against that of all other rows of the round; -inf for too few."""
        rows, total, deviation = self._total
        others = rows - counts
        enough = (counts >= self.reach.least) & (others >= self.reach.least)
        n, m = np.where(enough, counts, 1), np.where(enough, others, 1)
        z = (losses / n - (total - losses) / m) / (deviation * np.sqrt(1 / n + 1 / m))
        scores: Floats = np.where(enough, z, -np.inf)
        return scores

    def _intervals(self, pairs: _Pairs) -> list[_Child]:
        """Of each pair the best coarse interval, the best one beside it, and the missing values."""
        cuts, missing = self._cuts[pairs.columns], self._missing[pairs.columns]
        n = np.take_along_axis(_running(pairs.counts), cuts, axis=1)
        w = np.take_along_axis(_running(pairs.losses), cuts, axis=1)
        scores = self._scores(n[:, _ENDS] - n[:, _STARTS], w[:, _ENDS] - w[:, _STARTS])
        found: list[_Child] = []
        at = np.arange(len(cuts))
        for _ in range(2):
            best = scores.argmax(axis=1)
            for place in np.flatnonzero(scores[at, best] > pairs.passed).tolist():
                one = best[place]
                kept = tuple(range(int(cuts[place, _STARTS[one]]), int(cuts[place, _ENDS[one]])))
                found.append(pairs.child(place, float(scores[place, one]), kept))
            starts, ends = _STARTS[best][:, None], _ENDS[best][:, None]
            apart = (ends <= _STARTS) | (starts >= _ENDS)
            scores = np.where(apart, scores, -np.inf)
        alone = self._scores(pairs.counts[at, missing], pairs.losses[at, missing])
        found += [
            pairs.child(place, float(alone[place]), (int(missing[place]),))
            for place in np.flatnonzero(alone > pairs.passed).tolist()
        ]
        return found

    def _sets(self, pairs: _Pairs) -> list[_Child]:
        """Of each pair the best two single bins, and the best set of its worst categories."""
        counts, losses = pairs.counts[:, : TOP + 2], pairs.losses[:, : TOP + 2]
        scores = self._scores(counts, losses)
        found: list[_Child] = []
        at = np.arange(len(counts))
        for _ in range(2):
            best = scores.argmax(axis=1)
            for place in np.flatnonzero(scores[at, best] > pairs.passed).tolist():
                code = int(best[place])
                found.append(pairs.child(place, float(scores[place, code]), (code,)))
            scores[at, best] = -np.inf
        named = (np.arange(TOP + 2) < self._missing[pairs.columns][:, None] - 1) & (counts > 0)
        means = np.where(named, losses / np.maximum(counts, 1), -1.0)
        worst = np.argsort(-means, axis=1, kind="stable")[:, :_SETS]
        there = np.take_along_axis(named, worst, axis=1)
        n = np.cumsum(np.take_along_axis(counts, worst, axis=1) * there, axis=1)
        w = np.cumsum(np.take_along_axis(losses, worst, axis=1) * there, axis=1)
        sets = np.where(there, self._scores(n, w), -np.inf)[:, 1:]
        best = sets.argmax(axis=1)
        for place in np.flatnonzero(sets[at, best] > pairs.passed).tolist():
            kept = tuple(sorted(int(code) for code in worst[place, : best[place] + 2]))
            found.append(pairs.child(place, float(sets[place, best[place]]), kept))
        return found

    def _refined(self, node: Node, rows: Rows) -> Node:
        """The node with each interval's borders at the best fine bins, given its other conditions."""
        for place, (column, kept) in enumerate(node.kept):
            bins = self.bins.columns[column]
            if not isinstance(bins, NumberBins) or kept == (bins.missing,):
                continue
            others = [*node.kept[:place], *node.kept[place + 1 :]]
            free = self._of(others, rows)
            counts, losses = self._histograms(free, [column])
            n, w = np.append(0, np.cumsum(counts[0])), np.append(0.0, np.cumsum(losses[0]))
            starts, ends = np.triu_indices(bins.bins + 1, k=1)
            scores = self._scores(n[ends] - n[starts], w[ends] - w[starts])
            best = int(scores.argmax())
            if scores[best] > node.score:
                finer = tuple(range(int(starts[best]), int(ends[best])))
                changed = (*node.kept[:place], (column, finer), *node.kept[place + 1 :])
                node = Node(changed, self._narrowed(free, column, finer), float(scores[best]))
        return node

    def _pruned(self, node: Node, rows: Rows) -> Node:
        """The node without conditions that add next to nothing."""
        for place in range(len(node.kept)):
            if len(node.kept) == 1:
                break
            kept = (*node.kept[:place], *node.kept[place + 1 :])
            fewer = self._of(kept, rows)
            n, w = np.array([len(fewer)]), np.array([self.loss[fewer].sum()])
            simpler = Node(kept, fewer, float(self._scores(n, w)[0]))
            if simpler.worth >= node.worth:
                return self._pruned(self._refined(simpler, rows), rows)
        return node

    def _of(self, kept: Sequence[tuple[int, Kept]], rows: Rows) -> Rows:
        for column, bins in kept:
            rows = self._narrowed(rows, column, bins)
        return rows


def _with_parents(kept: tuple[tuple[int, Kept], ...]) -> Iterator[tuple[tuple[int, Kept], ...]]:
    yield kept
    if len(kept) > 1:
        for place in range(len(kept)):
            yield (*kept[:place], *kept[place + 1 :])


def _running(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums up to each bin, with nothing before the first."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def at_least(reach: Reach, rows: int) -> Reach:
    """The same reach with another fewest number of rows."""
    return replace(reach, least=rows)


def clipped(loss: Floats, counts: Mask) -> Floats:
    """Losses without their highest 0.5 %, which are as high as the next: for the search alone, so that no
    single row makes a slice.
    """
    if not counts.any():
        return loss
    return np.minimum(loss, np.quantile(loss[counts], 0.995))
