"""What the status says of groups: the newest window, at the model's own threshold, for every attribute with
monitorForBias. Kept until sums or settings change; while rows stream in, a tenth of the time at most.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import AttributeFairness, FairnessReport, GroupGap
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.fairness.comparison import Fairness, FairnessRule, Spread, compare
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric, Outcomes
from modelwarden_server.query.performance.fairness import (
    Confusions,
    Counts,
    Cut,
    newest_window,
    outcomes_of,
)
from modelwarden_server.query.performance.naming import nameable
from modelwarden_server.query.performance.populations import EVERYBODY, NotCountedError, Populations

_REST = 9.0
_TOLD = (FairnessMetric.SELECTION_RATE, FairnessMetric.ACCURACY, FairnessMetric.TPR, FairnessMetric.FPR)
"""FNR and TNR are the rest of these; PPV is asked for."""
_SLICE = timedelta(minutes=5)


@dataclass(frozen=True)
class Watched:
    """What is asked of the watch: the sums, the attributes, the settings, and of a batch model the batch."""

    populations: Populations
    attributes: Mapping[str, ResolvedAttribute]
    monitoring: MonitoringSettings
    batch: str | None = None
    is_batch: bool = False


@dataclass(frozen=True)
class Told:
    """The report, and what it is made of: of each attribute the newest window and the labelled one."""

    report: FairnessReport
    selection: Mapping[str, Fairness]
    labelled: Mapping[str, Fairness]

    def of(self, attribute: str, metric: FairnessMetric) -> Fairness:
        """Where a metric of an attribute is from."""
        selection = metric is FairnessMetric.SELECTION_RATE
        return (self.selection if selection else self.labelled)[attribute]


@dataclass
class FairnessWatch:
    """Keeps the last answer."""

    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _for: tuple[object, ...] | None = None
    _last: Told | None = None
    _rest_until: float = 0.0

    def told(self, watched: Watched | None) -> Told | None:
        """What there is to say; None without sums, rows, or an attribute to watch."""
        if watched is None:
            return None
        populations = watched.populations
        kept = (populations.hash, populations.threshold, watched.monitoring, watched.batch)
        asked = (*kept, populations.version)
        with self._lock:
            same = self._for is not None and self._for[:-1] == asked[:-1]
            started = self.clock()
            if asked != self._for and not (same and started < self._rest_until):
                self._last, self._for = _computed(watched), asked
                ended = self.clock()
                self._rest_until = ended + _REST * (ended - started)
            return self._last


@dataclass(frozen=True)
class _Rows:
    """Counts of one window, or of a batch."""

    counts: Counts
    confusions: Confusions
    start: datetime | None = None
    end: datetime | None = None


def _computed(watched: Watched) -> Told | None:
    names = dict.fromkeys(p.attribute for p in watched.populations.all if p.attribute in watched.attributes)
    if not names:
        return None
    try:
        windows = _windows(watched)
    except NotCountedError:
        return None
    if windows is None:
        return None
    newest, labelled = windows
    cut = Cut.of(None, watched.populations.threshold)
    selection, judged, told = {}, {}, []
    for name in names:
        assert name is not None
        here, there = (outcomes_of(name, rows.counts, rows.confusions, cut) for rows in windows)
        selection[name], judged[name] = (compare(one, FairnessRule(each=False)) for one in (here, there))
        told.append(_attribute(watched.attributes[name], selection[name], judged[name]))
    report = FairnessReport(
        window_start=newest.start,
        window_end=newest.end,
        labelled_start=labelled.start,
        labelled_end=labelled.end,
        batch=watched.batch,
        rows=_everybody(newest, cut).rows,
        labelled=_everybody(labelled, cut).labelled,
        threshold=cut.threshold,
        attributes=tuple(told),
    )
    return Told(report, selection, judged)


def _windows(watched: Watched) -> tuple[_Rows, _Rows] | None:
    """The newest window, and the one whose labels have come."""
    populations, delay = watched.populations, watched.monitoring.label_delay_seconds
    if watched.is_batch:
        if watched.batch is None:
            return None
        one = _Rows(*populations.batch(watched.batch))
        return one, one
    window = newest_window(populations, watched.monitoring.window_seconds)
    if window is None:
        return None
    back = timedelta(0) if delay is None else delay // _SLICE.seconds * _SLICE
    newest = _between(populations, *window)
    if not back:
        return newest, newest
    return newest, _between(populations, window[0] - back, window[1] - back)


def _between(populations: Populations, start: datetime, end: datetime) -> _Rows:
    return _Rows(populations.binary(start, end), populations.confusion(start, end), start, end)


def _everybody(rows: _Rows, cut: Cut) -> Outcomes:
    counts = rows.counts.get(EVERYBODY)
    if counts is None:
        return Outcomes(0, 0, 0, 0, 0, 0)
    return Outcomes(int(counts.rows.sum()), int(counts.rows[cut.place :].sum()), 0, 0, 0, counts.labelled)


def _attribute(attribute: ResolvedAttribute, selection: Fairness, labelled: Fairness) -> AttributeFairness:
    named = nameable(attribute)
    gaps = [
        _gap(metric, spread, named)
        for metric in _TOLD
        for spread in [
            (selection if metric is FairnessMetric.SELECTION_RATE else labelled).spreads.get(metric)
        ]
        if spread is not None
    ]
    spread = selection.spreads.get(FairnessMetric.SELECTION_RATE)
    ratio = None if spread is None else spread.ratio
    rates = [group.rates[FairnessMetric.SELECTION_RATE] for group in selection.groups]
    return AttributeFairness(
        attribute=attribute.name,
        four_fifths=selection.four_fifths.value,
        ratio=None if ratio is None else ratio.value,
        ratio_low=None if ratio is None else ratio.low,
        ratio_high=None if ratio is None else ratio.high,
        groups=sum(rate.share is not None for rate in rates),
        withheld=sum(rate.share is None for rate in rates),
        gaps=tuple(sorted(gaps, key=lambda gap: (not gap.significant, -gap.difference, gap.metric))),
    )


def _gap(metric: FairnessMetric, spread: Spread, named: bool) -> GroupGap:
    return GroupGap(
        metric=metric.value,
        lowest=spread.lowest if named else None,
        highest=spread.highest if named else None,
        difference=spread.difference.value,
        low=spread.difference.low,
        high=spread.difference.high,
        ratio=None if spread.ratio is None else spread.ratio.value,
        significant=spread.significant,
    )
