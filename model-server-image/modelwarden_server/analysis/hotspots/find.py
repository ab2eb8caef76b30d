"""From columns and outcomes to hotspots: search on one half, measure on the other, for every metric.

Must not know where rows come from, nor how results are kept (see `result`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from modelwarden_server.analysis.hotspots.bins import bins_of
from modelwarden_server.analysis.hotspots.choose import Judged
from modelwarden_server.analysis.hotspots.measure import measured, overlaps, shared
from modelwarden_server.analysis.hotspots.outcomes import SHARES, Loss, Metric, Outcome
from modelwarden_server.analysis.hotspots.rules import Rule
from modelwarden_server.analysis.hotspots.search import DEFAULT_REACH, BeamSearch, Reach, at_least, clipped
from modelwarden_server.analysis.hotspots.table import Mask, Table

_FEWEST = 30
_TOO_LARGE = "the errors are too large to be added up"


@dataclass(frozen=True, eq=False)
class Task:
    """What is searched. `finding`: rows to search on, the others are measured; `least`: the fewest rows of a
    region in both halves together; `followed`: rules that are measured beside what is found. Without
    `metrics`: all there are.
    """

    table: Table
    outcome: Outcome
    finding: Mask
    least: int = 200
    followed: Sequence[Rule] = ()
    reach: Reach = DEFAULT_REACH
    metrics: frozenset[Metric] = frozenset(Metric)


@dataclass(frozen=True, eq=False)
class Findings:
    """All rules that were measured, and what came of it by metric. `masks`: their rows in the judged half,
    shape (rules, judged rows); `rows`: theirs in both halves. `notes`: why a metric was not searched;
    `overall` is withheld (None) of too few rows for a rate.
    """

    rules: tuple[Rule, ...]
    masks: tuple[Mask, ...]
    rows: tuple[int, ...]
    judged: Mapping[Metric, Judged]
    overall: Mapping[Metric, float | None]
    notes: Mapping[Metric, str]


def find(task: Task) -> Findings:
    """Search and measure. The same task gives the same findings."""
    losses = {m: loss for m, loss in task.outcome.losses().items() if m in task.metrics}
    notes = {m: _TOO_LARGE for m, loss in losses.items() if not loss.addable}
    nothing = np.zeros_like(task.finding)
    losses |= {m: Loss(m, nothing, losses[m].loss) for m in notes}
    rules: list[Rule] = []
    for metric, loss in losses.items():
        if metric in notes:
            continue
        why_not = _unsearchable(loss, task)
        if why_not is not None:
            notes[metric] = why_not
            continue
        rules += [rule for rule in _searched(task, loss) if rule not in rules]
    rules += [rule for rule in task.followed if rule not in rules]
    everywhere = [task.table.fulfil(rule) for rule in rules]
    rules, everywhere = _with_rows(rules, everywhere, task)
    masks = tuple(mask[~task.finding] for mask in everywhere)
    common = shared(masks)
    judged, overall = {}, {}
    for metric, loss in losses.items():
        half = Loss(metric, loss.counts[~task.finding], loss.loss[~task.finding])
        judged[metric] = Judged(measured(masks, half), overlaps(masks, half), common)
        whole = measured([np.ones(len(half.loss), dtype=np.bool_)], half)
        overall[metric] = whole[0].value if half.counts.sum() >= _FEWEST else None
    return Findings(tuple(rules), masks, tuple(int(m.sum()) for m in everywhere), judged, overall, notes)


def _unsearchable(loss: Loss, task: Task) -> str | None:
    """Why no rule can be found by this loss; None if it can."""
    rows = int(loss.counts.sum())
    needed = max(2 * task.least, 4 * _FEWEST)
    if rows < needed:
        return f"too few rows: {rows} of the {needed} that are needed"
    values = loss.loss[loss.counts]
    if values.min() == values.max():
        if loss.metric not in SHARES:
            return "the same in all rows: no region is worse than another"
        every = "wrong" if values[0] else "right"
        return f"every row is {every}: no region is worse than another"
    return None


def _searched(task: Task, loss: Loss) -> list[Rule]:
    rows = task.finding & loss.counts
    # A region is to have so many rows of all; the metric is taken over that share of them.
    share = rows.sum() / max(1, task.finding.sum())
    least = max(_FEWEST, int(np.ceil(task.least / 2 * share)))
    bins = bins_of(tuple(task.table.attributes), rows, least)
    if not bins.columns:
        return []
    losses = loss.loss if loss.metric in SHARES else clipped(loss.loss, rows)
    return BeamSearch(bins, losses[rows], at_least(task.reach, least)).rules()


def _with_rows(rules: list[Rule], masks: list[Mask], task: Task) -> tuple[list[Rule], list[Mask]]:
    """Rules without rows enough are not measured, and of two with the same rows the shorter one is."""
    kept: dict[bytes, tuple[Rule, Mask]] = {}
    for rule, mask in sorted(zip(rules, masks, strict=True), key=lambda one: len(one[0].conditions)):
        if mask.sum() >= task.least:
            kept.setdefault(np.packbits(mask).tobytes(), (rule, mask))
    both = sorted(kept.values(), key=lambda one: rules.index(one[0]))
    return [rule for rule, _ in both], [mask for _, mask in both]
