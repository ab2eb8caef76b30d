"""The result of a training as it is kept: a manifest that is checked field by field, and arrays of places and
counts.

Written by the Job, read by the store: both through here. Must not compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.fairness.intervals import Interval
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric, Outcomes
from modelwarden_server.analysis.mitigation.choice import Gap, GroupChange, Judged
from modelwarden_server.analysis.mitigation.curves import CHOICES, POINTS, Constraint, Curve
from modelwarden_server.analysis.mitigation.fitting import Fitted
from modelwarden_server.analysis.performance.groups import GroupRule

MOST_ROWS: Final = 2**31 - 1
_CHOICES, _GAINS, _SELECTED = "choices", "gains", "selected"


class Figure(msgspec.Struct, frozen=True):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


class GapFigure(msgspec.Struct, frozen=True):
    """Two groups and how far they are apart in a metric; the interval holds for all pairs at once."""

    metric: FairnessMetric
    lowest: str
    highest: str
    difference: Figure
    ratio: Figure | None


class GroupFigures(msgspec.Struct, frozen=True):
    """One group on the rows that judge: decisions that would change, and its rates before and after."""

    group: str
    rows: int
    labelled: int
    to_yes: int
    to_no: int
    before: dict[FairnessMetric, float]
    after: dict[FairnessMetric, float]


class JudgedFigures(msgspec.Struct, frozen=True):
    """What the recommended thresholds do to rows that they were not found on."""

    labelled: int
    accuracy_before: Figure
    accuracy_after: Figure
    accuracy_change: Figure
    gap_before: GapFigure | None
    gap_after: GapFigure | None
    groups: tuple[GroupFigures, ...]


class CurveFacts(msgspec.Struct, frozen=True):
    """A curve's group, and what its counts are a share of."""

    group: str
    gains_whole: int
    selected_whole: int


class ConstraintResult(msgspec.Struct, frozen=True):
    """One constraint of one attribute. Row i of its arrays belongs to curve i."""

    constraint: Constraint
    curves: tuple[CurveFacts, ...]
    left_out: dict[str, str]
    optimization_index: int | None
    judged: JudgedFigures | None


class GroupResult(msgspec.Struct, frozen=True):
    """A listed group: a value, or a range (start outside, end inside; None: no bound)."""

    name: str
    value: str | None = None
    start: float | None = None
    end: float | None = None


class AttributeResult(msgspec.Struct, frozen=True):
    """One attribute."""

    attribute: str
    groups: tuple[GroupResult, ...]
    constraints: tuple[ConstraintResult, ...]


class Manifest(msgspec.Struct, frozen=True):
    """What the manifest says beside what every training says. `threshold`: what all groups were compared
    with, the model's own on the grid. `window`: event times of the reference, first and last, if it has any.
    """

    score: str
    positive: str
    labels: str
    threshold: float
    least_rows: int
    rows: int
    labelled: int
    attributes: tuple[AttributeResult, ...]
    window: tuple[str, str] | None = None


@dataclass(frozen=True)
class Mitigation:
    """A result that makes sense: the manifest, and the curves by attribute, constraint and group."""

    manifest: Manifest
    curves: Mapping[tuple[str, Constraint, str], Curve]


def written(
    results: Sequence[tuple[GroupRule, Sequence[Fitted]]],
) -> tuple[tuple[AttributeResult, ...], dict[str, npt.NDArray[Any]]]:
    """The attributes for a manifest, and the arrays beside it."""
    attributes: list[AttributeResult] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for place, (rule, fitted) in enumerate(results):
        for one in fitted:
            if one.curves:
                arrays |= _arrays(f"{place}-{one.constraint}", list(one.curves.values()))
        constraints = tuple(_constraint(one) for one in fitted)
        attributes.append(AttributeResult(rule.attribute, _groups(rule), constraints))
    return tuple(attributes), arrays


