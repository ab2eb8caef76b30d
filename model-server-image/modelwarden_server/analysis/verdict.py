"""All that is said of one window against one reference: features, pairs, values, repeats. Pure.

From counts by code, so a window of a month costs what a window of an hour does.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np

from modelwarden_server.analysis.buckets import Buckets
from modelwarden_server.analysis.cells import Floats
from modelwarden_server.analysis.code_space import ROWS, CodeSpace
from modelwarden_server.analysis.drift import Comparison, DriftRule, FeatureDrift, Judge
from modelwarden_server.analysis.pairs import LEAST_CHANGE, PairChange, pair_change
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.profile import ColumnProfile, ReferenceProfile
from modelwarden_server.analysis.quality import Asked, ShareFinding, shares
from modelwarden_server.analysis.relations import is_stored, verdict_buckets
from modelwarden_server.analysis.repeats import RepeatProfile, Repeats, repeats
from modelwarden_server.analysis.season import Matched, Part, Season, season_of
from modelwarden_server.analysis.surplus import surplus

CHANCE_OF_SURPLUS: Final = 0.001
CHANCE_OF_PAIRS: Final = 0.0002


@dataclass(frozen=True)
class FeatureVerdict:
    """A feature's drift, and the part of its rows that stands where the reference has next to none."""

    drift: FeatureDrift
    surplus: float | None = None

    @property
    def drifted(self) -> bool:
        """Whether either raises the flag."""
        return self.drift.drifted or self.surplus is not None


@dataclass(frozen=True)
class PairVerdict:
    """What became of the dependence of two attributes."""

    change: PairChange
    broken: bool


@dataclass(frozen=True)
class WindowVerdict:
    """What is said of a window. Empty parts were not asked, or there were too few rows."""

    rows: int
    features: tuple[FeatureVerdict, ...] = ()
    pairs: tuple[PairVerdict, ...] = ()
    values: tuple[ShareFinding, ...] = ()
    repeats: Repeats | None = None

    @property
    def raised(self) -> bool:
        """Whether anything is flagged."""
        flags = [f.drifted for f in self.features] + [p.broken for p in self.pairs]
        return any(flags) or any(v.raised for v in self.values) or bool(self.repeats and self.repeats.raised)


@dataclass(frozen=True)
class _Watched:
    """One attribute that is compared."""

    profile: ColumnProfile
    layout: Buckets
    base: Integers

    @cached_property
    def fine(self) -> Floats:
        """The reference's counts by cell."""
        return np.array(self.profile.counts, dtype=np.float64)

    def moved(self, matched: Matched) -> Floats:
        """The reference's counts by cell at the window's place in the season: within a bucket the season
        moves all cells alike.
        """
        factor = np.where(self.base > 0, matched.base / np.maximum(self.base, 1), 0.0)
        cells: Floats = self.fine * factor[self.layout.bucket_of]
        return cells


@dataclass(frozen=True)
class _Window:
    """A window beside what it is compared with, attribute by attribute and pair by pair."""

    totals: Integers
    matched: dict[str, Matched]
    pairs: tuple[Matched, ...]


