"""Groups beside each other: each against a base group, and the worst two of them.

A rate needs a least number of the rows that it is a share of, else it is withheld, and whatever would follow
from it. Rows without a group are shown and never compared: they are no group of people. Must not choose a
threshold.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelwarden_server.analysis.fairness.intervals import (
    ALPHA,
    Interval,
    newcombe,
    ratio,
    two_shares_p,
    wilson,
)
from modelwarden_server.analysis.fairness.outcomes import NOTHING, FairnessMetric, Outcomes
from modelwarden_server.analysis.significance import discoveries

MISSING, OTHER = "(missing)", "(other)"
LEAST_ROWS = 30
FOUR_FIFTHS = 0.8


class Verdict(StrEnum):
    """What is to be said of the four-fifths rule."""

    HOLDS = "holds"
    FAILS = "fails"
    UNCLEAR = "unclear"
    """The ratio may lie on either side of four fifths: more rows are needed."""
    WITHHELD = "withheld"
    """Fewer than two groups are large enough, or nobody is selected."""


@dataclass(frozen=True, slots=True)
class FairnessRule:
    """How groups are compared. `base`: the group that all others are compared with, else the largest.

    Without `each` only spreads are wanted: testing fifty small groups exactly takes a fifth of a second.
    """

    base: str | None = None
    least_rows: int = LEAST_ROWS
    false_discovery_rate: float = 0.05
    each: bool = True


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of a group's rows: of `n` rows, with Wilson's interval. `share` is None if it is withheld."""

    n: int
    share: Interval | None
    withheld: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """A group's rate against the base group's. `significant`: after Benjamini and Hochberg, over all groups
    and metrics of the attribute.
    """

    difference: Interval
    ratio: Interval | None
    p_value: float
    significant: bool


@dataclass(frozen=True, slots=True)
class GroupFairness:
    """One group. `compared` has what can be compared with the base group; the base group itself has none."""

    name: str
    outcomes: Outcomes
    rates: Mapping[FairnessMetric, Rate]
    compared: Mapping[FairnessMetric, Compared]


@dataclass(frozen=True, slots=True)
class Spread:
    """The two groups that are furthest apart: highest minus lowest rate, and lowest over highest.

    The intervals hold for all pairs of groups at once (Bonferroni), because the pair was chosen for its
    distance. `ratio` is None if the highest rate is 0.
    """

    lowest: str
    highest: str
    difference: Interval
    ratio: Interval | None

    @property
    def significant(self) -> bool:
        """Whether the two groups really differ."""
        return self.difference.low > 0


@dataclass(frozen=True, slots=True)
class Fairness:
    """All groups of one attribute at one threshold. `spreads` lacks metrics of fewer than two groups."""

    base: str | None
    groups: tuple[GroupFairness, ...]
    spreads: Mapping[FairnessMetric, Spread]
    four_fifths: Verdict
    everybody: GroupFairness

    @property
    def equalized_odds_difference(self) -> float | None:
        """The larger of the differences of true and of false positive rates."""
        found = [self.spreads.get(metric) for metric in (FairnessMetric.TPR, FairnessMetric.FPR)]
        return None if None in found else max(one.difference.value for one in found if one is not None)

    @property
    def equalized_odds_ratio(self) -> float | None:
        """The smaller of the ratios of true and of false positive rates."""
        found = [self.spreads.get(metric) for metric in (FairnessMetric.TPR, FairnessMetric.FPR)]
        ratios = [one.ratio for one in found if one is not None and one.ratio is not None]
        return min(one.value for one in ratios) if len(ratios) == len(found) else None


def rate_of(outcomes: Outcomes, metric: FairnessMetric, least_rows: int = LEAST_ROWS) -> Rate:
    """One rate of one group."""
    k, n = outcomes.share(metric)
    if n < max(1, least_rows):
        return Rate(n, None, f"n={n} < {max(1, least_rows)}")
    return Rate(n, wilson(k, n))


