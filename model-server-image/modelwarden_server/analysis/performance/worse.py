"""Has the model got worse? One window beside the reference, by its labels or by an estimate. Pure.

A metric is worse if it is so by more than chance (both sides are samples; a level of LEVEL for all metrics of
everybody together, Benjamini and Hochberg's rate for the groups) and by more than a floor that is worth
telling. Of two classes: accuracy, AUC and Brier score, from labels weighted like all rows of their scores
(`missing_labels`); of several: accuracy and macro recall; of a number: MAE; of several labels at once: their
mean accuracy and that of each; of ranked lists: nDCG at 10 and MRR. Groups and segments: the first of these,
against the same group in the reference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import (
    BinaryBlock,
    Block,
    MulticlassBlock,
    RegressionBlock,
)
from modelwarden_server.analysis.performance.classification import MIDDLES, of_all_classes, recall_of
from modelwarden_server.analysis.performance.confusion import Confusion
from modelwarden_server.analysis.performance.estimate import LOWER_IS_BETTER
from modelwarden_server.analysis.performance.intervals import Value, area, around, nothing, share
from modelwarden_server.analysis.performance.label_block import MultilabelBlock
from modelwarden_server.analysis.performance.list_blocks import RankedBlock
from modelwarden_server.analysis.performance.list_metrics import USUAL_K, ranked_metrics
from modelwarden_server.analysis.performance.metrics import mean_of_labels
from modelwarden_server.analysis.performance.missing_labels import MOST_UNKNOWN, weighted
from modelwarden_server.analysis.performance.regression import ErrorSums, errors
from modelwarden_server.analysis.significance import discoveries

Floats = npt.NDArray[np.float64]
LEVEL: Final = 0.0003
GROUP_RATE: Final = 0.0005
FLOORS: Final[Mapping[str, float]] = {"accuracy": 0.03, "auc": 0.03, "brier": 0.02, "recall": 0.04} | {
    "ndcg_at_10": 0.03,
    "mrr": 0.03,
}
"""The least change worth telling."""
RELATIVE_FLOOR: Final = 0.1
"""Of other metrics: this share of the baseline."""
GROUP_FACTOR: Final = 2.0
"""A group's change must be so many times the floor: there are many groups."""


@dataclass(frozen=True)
class Compared:
    """A metric beside the reference's. `p_value` is one-sided: that it is no worse."""

    value: Value
    baseline: Value | None
    p_value: float | None = None
    worse: bool = False


@dataclass(frozen=True, eq=False)
class Measured:
    """One population in one window: what its block counts."""

    block: Block
    counts: Integers
    threshold_bin: int = 0
    classes: tuple[str, ...] = ()
    recalled: tuple[int, ...] | None = None
    """Of several classes those whose recall counts; None: those that have labelled rows."""


def judged_values(of: Measured, least: int) -> list[Value]:
    """The metrics that a verdict looks at; the first is the one to show. Withheld under `least` labels."""
    if isinstance(of.block, BinaryBlock):
        return _binary(of.block, of.counts, of.threshold_bin, least)
    if isinstance(of.block, MulticlassBlock):
        table = of.block.confusion(of.counts)
        n = int(table.sum())
        if n < least:
            return [nothing(metric, n, f"n={n} < {least}") for metric in ("accuracy", "recall")]
        names = tuple(map(str, range(of.block.classes)))
        confusion = Confusion(names, table)
        found = [v for v in of_all_classes(confusion) if v.metric in ("accuracy", "recall")]
        return found if of.recalled is None else [found[0], recall_of(confusion, of.recalled)]
    if isinstance(of.block, RegressionBlock):
        sums = ErrorSums.of(of.block, of.counts)
        if sums.n < least:
            return [nothing("mae", sums.n, f"n={sums.n} < {least}")]
        return [v for v in errors(sums) if v.metric == "mae"]
    if isinstance(of.block, MultilabelBlock):
        each = [
            _binary(of.block.one, of.block.block_of(of.counts, at), of.threshold_bin, least)[0]
            for at in range(of.block.labels)
        ]
        told = [v.named(f"{v.metric}[{name}]") for v, name in zip(each, of.classes, strict=True)]
        return [mean_of_labels(each), *told]
    if isinstance(of.block, RankedBlock):
        judged = (f"ndcg_at_{USUAL_K}", "mrr")
        return [v for v in ranked_metrics(of.block, of.counts, USUAL_K, least) if v.metric in judged]
    return []


