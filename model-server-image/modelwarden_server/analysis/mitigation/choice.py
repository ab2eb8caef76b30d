"""Which point of the groups' curves is to be recommended, and what becomes of rows that did not choose it.

Pure. Fitting and judging get counts of different rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from modelwarden_server.analysis.fairness.comparison import FairnessRule, Spread, compare
from modelwarden_server.analysis.fairness.intervals import Interval, paired_difference, wilson
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric, Outcomes, outcomes_from
from modelwarden_server.analysis.mitigation.curves import POINTS, Constraint, Curve
from modelwarden_server.analysis.score_grid import BinaryCounts

EQUAL = {
    Constraint.DEMOGRAPHIC_PARITY: (FairnessMetric.SELECTION_RATE,),
    Constraint.EQUAL_OPPORTUNITY: (FairnessMetric.TPR,),
    Constraint.EQUALIZED_ODDS: (FairnessMetric.TPR, FairnessMetric.FPR),
}
"""What each constraint wants to be the same."""


def optimization_index(constraint: Constraint, curves: Mapping[str, Curve]) -> int:
    """The point that all groups share, 0 … 1000; of equals the first. Raises ValueError without a group.

    The one with the most labelled rows decided rightly, over all groups; for equalized odds the one where the
    lowest of the groups' curves comes nearest to (0, 1).
    """
    if not curves:
        raise ValueError("there is no group")
    if constraint is Constraint.EQUALIZED_ODDS:
        shared = np.min([one.y for one in curves.values()], axis=0)
        x = np.arange(POINTS) / (POINTS - 1)
        return int(np.argmin(x**2 + (1 - shared) ** 2))
    return int(np.argmax(np.sum([one.gains for one in curves.values()], axis=0)))


@dataclass(frozen=True, slots=True)
class Gap:
    """How far apart the groups are in what the constraint wants to be the same: the worst of its metrics."""

    metric: FairnessMetric
    spread: Spread


@dataclass(frozen=True, slots=True)
class GroupChange:
    """What a group's new threshold would change: decisions from no to yes, and from yes to no."""

    rows: int
    to_yes: int
    to_no: int
    before: Outcomes
    after: Outcomes


@dataclass(frozen=True, slots=True)
class Judged:
    """What thresholds would do, on rows that were not used to find them. A gap is None where fewer than two
    groups have enough rows.
    """

    labelled: int
    accuracy_before: Interval
    accuracy_after: Interval
    accuracy_change: Interval
    gap_before: Gap | None
    gap_after: Gap | None
    groups: Mapping[str, GroupChange]


def judge(
    constraint: Constraint,
    counts: Mapping[str, BinaryCounts],
    thresholds: Mapping[str, int],
    before: int,
    least_rows: int,
) -> Judged | None:
    """Judge `thresholds` (places in CHOICES, by group) against one threshold for all, at place `before`.

    `counts` has all groups; those without a threshold of their own keep the one for all, and are in the
    accuracy, but not in the gap. None without a labelled row.
    """
    old = {name: outcomes_from(one, before) for name, one in counts.items()}
    new = {name: outcomes_from(one, thresholds.get(name, before)) for name, one in counts.items()}
    labelled = sum(one.labelled for one in old.values())
    if not labelled:
        return None
    right_before, right_after = (
        sum(one.true_positives + one.true_negatives for one in side.values()) for side in (old, new)
    )
    gained, lost = _moved(counts, thresholds, before)
    return Judged(
        labelled=labelled,
        accuracy_before=wilson(right_before, labelled),
        accuracy_after=wilson(right_after, labelled),
        accuracy_change=paired_difference(gained, lost, labelled),
        gap_before=_gap(constraint, {n: old[n] for n in thresholds if n in old}, least_rows),
        gap_after=_gap(constraint, {n: new[n] for n in thresholds if n in new}, least_rows),
        groups={
            name: GroupChange(
                rows=one.rows,
                to_yes=max(0, new[name].selected - one.selected),
                to_no=max(0, one.selected - new[name].selected),
                before=one,
                after=new[name],
            )
            for name, one in old.items()
        },
    )


def _gap(constraint: Constraint, groups: Mapping[str, Outcomes], least_rows: int) -> Gap | None:
    found = compare(groups, FairnessRule(least_rows=least_rows, each=False))
    gaps = [Gap(m, found.spreads[m]) for m in EQUAL[constraint] if m in found.spreads]
    if len(gaps) < len(EQUAL[constraint]):
        return None
    return max(gaps, key=lambda gap: gap.spread.difference.value)


def _moved(counts: Mapping[str, BinaryCounts], thresholds: Mapping[str, int], before: int) -> tuple[int, int]:
    """Labelled rows whose decision becomes right, and those whose decision becomes wrong."""
    gained = lost = 0
    for name, after in thresholds.items():
        between = slice(min(before, after), max(before, after))
        positives = int(counts[name].positives[between].sum())
        negatives = int(counts[name].negatives[between].sum())
        gained += negatives if after > before else positives
        lost += positives if after > before else negatives
    return gained, lost
