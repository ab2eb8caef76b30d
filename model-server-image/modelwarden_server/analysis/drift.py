"""Drift of features between a reference and a window: a score, whether it is chance, and whether to raise a
flag.

A flag needs both: an effect above the threshold, and significance at the window's real number of rows after
the correction for the number of features. Under the least number of rows there is no flag and no "fine":
there is no answer. See `significance` for the tests, `distances` for the scores, `buckets` for what is
compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from modelwarden_server.analysis.distances import Metric, distance
from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.significance import discoveries, homogeneity_p, smirnov_p

HYPOTHESIS_TEST = "HypothesisTest"
DECILES = 10


class WindowState(StrEnum):
    """What can be said of a window."""

    OK = "Ok"
    INSUFFICIENT_DATA = "InsufficientData"
    NO_REFERENCE = "NoReference"


@dataclass(frozen=True)
class DriftRule:
    """When a feature counts as drifted."""

    metric: str
    threshold: float
    minimum_rows: int
    false_discovery_rate: float
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Thresholds of single attributes, which win over `threshold`."""

    def threshold_of(self, name: str) -> float:
        """The threshold that holds for an attribute."""
        return self.thresholds.get(name, self.threshold)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One feature's counts by bucket, on both sides."""

    name: str
    stage: str
    base: Integers
    target: Integers
    ordered: bool


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


def judge(comparisons: Sequence[Comparison], rule: DriftRule) -> tuple[FeatureDrift, ...]:
    """Score every feature and flag the drifted ones. A feature under the least number of
    rows is not tested.
    """
    features = [_scored(comparison, rule) for comparison in comparisons]
    tested = [place for place, feature in enumerate(features) if feature.p_value is not None]
    found = discoveries([features[place].p_value or 0.0 for place in tested], rule.false_discovery_rate)
    for place, significant in zip(tested, found, strict=True):
        feature = features[place]
        effect = feature.score is not None and feature.score > feature.threshold
        features[place] = replace(feature, drifted=significant and effect)
    return tuple(features)


def _scored(comparison: Comparison, rule: DriftRule) -> FeatureDrift:
    n = int(comparison.target.sum())
    p = None
    if n >= rule.minimum_rows:
        p = homogeneity_p(comparison.base, comparison.target, comparison.ordered)
    return FeatureDrift(
        name=comparison.name,
        stage=comparison.stage,
        score=score(rule.metric, comparison),
        threshold=rule.threshold_of(comparison.name),
        p_value=p,
        n=n,
        drifted=False,
    )
