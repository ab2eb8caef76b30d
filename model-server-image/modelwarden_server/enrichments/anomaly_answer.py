"""How anomalous the rows of a window are: from counts where it is whole slices or a batch, else from the rows
of the table of scores; it says which.

More rows beyond the reference's 99th percentile than its rows explain are raised: an exact one-sided test at
1 %, and at least half as many again as expected, so that an endless stream does not make noise. Must not
score.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from modelwarden.resources.cell import MonitoringSettings
from modelwarden.resources.report import AnomalyReport
from modelwarden_server.analysis.anomaly import PERCENTILE
from modelwarden_server.analysis.exceedance import Limit, exceedance_p
from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.derived.counts import TIMES
from modelwarden_server.derived.scoring import RowScorer
from modelwarden_server.enrichments.score_space import NAMED, PERCENT, SCORE, ScoreCounts, ScoreSpace
from modelwarden_server.query.scan import Deadline
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME, ID

RAISED_P: Final = 0.01
RAISED_RATIO: Final = 1.5
MOST_WORST: Final = 1000
_NAMED: Final = 10
_EARLIER: Final = 2
_REST: Final = 9.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS_AT_ONCE: Final = 65_536


@dataclass(frozen=True)
class Installed:
    """What scores are compared with: the reference's 99th percentile and its mean score."""

    limit: Limit
    mean: float
    artefact_hash: str


@dataclass(frozen=True)
class Span:
    """Rows with an event time in [start, end), or of one batch; `worst`: how many rows to name."""

    start: datetime | None = None
    end: datetime | None = None
    batch: str | None = None
    worst: int = 10

    @property
    def slices(self) -> tuple[int, int] | None:
        """The window in whole slices; None if it is not, or has an open end."""
        if self.start is None or self.end is None:
            return None
        places = [divmod((at - _EPOCH).total_seconds(), SLICE_SECONDS) for at in (self.start, self.end)]
        return None if any(rest for _, rest in places) else (int(places[0][0]), int(places[1][0]))


@dataclass(frozen=True)
class Finding:
    """Whether a number of rows beyond the limit is to be expected."""

    rate: float | None
    expected: float | None
    p_value: float | None
    raised: bool
    enough: bool

    @classmethod
    def of(cls, counts: ScoreCounts, limit: Limit | None, least: int) -> "Finding":
        """Without a limit (nothing is installed) or enough rows nothing is raised."""
        rate = counts.beyond / counts.rows if counts.rows else None
        if limit is None or rate is None:
            return cls(rate, None if limit is None else limit.expected, None, raised=False, enough=False)
        p = exceedance_p(counts.beyond, counts.rows, limit)
        enough = counts.rows >= least
        raised = enough and p < RAISED_P and rate >= RAISED_RATIO * limit.expected
        return cls(rate, limit.expected, p, raised, enough)


Sources = Callable[[], tuple[RowScorer, ScoreSpace, Installed | None] | None]


@dataclass
class AnomalyQuestions:
    """Answers of one cell. The report is computed anew only when counts have changed, and takes at most a
    tenth of the time.
    """

    sources: Sources
    rows_between: Callable[[int, int], int | None]
    clock: Callable[[], float] = time.monotonic
    _for: tuple[object, ...] | None = field(default=None, init=False)
    _last: AnomalyReport | None = field(default=None, init=False)
    _rest_until: float = field(default=0.0, init=False)

    def report(self, settings: MonitoringSettings) -> AnomalyReport | None:
        """The newest window's; None while nothing is installed and nothing was scored."""
        found = self.sources()
        if found is None:
            return None
        scorer, _, installed = found
        if installed is None and scorer.counts.newest_slice() is None:
            return None
        about = (installed, settings)
        asked = (*about, scorer.counts.folded)
        started = self.clock()
        same = self._for is not None and self._for[:2] == about
        if asked != self._for and not (same and started < self._rest_until):
            self._last, self._for = self._computed(settings), asked
            ended = self.clock()
            self._rest_until = ended + _REST * (ended - started)
        told = {"waiting": scorer.behind_rows, "problem": scorer.problem}
        return None if self._last is None else self._last.model_copy(update=told)

    def answer(self, span: Span, settings: MonitoringSettings, deadline: Deadline) -> dict[str, Any] | None:
        """The answer about a span; None where rows are never scored. Raises QueryTooLargeError, OSError."""
        found = self.sources()
        if found is None:
            return None
        scorer, space, installed = found
        complete = scorer.reach(5.0)
        if span.batch is None and span.start is None and span.end is None:
            span = _newest(scorer, settings, span)
        slices = span.slices
        if span.batch is not None:
            counts, source = space.told(scorer.counts.batch(span.batch)), "partials"
        elif slices is not None:
            counts, source = space.told(scorer.counts.window(*slices)), "partials"
        else:
            counts, source = _scanned(scorer, space, span, deadline), "rows"
        limit = None if installed is None else installed.limit
        finding = Finding.of(counts, limit, settings.minimum_rows)
        return {
            "start": span.start,
            "end": span.end,
            "batch_id": span.batch,
            "rows": None if slices is None else self.rows_between(*slices),
            "scored": counts.rows,
            "complete": complete,
            "percentile": PERCENTILE,
            "limit": None if limit is None else limit.value,
            "beyond": counts.beyond,
            "rate": finding.rate,
            "expected_rate": finding.expected,
            "p_value": finding.p_value,
            "raised": finding.raised,
            "withheld": None
            if finding.enough or installed is None
            else f"n={counts.rows} < {settings.minimum_rows}",
            "mean_score": counts.mean,
            "reference_mean_score": None if installed is None else installed.mean,
            "histogram": list(counts.bins),
            "attributes": dict(sorted(counts.named.items(), key=lambda one: (-one[1], one[0]))),
            "worst": _worst(scorer, span, deadline) if span.worst else [],
            "artefact_hash": None if installed is None else installed.artefact_hash,
            "source": source,
        }

    def _computed(self, settings: MonitoringSettings) -> AnomalyReport | None:
        found = self.sources()
        if found is None:
            return None
        scorer, space, installed = found
        limit = None if installed is None else installed.limit
        known = {
            "limit": None if limit is None else limit.value,
            "expected": None if limit is None else limit.expected,
            "reference_mean_score": None if installed is None else installed.mean,
        }
        newest, length = scorer.counts.newest_slice(), settings.window_seconds // SLICE_SECONDS
        if newest is None:
            return AnomalyReport(state="InsufficientData", **known)
        end = newest + 1
        counts = space.told(scorer.counts.window(end - length, end))
        finding = Finding.of(counts, limit, settings.minimum_rows)
        before = [
            Finding.of(space.told(scorer.counts.window(at - length, at)), limit, settings.minimum_rows)
            for at in (end - back * length for back in range(1, _EARLIER + 1))
        ]
        judged = [one for one in before if one.enough]
        named = sorted(counts.named.items(), key=lambda one: (-one[1], one[0]))[:_NAMED]
        return AnomalyReport(
            window_start=_at(end - length),
            window_end=_at(end),
            state="NoReference" if limit is None else "Ok" if finding.enough else "InsufficientData",
            scored=counts.rows,
            beyond=counts.beyond,
            rate=finding.rate,
            p_value=finding.p_value,
            raised=finding.raised,
            persistent=finding.raised and (not judged or any(one.raised for one in judged)),
            mean_score=counts.mean,
            attributes=dict(named),
            **known,
        )