def read(manifest: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Mitigation:
    """The result in an artefact. Raises ValueError with a sentence for anything that `written` does not
    make.
    """
    try:
        told = msgspec.convert(manifest, Manifest, strict=True)
    except msgspec.ValidationError as error:
        raise ValueError(f"the manifest is not one of bias mitigation: {error}") from None
    curves: dict[tuple[str, Constraint, str], Curve] = {}
    known: set[str] = set()
    for place, attribute in enumerate(told.attributes):
        names = {group.name for group in attribute.groups}
        for one in attribute.constraints:
            if bool(one.curves) != (one.optimization_index is not None):
                raise ValueError(f"{attribute.attribute}, {one.constraint}: an index without curves, or none")
            if not one.curves:
                continue
            if not 0 <= (one.optimization_index or 0) < POINTS:
                raise ValueError(f"{attribute.attribute}, {one.constraint}: optimization_index is no point")
            prefix = f"{place}-{one.constraint}"
            known |= {f"{prefix}-{name}" for name in (_CHOICES, _GAINS, _SELECTED)}
            for facts, made in zip(one.curves, _curves(prefix, one.curves, arrays), strict=True):
                if facts.group not in names or (attribute.attribute, one.constraint, facts.group) in curves:
                    raise ValueError(
                        f"{attribute.attribute}: a curve of a group that is not listed, or twice"
                    )
                curves[attribute.attribute, one.constraint, facts.group] = made
    if known != set(arrays):
        raise ValueError("the arrays are others than the manifest names")
    return Mitigation(told, curves)


def _arrays(prefix: str, curves: Sequence[Curve]) -> dict[str, npt.NDArray[Any]]:
    return {
        f"{prefix}-{_CHOICES}": np.stack([one.choices for one in curves]).astype(np.int16),
        f"{prefix}-{_GAINS}": np.stack([one.gains for one in curves]).astype(np.int32),
        f"{prefix}-{_SELECTED}": np.stack([one.selected for one in curves]).astype(np.int32),
    }


def _curves(prefix: str, facts: Sequence[CurveFacts], arrays: Mapping[str, npt.NDArray[Any]]) -> list[Curve]:
    wanted = {_CHOICES: np.dtype("<i2"), _GAINS: np.dtype("<i4"), _SELECTED: np.dtype("<i4")}
    found = {}
    for name, kind in wanted.items():
        array = arrays.get(f"{prefix}-{name}")
        if array is None or array.dtype != kind or array.shape != (len(facts), POINTS):
            raise ValueError(f"array {prefix}-{name} is missing, or of another type or shape")
        found[name] = array
    if found[_CHOICES].min() < 0 or found[_CHOICES].max() >= len(CHOICES):
        raise ValueError(f"array {prefix}-{_CHOICES} names a threshold that there is none of")
    for name, whole in ((_GAINS, "gains_whole"), (_SELECTED, "selected_whole")):
        of = np.array([getattr(one, whole) for one in facts], dtype=np.int64)
        if of.min() < 1 or found[name].min() < 0 or (found[name].max(axis=1) > of).any():
            raise ValueError(f"array {prefix}-{name} counts more than there is")
    return [
        Curve(found[_CHOICES][i], found[_GAINS][i], one.gains_whole, found[_SELECTED][i], one.selected_whole)
        for i, one in enumerate(facts)
    ]


def _groups(rule: GroupRule) -> tuple[GroupResult, ...]:
    if rule.values:
        return tuple(GroupResult(name=value, value=value) for value in rule.values)
    return tuple(
        GroupResult(name, None, *(None if np.isinf(bound) else bound for bound in bounds))
        for name, bounds in zip(rule.names, rule.ranges, strict=True)
    )


def _constraint(fitted: Fitted) -> ConstraintResult:
    return ConstraintResult(
        constraint=fitted.constraint,
        curves=tuple(
            CurveFacts(name, one.gains_whole, one.selected_whole) for name, one in fitted.curves.items()
        ),
        left_out=dict(fitted.left_out),
        optimization_index=fitted.index,
        judged=None if fitted.judged is None else _judged(fitted.judged),
    )


def _judged(judged: Judged) -> JudgedFigures:
    return JudgedFigures(
        labelled=judged.labelled,
        accuracy_before=_figure(judged.accuracy_before),
        accuracy_after=_figure(judged.accuracy_after),
        accuracy_change=_figure(judged.accuracy_change),
        gap_before=_gap(judged.gap_before),
        gap_after=_gap(judged.gap_after),
        groups=tuple(_group(name, change) for name, change in judged.groups.items()),
    )


def _group(name: str, change: GroupChange) -> GroupFigures:
    return GroupFigures(
        group=name,
        rows=change.rows,
        labelled=change.before.labelled,
        to_yes=change.to_yes,
        to_no=change.to_no,
        before=_rates(change.before),
        after=_rates(change.after),
    )


def _rates(outcomes: Outcomes) -> dict[FairnessMetric, float]:
    shares = {metric: outcomes.share(metric) for metric in FairnessMetric}
    return {metric: k / n for metric, (k, n) in shares.items() if n}


def _gap(gap: Gap | None) -> GapFigure | None:
    if gap is None:
        return None
    spread = gap.spread
    ratio = None if spread.ratio is None else _figure(spread.ratio)
    return GapFigure(gap.metric, spread.lowest, spread.highest, _figure(spread.difference), ratio)


def _figure(interval: Interval) -> Figure:
    return Figure(interval.value, interval.low, interval.high)