def compare(groups: Mapping[str, Outcomes], rule: FairnessRule) -> Fairness:
    """The groups beside each other. Raises KeyError if the rule's base is none of them."""
    people = {name: one for name, one in groups.items() if name not in (MISSING, OTHER)}
    base = rule.base if rule.base is not None else _largest(people)
    if base is not None and base not in people:
        raise KeyError(base)
    rates = {
        name: {metric: rate_of(one, metric, rule.least_rows) for metric in FairnessMetric}
        for name, one in groups.items()
    }
    against = _against(people, rates, base, rule) if rule.each else {}
    total = sum(groups.values(), NOTHING)
    whole = {metric: rate_of(total, metric, rule.least_rows) for metric in FairnessMetric}
    spreads = _spreads(people, rates)
    return Fairness(
        base=base,
        groups=tuple(
            GroupFairness(name, one, rates[name], against.get(name, {})) for name, one in groups.items()
        ),
        spreads=spreads,
        four_fifths=_four_fifths(people, rates, spreads.get(FairnessMetric.SELECTION_RATE)),
        everybody=GroupFairness("", total, whole, {}),
    )


def _largest(people: Mapping[str, Outcomes]) -> str | None:
    return min(people, key=lambda name: (-people[name].rows, name), default=None)


_Rates = Mapping[str, Mapping[FairnessMetric, Rate]]


def _against(
    people: Mapping[str, Outcomes], rates: _Rates, base: str | None, rule: FairnessRule
) -> dict[str, dict[FairnessMetric, Compared]]:
    asked = [
        (name, metric)
        for name in people
        for metric in FairnessMetric
        if base is not None
        and name != base
        and rates[name][metric].share is not None
        and rates[base][metric].share is not None
    ]
    if base is None or not asked:
        return {}
    counts = [(*people[name].share(metric), *people[base].share(metric)) for name, metric in asked]
    p_values = [two_shares_p(*one) for one in counts]
    flags = discoveries(p_values, rule.false_discovery_rate)
    found: dict[str, dict[FairnessMetric, Compared]] = {}
    for (name, metric), one, p, flag in zip(asked, counts, p_values, flags, strict=True):
        found.setdefault(name, {})[metric] = Compared(newcombe(*one), ratio(*one), p, flag)
    return found


def _spreads(people: Mapping[str, Outcomes], rates: _Rates) -> dict[FairnessMetric, Spread]:
    found = {}
    for metric in FairnessMetric:
        known = {name: share for name in people if (share := rates[name][metric].share) is not None}
        if len(known) < 2:
            continue
        lowest = min(known, key=lambda name: (known[name].value, name))
        highest = max((n for n in known if n != lowest), key=lambda name: (known[name].value, name))
        counts = (*people[lowest].share(metric), *people[highest].share(metric))
        (k, n, top_k, top_n), alpha = counts, _pairwise_alpha(len(known))
        found[metric] = Spread(
            lowest, highest, newcombe(top_k, top_n, k, n, alpha), ratio(k, n, top_k, top_n, alpha)
        )
    return found


def _pairwise_alpha(groups: int) -> float:
    return ALPHA / (groups * (groups - 1) // 2)


def _four_fifths(people: Mapping[str, Outcomes], rates: _Rates, spread: Spread | None) -> Verdict:
    """Every group's selection rate against the highest one, with intervals for all pairs at once."""
    if spread is None or spread.ratio is None:
        return Verdict.WITHHELD
    metric = FairnessMetric.SELECTION_RATE
    known = [name for name in people if rates[name][metric].share is not None]
    alpha, top = _pairwise_alpha(len(known)), people[spread.highest].share(metric)
    found = [ratio(*people[name].share(metric), *top, alpha) for name in known if name != spread.highest]
    if any(one is not None and one.high < FOUR_FIFTHS for one in found):
        return Verdict.FAILS
    if all(one is not None and one.low >= FOUR_FIFTHS for one in found):
        return Verdict.HOLDS
    return Verdict.UNCLEAR