def _newest(scorer: RowScorer, settings: MonitoringSettings, span: Span) -> Span:
    """The newest window that has scores; the span as it is while there are none."""
    newest = scorer.counts.newest_slice()
    if newest is None:
        return span
    length = settings.window_seconds // SLICE_SECONDS
    return replace(span, start=_at(newest + 1 - length), end=_at(newest + 1))


def _at(place: int) -> datetime:
    return _EPOCH + timedelta(seconds=place * SLICE_SECONDS)


def _scanned(scorer: RowScorer, space: ScoreSpace, span: Span, deadline: Deadline) -> ScoreCounts:
    totals = np.zeros(space.size, dtype=np.int64)
    for rows in _rows(scorer, span, [EVENT_TIME, *space.names], deadline):
        for part in space.fold_at(rows, np.zeros(rows.num_rows, dtype=np.int64), TIMES):
            totals[part.keys] += part.counts
    return space.told(totals)


def _worst(scorer: RowScorer, span: Span, deadline: Deadline) -> list[dict[str, Any]]:
    """The rows with the highest scores, the highest first."""
    best: pa.Table | None = None
    columns = [ID, EVENT_TIME, BATCH, SCORE, PERCENT, NAMED]
    for rows in _rows(scorer, span, columns, deadline):
        if best is not None and best.num_rows >= span.worst:
            rows = rows.filter(pc.greater(rows.column(SCORE), best.column(SCORE)[-1]))
            if not rows.num_rows:
                continue
        both = [pa.Table.from_batches([rows]), *([] if best is None else [best])]
        order = [(SCORE, "descending"), (ID, "ascending")]
        best = pa.concat_tables(both).sort_by(order).slice(0, span.worst).combine_chunks()
    if best is None:
        return []
    return [
        {
            ID: row[ID],
            EVENT_TIME: row[EVENT_TIME],
            "anomaly_score": row[SCORE],
            "anomaly_percentile": row[PERCENT],
            "attributes": row[NAMED],
        }
        for row in best.to_pylist()
    ]


def _rows(
    scorer: RowScorer, span: Span, columns: Sequence[str], deadline: Deadline
) -> Iterator[pa.RecordBatch]:
    """Rows of the span, a bounded number at a time; groups of rows outside of it are not read."""
    read = list(dict.fromkeys([*columns, EVENT_TIME, *([BATCH] if span.batch is not None else [])]))
    for file in scorer.table.files:
        with pq.ParquetFile(
            scorer.table.folder / file.name, pre_buffer=False, buffer_size=1 << 20
        ) as parquet:
            place = parquet.schema_arrow.get_field_index(EVENT_TIME)
            groups = [
                g
                for g in range(parquet.num_row_groups)
                if _overlaps(parquet.metadata.row_group(g).column(place).statistics, span)
            ]
            if not groups:
                continue
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=read):
                deadline.check()
                yield batch.filter(_inside(batch, span))


def _overlaps(bounds: Any, span: Span) -> bool:
    if bounds is None or not bounds.has_min_max:
        return True
    after = span.end is not None and bounds.min >= span.end
    before = span.start is not None and bounds.max < span.start
    return not (after or before)


def _inside(rows: pa.RecordBatch, span: Span) -> pa.Array:
    times = rows.column(EVENT_TIME)
    inside = pa.repeat(pa.scalar(True), rows.num_rows)  # noqa: FBT003 - the value of a column
    if span.start is not None:
        inside = pc.and_(inside, pc.greater_equal(times, pa.scalar(span.start, times.type)))
    if span.end is not None:
        inside = pc.and_(inside, pc.less(times, pa.scalar(span.end, times.type)))
    if span.batch is not None:
        inside = pc.and_(inside, pc.equal(rows.column(BATCH), pa.scalar(span.batch)))
    return pc.fill_null(inside, fill_value=False)
