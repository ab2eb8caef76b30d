"""The curves of one attribute, found on one half of the rows and judged on the other. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelwarden_server.analysis.fairness.comparison import MISSING, OTHER
from modelwarden_server.analysis.mitigation.choice import Judged, judge, optimization_index
from modelwarden_server.analysis.mitigation.curves import Constraint, Curve, curve, lacks
from modelwarden_server.analysis.score_grid import BinaryCounts

NO_GROUP = "is no group of people"


@dataclass(frozen=True)
class Fitted:
    """One constraint. Without `curves` there is nothing to recommend, and `left_out` says why, by group."""

    constraint: Constraint
    curves: Mapping[str, Curve]
    left_out: Mapping[str, str]
    index: int | None
    judged: Judged | None


@dataclass(frozen=True)
class Fitting:
    """How thresholds are found. `before` is the place of the threshold that all groups have now."""

    constraints: Sequence[Constraint]
    before: int
    least_rows: int


def fit(
    fitted: Mapping[str, BinaryCounts], judged: Mapping[str, BinaryCounts], how: Fitting
) -> tuple[Fitted, ...]:
    """All constraints of an attribute whose groups have these counts in the two halves.

    Groups that lack what a constraint needs keep the threshold that they have; so do rows of no group.
    """
    return tuple(_fitted(constraint, fitted, judged, how) for constraint in how.constraints)


def _fitted(
    constraint: Constraint,
    fitted: Mapping[str, BinaryCounts],
    judged: Mapping[str, BinaryCounts],
    how: Fitting,
) -> Fitted:
    why = {name: lacks(counts, constraint, how.least_rows) for name, counts in fitted.items()}
    why |= dict.fromkeys(why.keys() & {MISSING, OTHER}, NO_GROUP)
    left_out = {name: reason for name, reason in why.items() if reason is not None}
    able = [name for name, reason in why.items() if reason is None]
    if len(able) < 2:
        left_out |= dict.fromkeys(able, "is the only group that is large enough")
        return Fitted(constraint, {}, left_out, None, None)
    curves = {name: curve(fitted[name], constraint) for name in able}
    index = optimization_index(constraint, curves)
    thresholds = {name: int(one.choices[index]) for name, one in curves.items()}
    return Fitted(
        constraint, curves, left_out, index, judge(constraint, judged, thresholds, how.before, how.least_rows)
    )
