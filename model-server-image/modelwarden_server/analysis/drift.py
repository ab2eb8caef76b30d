"""Drift of features between a reference and a window: a score, whether it is chance, and whether to raise a
flag.

A flag needs both: significance at the window's real number of rows after Benjamini and Hochberg's correction
for the number of features, and an effect above a threshold. The threshold is learnt: what two samples of the
reference differ by at these numbers of rows, at a level that makes a false flag anywhere in the model rarer
than `CHANCE` of windows (`nullband`), and never less than a difference worth telling (`WORTH_TELLING`). A
threshold that a person sets is used instead where it is higher than chance. What the reference does by
itself over time is no drift (`season`). Apart from that, a part of the rows that stands where the reference
has next to none is a flag too (`surplus`): it moves no quantile. Under the least number of rows there is no
flag and no "fine": there is no answer. See `significance` for the tests, `distances` for the scores,
`buckets` for what is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

import numpy as np

from modelwarden_server.analysis.distances import Counts, Metric, distance
from modelwarden_server.analysis.nullband import Question, chance_distance, rounded_down
from modelwarden_server.analysis.significance import discoveries, homogeneity_p, smirnov_p

HYPOTHESIS_TEST = "HypothesisTest"
DECILES = 10
CHANCE: Final = 0.0005
"""The share of windows without drift in which any feature's score may pass its learnt threshold. Far below
the 1 % of false alarms that a model may raise: all windows share one reference, and where that is an unlucky
sample, their errors come together.
"""
WORTH_TELLING: Final = {
    "PSI": 0.05,
    "KLDivergence": 0.025,
    "JSDivergence": 0.00625,
    "HellingerDistance": 0.11,
}
"""The smallest difference that is told: that of a quarter of a standard deviation between two normals, in the
terms of each metric (near equality KL is half, JS an eighth of PSI, and Hellinger's square a quarter)."""

_REMEMBERED: Final = 20_000
Learnt = dict[tuple[str, bytes, int, float], float]


class WindowState(StrEnum):
    """What can be said of a window."""

    OK = "Ok"
    INSUFFICIENT_DATA = "InsufficientData"
    NO_REFERENCE = "NoReference"


@dataclass(frozen=True)
class DriftRule:
    """When a feature counts as drifted."""

    metric: str
    threshold: float | None
    """None: learnt from the reference alone."""
    minimum_rows: int
    false_discovery_rate: float
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of single attributes, which win over `threshold`."""

    def threshold_of(self, name: str) -> float | None:
        """The threshold that a person has set for an attribute."""
        return self.thresholds.get(name, self.threshold)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature's counts by bucket, on both sides, as they are to be compared; `n` rows of the window are
    behind `target`, which may count for fewer (see `season`).
    """

    name: str
    stage: str
    base: Counts
    target: Counts
    ordered: bool
    n: int | None = None


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """One feature's answer. `score` is None if one side has no value; `p_value` if the feature was not
    tested.
    """

    name: str
    stage: str
    score: float | None
    threshold: float
    p_value: float | None
    n: int
    drifted: bool


def score(metric: str, comparison: Comparison) -> float | None:
    """The metric of one comparison; None if one side has no value. Raises ValueError for an unknown metric.

    HypothesisTest is -log10(p): χ² for categories, Kolmogorov-Smirnov for numbers; larger is more drift.
    """
    if metric != HYPOTHESIS_TEST:
        return distance(Metric(metric), comparison.base, comparison.target)
    if comparison.ordered:
        p = smirnov_p(comparison.base, comparison.target)
    else:
        p = homogeneity_p(comparison.base, comparison.target, ordered=False)
    # The smallest double stands for a p that is too small to write down.
    return None if p is None else float(-np.log10(max(p, np.finfo(np.float64).tiny))) + 0.0


@dataclass(frozen=True)
class Judge:
    """Scores features against one reference, and remembers the thresholds it has learnt."""

    learnt: Learnt = field(default_factory=dict)

    def judge(self, comparisons: Sequence[Comparison], rule: DriftRule) -> tuple[FeatureDrift, ...]:
        """Score every feature and flag the drifted ones. A feature under the least number of rows is not
        tested.
        """
        level = CHANCE / max(1, len(comparisons))
        features = [self._scored(comparison, rule, level) for comparison in comparisons]
        tested = [place for place, feature in enumerate(features) if feature.p_value is not None]
        found = discoveries([features[place].p_value or 0.0 for place in tested], rule.false_discovery_rate)
        for place, significant in zip(tested, found, strict=True):
            feature = features[place]
            effect = feature.score is not None and feature.score > feature.threshold
            features[place] = replace(feature, drifted=significant and effect)
        return tuple(features)

    def _scored(self, comparison: Comparison, rule: DriftRule, level: float) -> FeatureDrift:
        base, target, p = comparison.base, comparison.target, None
        n = int(target.sum()) if comparison.n is None else comparison.n
        if n >= rule.minimum_rows:
            p = homogeneity_p(base, target, comparison.ordered)
        return FeatureDrift(
            name=comparison.name,
            stage=comparison.stage,
            score=score(rule.metric, comparison),
            threshold=self.threshold(comparison.name, base, float(target.sum()), rule, level),
            p_value=p,
            n=n,
            drifted=False,
        )

    def threshold(self, name: str, base: Counts, n: float, rule: DriftRule, level: float) -> float:
        """The score from which on a window of n rows differs from `base`: chance at `level` and what is worth
        telling, or what a person has set if that is more than chance.
        """
        declared = rule.threshold_of(name)
        if rule.metric == HYPOTHESIS_TEST:
            return declared if declared is not None else float(-np.log10(level))
        rows = rounded_down(n)
        total = max(1.0, float(base.sum()))
        # Chance depends on the shares but weakly: neighbouring places of a season share a threshold.
        shape = np.append(np.round(np.asarray(base, dtype=np.float64) / total, 2), rounded_down(total))
        asked = (rule.metric, shape.tobytes(), rows, level)
        if asked not in self.learnt:
            if len(self.learnt) > _REMEMBERED:
                self.learnt.clear()
            question = Question(Metric(rule.metric), np.asarray(base, dtype=np.float64), rows)
            self.learnt[asked] = chance_distance(question, level) if rows else 0.0
        return max(self.learnt[asked], WORTH_TELLING[rule.metric] if declared is None else declared)


def judge(comparisons: Sequence[Comparison], rule: DriftRule) -> tuple[FeatureDrift, ...]:
    """As `Judge.judge`, by one that remembers nothing."""
    return Judge().judge(comparisons, rule)
