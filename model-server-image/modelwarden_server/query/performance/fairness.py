"""How alike a model treats groups of people, as an answer: what is asked, at which threshold, in which words.
Must not know HTTP, nor where counts come from.

The threshold is the model's own, or one of the grid (0, 0.001 … 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from modelwarden_server.analysis.fairness.comparison import (
    MISSING,
    OTHER,
    Compared,
    Fairness,
    FairnessRule,
    GroupFairness,
    Rate,
    Spread,
    compare,
)
from modelwarden_server.analysis.fairness.intervals import Interval
from modelwarden_server.analysis.fairness.outcomes import FairnessMetric, Outcomes, grid_bin, outcomes_from
from modelwarden_server.analysis.partials import SLICE_SECONDS
from modelwarden_server.analysis.performance.confusion import Confusion
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts
from modelwarden_server.query.performance.populations import Population, Populations
from modelwarden_server.query.request import Condition, QueryError

Counts = Mapping[Population, BinaryCounts]
Confusions = Mapping[Population, Confusion]


@dataclass(frozen=True)
class FairnessQuestion:
    """What is asked. Without a batch, `start` (inside) to `end` (outside) in event time; without both the
    newest window. `threshold` None: the model's own.
    """

    attribute: str
    base_group: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    threshold: float | None = None
    batch: str | None = None
    filter: tuple[Condition, ...] = ()

    @property
    def whole_slices(self) -> bool:
        """Whether sums hold the rows that are asked for."""
        times = [t for t in (self.start, self.end) if t is not None]
        return not self.filter and all(t.timestamp() % SLICE_SECONDS == 0 for t in times)


@dataclass(frozen=True)
class Cut:
    """The threshold that rates are at. `exact`: the grid has it; else selection is counted at the nearest one
    of the grid, `place`, and what needs labels exactly.
    """

    threshold: float
    place: int
    exact: bool

    @classmethod
    def of(cls, asked: float | None, own: float) -> "Cut":
        """Raises QueryError for a threshold that is neither the model's nor on the grid."""
        threshold = own if asked is None else asked
        place = grid_bin(threshold)
        if place is not None:
            return cls(threshold, place, exact=True)
        if threshold != own:
            raise QueryError(
                f"threshold: must be the model's own ({own:g}) or a multiple of 0.001 from 0 to 1, not"
                f" {threshold:g}"
            )
        return cls(own, round(min(1.0, max(0.0, own)) * (BINS - 1)), exact=False)


def newest_window(populations: Populations, seconds: int) -> tuple[datetime, datetime] | None:
    """The window that ends with the newest rows; None while there are none."""
    end = populations.newest()
    return None if end is None else (end - timedelta(seconds=seconds), end)


def outcomes_of(attribute: str, counts: Counts, confusions: Confusions, cut: Cut) -> dict[str, Outcomes]:
    """The groups of an attribute at a threshold, in the order in which they are counted."""
    found = {}
    for population, one in counts.items():
        if population.attribute != attribute or population.group is None:
            continue
        outcomes = outcomes_from(one, cut.place)
        if not cut.exact:
            outcomes = _at_own(outcomes, confusions.get(population))
        found[population.group] = outcomes
    return found


def _at_own(nearest: Outcomes, confusion: Confusion | None) -> Outcomes:
    if confusion is None:
        return Outcomes(nearest.rows, nearest.selected, 0, 0, 0, 0)
    exact = confusion.of(confusion.classes[0])
    return Outcomes(nearest.rows, nearest.selected, exact.tp, exact.fp, exact.tn, exact.fn)


def compared(groups: Mapping[str, Outcomes], rule: FairnessRule) -> Fairness:
    """The groups beside each other. Raises QueryError for a base group that there is none of."""
    try:
        return compare(groups, rule)
    except KeyError:
        known = [name for name in groups if name not in (MISSING, OTHER)]
        listed = ", ".join(name[:50] for name in known[:20]) or "there is none with rows"
        raise QueryError(f"base_group: must be one of the groups: {listed}") from None


def described(fairness: Fairness) -> dict[str, Any]:
    """The groups as plain JSON. What is withheld is null and says why."""
    selection = fairness.spreads.get(FairnessMetric.SELECTION_RATE)
    odds, opportunity = fairness.equalized_odds_difference, fairness.spreads.get(FairnessMetric.TPR)
    return {
        "base_group": fairness.base,
        "rows": fairness.everybody.outcomes.rows,
        "labelled": fairness.everybody.outcomes.labelled,
        "overall": _rates(fairness.everybody),
        "groups": [_group(group) for group in fairness.groups],
        "spread": {metric.value: _spread(one) for metric, one in fairness.spreads.items()},
        "demographic_parity_difference": None if selection is None else selection.difference.value,
        "demographic_parity_ratio": _value(None if selection is None else selection.ratio),
        "equal_opportunity_difference": None if opportunity is None else opportunity.difference.value,
        "equalized_odds_difference": odds,
        "equalized_odds_ratio": fairness.equalized_odds_ratio,
        "four_fifths": {
            "verdict": fairness.four_fifths.value,
            "ratio": None if selection is None or selection.ratio is None else _interval(selection.ratio),
            "lowest": None if selection is None else selection.lowest,
            "highest": None if selection is None else selection.highest,
        },
    }


def _group(group: GroupFairness) -> dict[str, Any]:
    return {
        "group": group.name,
        "rows": group.outcomes.rows,
        "labelled": group.outcomes.labelled,
        "is_group": group.name not in (MISSING, OTHER),
        "rates": _rates(group),
        "differences": {metric.value: _compared(one) for metric, one in group.compared.items()},
    }


def _rates(group: GroupFairness) -> dict[str, Any]:
    return {metric.value: _rate(rate) for metric, rate in group.rates.items()}


def _rate(rate: Rate) -> dict[str, Any]:
    if rate.share is None:
        return {"value": None, "n": rate.n, "withheld": rate.withheld}
    return _interval(rate.share) | {"n": rate.n}


def _compared(one: Compared) -> dict[str, Any]:
    return _interval(one.difference) | {
        "ratio": None if one.ratio is None else _interval(one.ratio),
        "p_value": one.p_value,
        "significant": one.significant,
    }


def _spread(one: Spread) -> dict[str, Any]:
    return {
        "lowest": one.lowest,
        "highest": one.highest,
        "difference": _interval(one.difference),
        "ratio": None if one.ratio is None else _interval(one.ratio),
        "significant": one.significant,
    }


def _interval(one: Interval) -> dict[str, float]:
    return {"value": one.value, "low": one.low, "high": one.high}


def _value(one: Interval | None) -> float | None:
    return None if one is None else one.value