@dataclass(frozen=True)
class WindowJudge:
    """Judges windows of one code space against its profile."""

    profile: ReferenceProfile
    space: CodeSpace
    not_kept: frozenset[str] = frozenset()
    """Attributes whose values are not kept: nothing is said of them, not that all of them are missing."""
    _judge: Judge = field(default_factory=Judge)

    def judge(self, totals: Integers, rule: DriftRule) -> WindowVerdict:
        """What is to be said of a window, given its counts by code."""
        rows = int(totals[ROWS])
        window = self._matched(totals)
        enough = rows >= rule.minimum_rows
        return WindowVerdict(
            rows,
            self._features(window, rule),
            self._pairs(window) if enough else (),
            self._values(window, rule),
            repeats(self.space.repeats_of(totals), self._repeats) if enough else None,
        )

    @cached_property
    def _watched(self) -> dict[str, _Watched]:
        found = {}
        for profile in (*self.space.columns, *self.space.labels):
            layout = verdict_buckets(profile)
            if layout is not None and profile.column.name not in self.not_kept:
                base = layout.counts(np.array(profile.counts))
                found[profile.column.name] = _Watched(profile, layout, base)
        return found

    @cached_property
    def _season(self) -> Season:
        """Parts: the attributes, then the pairs. Labels come too late to say where in the season a window
        is.
        """
        relations = self.profile.relations
        blocks = relations.blocks if relations is not None else None
        parts = []
        for name, watched in self._watched.items():
            cut = blocks.counts.get(name, ()) if blocks is not None else ()
            halves = np.array(cut, dtype=np.int64).reshape(-1, watched.layout.size)
            parts.append(Part(watched.base, halves, is_stored(watched.profile)))
        known = dict(zip(relations.pairs, blocks.pairs, strict=True)) if relations and blocks else {}
        for pair in self.space.pairs:
            halves = np.array(known.get(pair, ()), dtype=np.int64).reshape(-1, len(pair.counts))
            parts.append(Part(np.array(pair.counts), halves, leading=False))
        return season_of(parts, timed=blocks is not None and blocks.timed)

    def _matched(self, totals: Integers) -> _Window:
        targets = [w.layout.counts(self.space.cells_of(name, totals)) for name, w in self._watched.items()]
        targets += [self.space.pair_of(place, totals) for place in range(len(self.space.pairs))]
        matched = self._season.matched([t.astype(np.float64) for t in targets])
        return _Window(
            totals, dict(zip(self._watched, matched, strict=False)), tuple(matched[len(self._watched) :])
        )

    @property
    def _repeats(self) -> RepeatProfile:
        relations = self.profile.relations
        return relations.repeats if relations is not None else RepeatProfile()

    def _features(self, window: _Window, rule: DriftRule) -> tuple[FeatureVerdict, ...]:
        compared = []
        for name, watched in self._watched.items():
            target = watched.layout.counts(self.space.cells_of(name, window.totals))
            column, matched = watched.profile.column, window.matched[name]
            counted = target if matched.counted == 1.0 else target * np.float64(matched.counted)
            compared.append(
                Comparison(
                    name, column.stage, matched.base, counted, watched.layout.ordered, int(target.sum())
                )
            )
        level = CHANCE_OF_SURPLUS / max(1, len(compared))
        drifts = self._judge.judge(compared, rule)
        return tuple(self._with_surplus(window, drift, rule, level) for drift in drifts)

    def _with_surplus(
        self, window: _Window, drift: FeatureDrift, rule: DriftRule, level: float
    ) -> FeatureVerdict:
        if drift.p_value is None or rule.threshold_of(drift.name) is not None:
            return FeatureVerdict(drift)
        watched, matched = self._watched[drift.name], window.matched[drift.name]
        cells = self.space.cells_of(drift.name, window.totals).astype(np.float64)
        found = surplus(watched.profile.cells, watched.moved(matched), cells * matched.counted)
        raised = found is not None and found.p_value < level
        return FeatureVerdict(drift, found.share - found.base_share if found is not None and raised else None)

    def _values(self, window: _Window, rule: DriftRule) -> tuple[ShareFinding, ...]:
        asked = []
        for profile in self.space.columns:
            name = profile.column.name
            if name in self.not_kept:
                continue
            watched = self._watched.get(name)
            base = np.array(profile.counts, dtype=np.float64)
            if watched is not None:
                base = watched.moved(window.matched[name])
            asked.append(Asked(profile, base, self.space.cells_of(name, window.totals)))
        return shares(asked, rule.minimum_rows)

    def _pairs(self, window: _Window) -> tuple[PairVerdict, ...]:
        level = CHANCE_OF_PAIRS / max(1, len(self.space.pairs))
        found = []
        for place, (pair, matched) in enumerate(zip(self.space.pairs, window.pairs, strict=True)):
            if {pair.one, pair.other} & self.not_kept:
                continue
            target = self.space.pair_of(place, window.totals).astype(np.float64) * matched.counted
            one = pair_change(pair, matched.base, target)
            if one is not None:
                found.append(PairVerdict(one, one.p_value < level and one.change >= LEAST_CHANGE))
        return tuple(found)
