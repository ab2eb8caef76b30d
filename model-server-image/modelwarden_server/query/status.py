"""The verdict of `/status`: has the newest window drifted from the reference, and which features.

The window ends with the slice of the newest inference by event time. Missing values and unknown categories
have buckets of their own here, unlike in the documented query: a column that goes empty has drifted.
Computed anew only when rows, profile or settings have changed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import DriftReport, FeatureDrift
from modelwarden_server.analysis.buckets import Buckets, buckets
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.drift import DECILES, Comparison, DriftRule, WindowState, judge
from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers
from modelwarden_server.analysis.profile import ColumnProfile
from modelwarden_server.analysis.significance import chi_square_tail
from modelwarden_server.query.generation import Generation

_REST = 9.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Compared:
    profile: ColumnProfile
    layout: Buckets
    base: Integers

    def with_target(self, cells: Integers) -> Comparison:
        column = self.profile.column
        return Comparison(
            column.name, column.stage, self.base, self.layout.counts(cells), self.layout.ordered
        )


@dataclass
class DriftWatch:
    """Answers for the newest window, and keeps the last answer: while rows stream in,
    computing takes no more than a tenth of the time.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _for: tuple[str, MonitoringSettings, int] | None = None
    _rest_until: float = 0.0
    _last: DriftReport | None = None
    _layouts: tuple[str, tuple[_Compared, ...]] | None = None

    def report(self, generation: Generation | None, settings: MonitoringSettings) -> DriftReport | None:
        """The verdict; None while there are no rows, or none have been folded yet."""
        if generation is None:
            return None
        with self._lock:
            asked = (generation.name, settings, generation.folded)
            same = self._for is not None and self._for[:2] == asked[:2]
            self._compared(generation)  # once a profile, and not what the pauses are measured by
            started = self.clock()
            if asked != self._for and not (same and started < self._rest_until):
                self._last, self._for = self._computed(generation, settings), asked
                ended = self.clock()
                self._rest_until = ended + _REST * (ended - started)
            return self._last

    def _computed(self, generation: Generation, settings: MonitoringSettings) -> DriftReport | None:
        newest = generation.newest_slice()
        if newest is None:
            return None
        end = newest + 1
        start = end - settings.window_seconds // SLICE_SECONDS
        totals = generation.window(start, end)
        rows = int(totals[ROWS])
        state = _state(generation, rows, settings)
        features = self._features(generation, totals, settings)
        return DriftReport(
            window_start=_EPOCH + timedelta(seconds=start * SLICE_SECONDS),
            window_end=_EPOCH + timedelta(seconds=end * SLICE_SECONDS),
            rows=rows,
            metric=settings.drift_metric.value,
            state=state.value,
            features=features,
            drifted=sum(feature.drifted for feature in features),
            checked=sum(feature.p_value is not None for feature in features),
        )

    def _features(
        self, generation: Generation, totals: Integers, settings: MonitoringSettings
    ) -> tuple[FeatureDrift, ...]:
        judged = judge(
            [
                c.with_target(generation.space.cells_of(c.profile.column.name, totals))
                for c in self._compared(generation)
            ],
            rule_of(settings),
        )
        return tuple(
            FeatureDrift(
                name=feature.name,
                stage=feature.stage,
                score=feature.score,
                threshold=feature.threshold,
                p_value=feature.p_value,
                n=feature.n,
                drifted=feature.drifted,
            )
            for feature in judged
            if feature.score is not None
        )

    def _compared(self, generation: Generation) -> tuple[_Compared, ...]:
        if self._layouts is None or self._layouts[0] != generation.name:
            found = []
            for profile in generation.space.columns:
                layout = buckets(profile.cells, DECILES, gaps=True)
                if layout is not None:
                    found.append(_Compared(profile, layout, layout.counts(np.array(profile.counts))))
            self._layouts = (generation.name, tuple(found))
            chi_square_tail(1.0, 1)  # imports scipy
        return self._layouts[1]


def rule_of(settings: MonitoringSettings) -> DriftRule:
    """When a feature counts as drifted, by the cell's settings."""
    return DriftRule(
        metric=settings.drift_metric.value,
        threshold=settings.drift_threshold,
        minimum_rows=settings.minimum_rows,
        false_discovery_rate=settings.false_discovery_rate,
        thresholds=settings.thresholds,
    )


def _state(generation: Generation, rows: int, settings: MonitoringSettings) -> WindowState:
    if generation.profile is None:
        return WindowState.NO_REFERENCE
    return WindowState.OK if rows >= settings.minimum_rows else WindowState.INSUFFICIENT_DATA
