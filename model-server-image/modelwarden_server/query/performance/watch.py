"""The part `performance` of `/status`: of the newest window that labels can say something of, and of the
newest one what is estimated. Computed anew only when sums, reference or settings have changed, and while
rows stream in, no more than a tenth of the time.

What is found in one window alone is not yet a verdict: one of the two before it must say the same, where
they can say anything.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import (
    EstimatedPerformance,
    MetricValue,
    PerformanceReport,
    PopulationPerformance,
)
from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers
from modelwarden_server.analysis.performance.intervals import Value, around
from modelwarden_server.analysis.performance.metrics import metrics_of
from modelwarden_server.analysis.performance.verdict import (
    Coverage,
    EstimateVerdict,
    LabelVerdict,
    PerformanceJudge,
    settled,
)
from modelwarden_server.analysis.performance.worse import Compared, compared
from modelwarden_server.query.performance.expected_loss import ExpectedLosses
from modelwarden_server.query.performance.populations import Population
from modelwarden_server.query.performance.sums import EPOCH, Sums
from modelwarden_server.query.windows import HISTORY, Place, windows_of_time
from modelwarden_server.store.batches import Batch

_REST = 9.0
_EARLIER = 2
_CHECKED = 8
MAX_POPULATIONS = 50


@dataclass(frozen=True, eq=False)
class Watched:
    """What a verdict is made of. `closed` are a batch model's closed batches, the one closed last first;
    `doubt` says why estimates of the newest window are not to be believed, None if they are. `nameable` are
    the attributes whose groups may be named: of others the names are values of rows.
    """

    sums: Sums
    settings: MonitoringSettings
    closed: Sequence[Batch] | None = None
    expected: ExpectedLosses | None = None
    doubt: str | None = None
    nameable: frozenset[str] = frozenset()

    def places(self) -> list[Place]:
        """The windows, newest first."""
        cube = self.sums.cube
        if self.closed is None:
            windows = windows_of_time(cube.counts, self.settings.window_seconds)
            return [] if windows is None else [windows.newest, *windows.earlier]
        return [self._batch(batch) for batch in self.closed[: HISTORY + 1]]

    def _batch(self, batch: Batch) -> Place:
        def totals() -> Integers:
            found = self.sums.cube.batch(batch.id)
            return self.sums.cube.window(0, 0) if found is None else found

        return Place(batch.created_at, batch.closed_at or batch.updated_at, totals, batch=batch.id)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys, equal verdicts."""
        sums, quality = self.sums, None if self.expected is None else self.expected.quality()
        closed = None if self.closed is None else tuple(batch.id for batch in self.closed)
        baseline = None if sums.cube.baseline is None else sums.cube.baseline[0]
        return sums.hash, sums.threshold, sums.version, baseline, self.settings, closed, self.doubt, quality


@dataclass(frozen=True, eq=False)
class _Window:
    """Its sums are made when they are asked for: of many classes and groups, those of all windows at once
    would be too much.
    """

    place: Place
    coverage: Coverage
    settled: bool

    @property
    def totals(self) -> Integers:
        return self.place.totals()