def compared(values: Sequence[Value], baselines: Sequence[Value], level: float = LEVEL) -> list[Compared]:
    """Every metric beside the reference's."""
    known = {value.metric: value for value in baselines}
    each = level / max(1, len(values))
    found = []
    for value in values:
        base = known.get(value.metric)
        p, change = difference(value, base)
        worse = p is not None and p < each and change >= floor_of(value.metric, base)
        found.append(Compared(value, base, p, worse))
    return found


def groups_compared(
    values: Mapping[int, Value], baselines: Mapping[int, Value], rate: float = GROUP_RATE
) -> dict[int, Compared]:
    """One metric of every group beside the same group's of the reference, by the groups' places."""
    tested = {}
    for place, value in values.items():
        p, change = difference(value, baselines.get(place))
        if p is not None:
            tested[place] = (p, change)
    flags = discoveries([p for p, _ in tested.values()], rate)
    found = {}
    for (place, (p, change)), flag in zip(tested.items(), flags, strict=True):
        value, base = values[place], baselines[place]
        large = change >= GROUP_FACTOR * floor_of(value.metric, base)
        found[place] = Compared(value, base, p, flag and large)
    return found


def difference(value: Value, base: Value | None) -> tuple[float | None, float]:
    """p of "no worse than the baseline" (normal, both sides sampled), and by how much it is worse."""
    if base is None or None in (value.value, value.error, base.value, base.error):
        return None, 0.0
    assert value.value is not None and value.error is not None  # noqa: PT018 - told to the type checker
    assert base.value is not None and base.error is not None  # noqa: PT018
    change = base.value - value.value
    if value.metric in LOWER_IS_BETTER:
        change = -change
    error = math.hypot(value.error, base.error)
    if error == 0:
        return (0.0 if change > 0 else 1.0), change
    return math.erfc(change / error / math.sqrt(2)) / 2, change


def floor_of(metric: str, base: Value | None) -> float:
    """The least change that is worth telling."""
    known = FLOORS.get(metric.partition("[")[0])  # of one of several labels, that label is named
    if known is not None:
        return known
    return RELATIVE_FLOOR * abs(base.value) if base is not None and base.value is not None else math.inf


def _binary(block: BinaryBlock, totals: Integers, at: int, least: int) -> list[Value]:
    counts = block.counts(totals)
    if counts.labelled < least:
        why = f"n={counts.labelled} < {least}"
        return [nothing(metric, counts.labelled, why) for metric in ("accuracy", "auc", "brier")]
    known = weighted(counts)
    if known.unknown > MOST_UNKNOWN:
        why = f"{100 * known.unknown:.0f} % of the rows have scores of which next to no label is known"
        return [nothing(metric, counts.labelled, why) for metric in ("accuracy", "auc", "brier")]
    right = float(known.positives[at:].sum() + known.negatives[:at].sum())
    found = [
        share("accuracy", right, known.n, least=1),
        area(known.positives, known.negatives, least=1),
        _brier(known.positives, known.negatives),
    ]
    return [Value(v.metric, v.value, counts.labelled, v.lower, v.upper, v.error, v.withheld) for v in found]


def _brier(positives: Floats, negatives: Floats) -> Value:
    n = float(positives.sum() + negatives.sum())
    loss = np.stack([(1 - MIDDLES) ** 2, MIDDLES**2])
    both = np.stack([positives, negatives])
    mean = float((both * loss).sum()) / n
    spread = max(float((both * loss**2).sum()) / n - mean**2, 0.0)
    return around("brier", mean, math.sqrt(spread / n), int(n), (0.0, 1.0))
