"""The verdict of `/status`: has the newest window drifted from the reference, which features, are its rows
sound?

The window ends with the slice of the newest inference by event time. Missing values and unknown categories
have buckets of their own here, unlike in the documented query: a column that goes empty has drifted. The
windows before it say whether a finding persists (two of three), how many rows are usual and how late they
come. Computed anew only when rows, profile or settings have changed; what is said of earlier windows, when
the newest one has moved on.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import DataQualityReport, DriftReport
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.drift import DriftRule, WindowState
from modelwarden_server.analysis.partials import SLICE_SECONDS, SLICES_PER_DAY, Integers
from modelwarden_server.analysis.quality import History, lag, volume
from modelwarden_server.analysis.significance import chi_square_tail
from modelwarden_server.analysis.verdict import WindowJudge, WindowVerdict
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.reporting import Findings, Window, drift_report, quality_report

_REST = 9.0
_EARLIER = 2
_HISTORY = 28
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Verdicts:
    """What `/status` says of the newest window."""

    drift: DriftReport
    quality: DataQualityReport


@dataclass(frozen=True, eq=False)
class _Before:
    """What the windows before the newest one say."""

    name: str
    end: int
    settings: MonitoringSettings
    findings: tuple[Findings, ...]
    history: History


@dataclass
class DriftWatch:
    """Answers for the newest window, and keeps the last answer: while rows stream in,
    computing takes no more than a tenth of the time.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _for: tuple[str, MonitoringSettings, int] | None = None
    _rest_until: float = 0.0
    _last: Verdicts | None = None
    _judge: tuple[str, WindowJudge | None] | None = None
    _before: _Before | None = None

    def report(self, generation: Generation | None, settings: MonitoringSettings) -> DriftReport | None:
        """The verdict on drift; None while there are no rows, or none have been folded yet."""
        found = self.verdicts(generation, settings)
        return None if found is None else found.drift

    def verdicts(self, generation: Generation | None, settings: MonitoringSettings) -> Verdicts | None:
        """All that is said; None as `report`."""
        if generation is None:
            return None
        with self._lock:
            asked = (generation.name, settings, generation.folded)
            same = self._for is not None and self._for[:2] == asked[:2]
            self._judge_of(generation)  # once a profile, and not what the pauses are measured by
            started = self.clock()
            if asked != self._for and not (same and started < self._rest_until):
                self._last, self._for = self._computed(generation, settings), asked
                ended = self.clock()
                self._rest_until = ended + _REST * (ended - started)
            return self._last

    def _computed(self, generation: Generation, settings: MonitoringSettings) -> Verdicts | None:
        newest = generation.newest_slice()
        if newest is None:
            return None
        end = newest + 1
        start = end - settings.window_seconds // SLICE_SECONDS
        totals = generation.window(start, end)
        before = self._earlier(generation, settings, end)
        window = Window(
            start=_EPOCH + timedelta(seconds=start * SLICE_SECONDS),
            end=_EPOCH + timedelta(seconds=end * SLICE_SECONDS),
            rows=int(totals[ROWS]),
            state=_state(generation, int(totals[ROWS]), settings),
        )
        verdict = self._judged(generation, totals, settings)
        found = volume(window.rows, before.history)
        late = lag(generation.space.lag_of(totals), before.history, settings.minimum_rows)
        return Verdicts(
            drift_report(window, settings.drift_metric.value, verdict, before.findings),
            quality_report(window, verdict, before.findings, (found, late)),
        )

    def _earlier(self, generation: Generation, settings: MonitoringSettings, end: int) -> _Before:
        known = self._before
        if known is not None and (known.name, known.end, known.settings) == (generation.name, end, settings):
            return known
        length = settings.window_seconds // SLICE_SECONDS
        days = generation.days()
        # The day of the first row is not whole: what it holds says nothing of what is usual.
        first = (days[0] + 1) * SLICES_PER_DAY if days else end
        findings, rows, lags = [], [], []
        for back in range(1, _HISTORY + 1):
            low = end - (back + 1) * length
            if low + length <= days[0] * SLICES_PER_DAY:
                break
            totals = generation.window(low, low + length)
            if back <= _EARLIER and _state(generation, int(totals[ROWS]), settings) is WindowState.OK:
                findings.append(Findings.of(self._judged(generation, totals, settings)))
            if low >= first:
                rows.append(int(totals[ROWS]))
                lags.append(generation.space.lag_of(totals).copy())
        history = History(settings.window_seconds, tuple(rows), tuple(lags))
        self._before = _Before(generation.name, end, settings, tuple(findings), history)
        return self._before

    def _judged(
        self, generation: Generation, totals: Integers, settings: MonitoringSettings
    ) -> WindowVerdict:
        judge = self._judge_of(generation)
        if judge is None:
            return WindowVerdict(int(totals[ROWS]))
        return judge.judge(totals, rule_of(settings))

    def _judge_of(self, generation: Generation) -> WindowJudge | None:
        if self._judge is None or self._judge[0] != generation.name:
            judge = None
            if generation.profile is not None:
                judge = WindowJudge(generation.profile, generation.space)
                judge.judge(np.zeros(generation.space.size, dtype=np.int64), _ANYTHING)
            self._judge = (generation.name, judge)
            chi_square_tail(1.0, 1)  # imports scipy
        return self._judge[1]


_ANYTHING = DriftRule("PSI", None, 1, 0.05)


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
