"""The verdict of `/status`: has the newest window drifted from the reference, which features, are its rows
sound?

The window ends with the slice of the newest inference by event time; of a batch model it is the batch that
was closed last. Missing values and unknown categories
have buckets of their own here, unlike in the documented query: a column that goes empty has drifted. The
windows before it say whether a finding persists (two of three), how many rows are usual and how late they
come. Computed anew only when rows, profile or settings have changed; what is said of earlier windows, when
the newest one has moved on.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from modelwarden.resources.attributes import Sensitivity
from modelwarden.resources.cell import CellSettings, MonitoringSettings
from modelwarden.resources.report import DataQualityReport, DriftReport
from modelwarden_server.analysis.code_space import ROWS
from modelwarden_server.analysis.drift import DriftRule, WindowState
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.quality import History, lag, volume
from modelwarden_server.analysis.significance import chi_square_tail
from modelwarden_server.analysis.verdict import WindowJudge, WindowVerdict
from modelwarden_server.query.generation import Generation
from modelwarden_server.query.reporting import Findings, Window, drift_report, quality_report
from modelwarden_server.query.windows import Windows, windows_of_batches, windows_of_time
from modelwarden_server.store.batches import Batch

_REST = 9.0
_EARLIER = 2


@dataclass(frozen=True)
class Verdicts:
    """What `/status` says of the newest window."""

    drift: DriftReport
    quality: DataQualityReport


@dataclass(frozen=True)
class Rules:
    """What a verdict depends on beside the counts: settings, and the attributes whose values are not kept."""

    settings: MonitoringSettings
    not_kept: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: CellSettings) -> "Rules":
        """Those of a cell. A hash still tells values apart."""
        lost = (Sensitivity.MASK, Sensitivity.DROP)
        names = (name for name, rule in settings.sensitivity.items() if rule in lost)
        return cls(settings.monitoring, frozenset(names))


@dataclass(frozen=True, eq=False)
class _Before:
    """What the windows before the newest one say."""

    name: str
    key: tuple[datetime, str | None]
    rules: "Rules"
    findings: tuple[Findings, ...]
    history: History


@dataclass
class DriftWatch:
    """Answers for the newest window, and keeps the last answer: while rows stream in,
    computing takes no more than a tenth of the time.
    """

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _for: tuple[str, Rules, object] | None = None
    _rest_until: float = 0.0
    _last: Verdicts | None = None
    _judge: tuple[tuple[str, frozenset[str]], WindowJudge | None] | None = None
    _before: _Before | None = None

    def report(
        self, generation: Generation | None, rules: Rules, closed: Sequence[Batch] | None = None
    ) -> DriftReport | None:
        """The verdict on drift; None while there are no rows, or none have been folded yet."""
        found = self.verdicts(generation, rules, closed)
        return None if found is None else found.drift

    def verdicts(
        self, generation: Generation | None, rules: Rules, closed: Sequence[Batch] | None = None
    ) -> Verdicts | None:
        """All that is said; None as `report`. `closed` are the closed batches of a batch model, the one
        closed last first: it is judged, not a window of time.
        """
        if generation is None:
            return None
        with self._lock:
            if closed is None:
                windows = windows_of_time(generation, rules.settings.window_seconds)
            else:
                windows = windows_of_batches(generation, closed)
            if windows is None:
                return None
            asked = (generation.name, rules, (windows.key, windows.reached))
            same = self._for is not None and self._for[:2] == asked[:2]
            self._judge_of(generation, rules)  # once a profile, and not what the pauses are measured by
            started = self.clock()
            if asked != self._for and not (same and started < self._rest_until):
                self._last, self._for = self._computed(generation, rules, windows), asked
                ended = self.clock()
                self._rest_until = ended + _REST * (ended - started)
            return self._last

    def _computed(self, generation: Generation, rules: Rules, windows: Windows) -> Verdicts:
        settings, newest = rules.settings, windows.newest
        totals = newest.totals()
        before = self._earlier(generation, rules, windows)
        window = Window(
            start=newest.start,
            end=newest.end,
            rows=int(totals[ROWS]),
            state=_state(generation, int(totals[ROWS]), settings),
            batch=newest.batch,
        )
        verdict = self._judged(generation, totals, rules)
        found = volume(window.rows, before.history)
        late = lag(generation.space.lag_of(totals), before.history, settings.minimum_rows)
        return Verdicts(
            drift_report(window, settings.drift_metric.value, verdict, before.findings),
            quality_report(window, verdict, before.findings, (found, late)),
        )

    def _earlier(self, generation: Generation, rules: Rules, windows: Windows) -> _Before:
        known, settings = self._before, rules.settings
        if known is not None and (known.name, known.key, known.rules) == (
            generation.name,
            windows.key,
            rules,
        ):
            return known
        findings, rows, lags = [], [], []
        for back, place in enumerate(windows.earlier, start=1):
            totals = place.totals()
            if back <= _EARLIER and _state(generation, int(totals[ROWS]), settings) is WindowState.OK:
                findings.append(Findings.of(self._judged(generation, totals, rules)))
            if place.whole:
                rows.append(int(totals[ROWS]))
                lags.append(generation.space.lag_of(totals).copy())
        history = History(windows.seconds, tuple(rows), tuple(lags))
        self._before = _Before(generation.name, windows.key, rules, tuple(findings), history)
        return self._before

    def _judged(self, generation: Generation, totals: Integers, rules: Rules) -> WindowVerdict:
        judge = self._judge_of(generation, rules)
        if judge is None:
            return WindowVerdict(int(totals[ROWS]))
        return judge.judge(totals, rule_of(rules.settings))

    def _judge_of(self, generation: Generation, rules: Rules) -> WindowJudge | None:
        wanted = (generation.name, rules.not_kept)
        if self._judge is None or self._judge[0] != wanted:
            judge = None
            if generation.profile is not None:
                judge = WindowJudge(generation.profile, generation.space, rules.not_kept)
                judge.judge(np.zeros(generation.space.size, dtype=np.int64), _ANYTHING)
            self._judge = (wanted, judge)
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