@dataclass
class PerformanceWatch:
    """Keeps the last report."""

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _for: tuple[object, ...] | None = None
    _rest_until: float = 0.0
    _last: PerformanceReport | None = None

    def report(self, watched: Watched | None) -> PerformanceReport | None:
        """The report; None while nothing is counted, or there are no rows."""
        if watched is None:
            return None
        with self._lock:
            started = self.clock()
            # Expected errors are summed by somebody else, at his own pace: they are looked at once a minute.
            key = (*watched.key, None if watched.expected is None else int(started // 60))
            same = self._for is not None and self._for[:2] == key[:2]
            if key != self._for and not (same and started < self._rest_until):
                self._last, self._for = reported(watched), key
                ended = self.clock()
                self._rest_until = ended + _REST * (ended - started)
            return self._last


def reported(watched: Watched) -> PerformanceReport | None:
    """The report, computed."""
    sums = watched.sums
    minimum = watched.settings.minimum_rows
    judge = PerformanceJudge(sums.space, sums.baseline, sums.threshold, minimum)
    windows = _windows(watched, judge)
    if not windows:
        return None
    labels = _Labels.of(judge, windows)
    estimate = _Estimate.of(judge, windows, watched) if labels.place != 0 else None
    shown = windows[labels.place if labels.place is not None else 0]
    worse = labels.worse or (estimate is not None and estimate.worse)
    by = "labels" if labels.worse or (labels.place is not None and not worse) else None
    if by is None and estimate is not None and estimate.report.trusted:
        by = "estimate"
    return PerformanceReport(
        window_start=shown.place.start,
        window_end=shown.place.end,
        batch=shown.place.batch,
        rows=shown.coverage.rows,
        labelled=shown.coverage.labelled,
        coverage=shown.coverage.share if shown.coverage.rows and sums.outcome.truths else None,
        provisional=bool(sums.outcome.truths) and not shown.settled,
        metrics=_metrics(sums, shown, labels.verdict or judge.by_labels(shown.totals)),
        estimated=None if estimate is None else estimate.report,
        populations=_populations(watched, labels.verdict),
        worse=worse,
        by=by,
        judged=labels.judged if by != "estimate" or estimate is None else estimate.judged,
        reason=_reason(watched, labels, estimate, shown),
    )


def _windows(watched: Watched, judge: PerformanceJudge) -> list[_Window]:
    places = watched.places()
    delay = watched.settings.label_delay_seconds
    found = []
    for place in places:
        aged = None if delay is None else places[0].end - place.end >= timedelta(seconds=delay)
        found.append((place, judge.coverage(place.totals(), aged)))
    ready = settled([coverage for _, coverage in found])
    return [_Window(*one, settled=is_ready) for one, is_ready in zip(found, ready, strict=True)]


@dataclass(frozen=True)
class _Labels:
    """The newest settled window with enough labels (its place), and what persists of its verdict."""

    place: int | None = None
    verdict: LabelVerdict | None = None
    worse: bool = False
    judged: int = 0

    @classmethod
    def of(cls, judge: PerformanceJudge, windows: Sequence[_Window]) -> "_Labels":
        for place, window in enumerate(windows):
            verdict = judge.by_labels(window.totals) if window.settled else None
            if verdict is None or not verdict.judged:
                continue
            earlier = windows[place + 1 : place + 1 + _EARLIER]
            before = [judge.by_labels(one.totals) for one in earlier if one.settled] if verdict.worse else []
            before = [one for one in before if one.judged]
            worse = verdict.worse and (not before or any(one.worse for one in before))
            return cls(place, verdict, worse, 1 + len(before))
        return cls()


@dataclass(frozen=True)
class _Estimate:
    """What is estimated of the newest window, and what persists of it."""

    report: EstimatedPerformance
    verdict: EstimateVerdict
    worse: bool
    judged: int

    @classmethod
    def of(cls, judge: PerformanceJudge, windows: Sequence[_Window], watched: Watched) -> "_Estimate":
        newest, *earlier = (_estimate(judge, window, watched) for window in windows[: 1 + _EARLIER])
        checked = [window for window in windows if window.settled][:_CHECKED]
        outcomes = [judge.missed(window.totals) for window in checked]
        known = [one for one in outcomes if one is not None]
        missed = sum(known)
        withheld = newest.withheld or watched.doubt
        trusted = withheld is None and missed * 2 <= len(known)
        before = [one for one in earlier if one.compared and one.withheld is None]
        worse = trusted and newest.worse and (not before or any(one.worse for one in before))
        told = {one.value.metric: one for one in newest.compared}
        metrics = tuple(_metric(told.get(v.metric) or Compared(v, None)) for v in newest.values)
        report = EstimatedPerformance(
            metrics=metrics if newest.withheld is None else (),
            trusted=trusted,
            withheld=withheld,
            missed=missed,
            checked=len(known),
            window_start=windows[0].place.start,
            window_end=windows[0].place.end,
        )
        return cls(report, newest, worse, 1 + len(before))


def _estimate(judge: PerformanceJudge, window: _Window, watched: Watched) -> EstimateVerdict:
    expected = watched.expected
    quality = None if expected is None else expected.quality()
    if expected is None or quality is None:
        return judge.by_estimate(window.totals)
    place = window.place
    if place.batch is not None:
        sums = expected.batch(place.batch)
    else:
        low, high = ((at - EPOCH) // timedelta(seconds=SLICE_SECONDS) for at in (place.start, place.end))
        sums = expected.window(low, high)
    if sums.rows < judge.minimum_rows:
        return EstimateVerdict(withheld=f"n={sums.rows} < {judge.minimum_rows}")
    error = quality.absolute_deviation * math.sqrt(1 / sums.rows + 1 / max(1, quality.judged_rows))
    value = around("mae", sums.absolute / sums.rows, error, sums.rows, (0.0, math.inf))
    # The error of the model of the loss is in the estimate already.
    base = Value("mae", quality.mae, quality.judged_rows, error=0.0)
    return EstimateVerdict((value,), tuple(compared([value], [base])))


def _metrics(sums: Sums, window: _Window, verdict: LabelVerdict) -> tuple[MetricValue, ...]:
    """What the verdict looked at, then all other metrics."""
    found = [_metric(one) for one in verdict.values]
    names = {one.metric for one in found}
    everybody, counts = sums.space.everybody, sums.space.block_of(0, window.totals)
    try:
        values = metrics_of(everybody, counts, sums.classes, sums.threshold)
        base = [] if sums.baseline is None else metrics_of(
            everybody, sums.space.block_of(0, sums.baseline), sums.classes, sums.threshold
        )  # fmt: skip
    except ValueError:  # sums are being made anew for another threshold
        return tuple(found)
    known = {value.metric: value for value in base}
    found += [_metric(Compared(v, known.get(v.metric))) for v in values if v.metric not in names]
    return tuple(found)


def _metric(one: Compared) -> MetricValue:
    value = one.value
    return MetricValue(
        metric=value.metric,
        value=value.value,
        lower=_finite(value.lower),
        upper=_finite(value.upper),
        baseline=None if one.baseline is None else one.baseline.value,
        n=value.n,
        worse=one.worse,
        p_value=one.p_value,
        withheld=value.withheld,
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _populations(watched: Watched, verdict: LabelVerdict | None) -> tuple[PopulationPerformance, ...]:
    """Segments, and the groups that do worse; those that do worse first."""
    if verdict is None:
        return ()
    sums = watched.sums
    chosen = [
        (place, one)
        for place, one in verdict.groups.items()
        if one.worse or sums.all[place].segment is not None
    ]
    chosen.sort(key=lambda pair: (not pair[1].worse, pair[1].p_value or 0.0))
    return tuple(
        PopulationPerformance(
            attribute=sums.all[place].attribute,
            group=_group_name(watched, sums.all[place]),
            segment=sums.all[place].segment,
            metric=_metric(one),
        )
        for place, one in chosen[:MAX_POPULATIONS]
    )


def _group_name(watched: Watched, who: Population) -> str | None:
    return who.group if who.attribute in watched.nameable else None


def _reason(watched: Watched, labels: _Labels, estimate: _Estimate | None, shown: _Window) -> str:
    if labels.verdict is not None and (labels.verdict.worse or labels.worse):
        told = next((_sentence(one) for one in labels.verdict.values if one.worse), None)
        if told is None:
            place, one = next((p, g) for p, g in labels.verdict.groups.items() if g.worse)
            who = watched.sums.all[place]
            told = f"{_sentence(one)}, {_where(watched, who)}"
        alone = "" if labels.worse else "; in no window before"
        return told + alone
    if estimate is not None and estimate.worse:
        one = next(one for one in estimate.verdict.compared if one.worse)
        return f"{_sentence(one)}, estimated without labels"
    if labels.verdict is not None:
        return "no worse than in the reference"
    if not watched.sums.outcome.truths:
        return "tokens have no labels: what is told is not judged"
    baseline = watched.sums.baseline
    if baseline is None or baseline[0] == 0:
        return "there is no reference to compare with"
    if not shown.coverage.labelled:
        return "no inference of these windows has a label yet"
    return "labels are still arriving, or too few for a verdict"


def _where(watched: Watched, who: Population) -> str:
    if who.segment is not None:
        return f"where segment {who.segment}"
    group = _group_name(watched, who)
    return f"in one group of {who.attribute}" if group is None else f"where {who.attribute} = {group}"


def _sentence(one: Compared) -> str:
    base = one.baseline.value if one.baseline is not None else None
    return f"{one.value.metric} is {one.value.value:.3f}, the reference has {base:.3f} (n={one.value.n})"
