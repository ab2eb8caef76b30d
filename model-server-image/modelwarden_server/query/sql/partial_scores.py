"""Scores of models over windows of time, from sums of outcomes: what the rows would give, without reading
them.

That is so for the rates of a model of two classes at a threshold of the grid (0, 0.001 … 1) or the model's
own, and (to seven digits) for RMSE, MAE and R² of a regression and for scores of ranked lists at k up to 20
and MRR; over whole slices of five minutes, by hour,
day, month and year or over all. AUC is left to the rows, which tell it exactly.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import BinaryBlock, Block, RegressionBlock
from modelwarden_server.analysis.performance.confusion import BinaryConfusion
from modelwarden_server.analysis.performance.list_blocks import Moments, RankedBlock
from modelwarden_server.analysis.performance.list_columns import MAX_PLACES
from modelwarden_server.analysis.performance.metrics import confusion_at
from modelwarden_server.analysis.performance.outcome import Outcome
from modelwarden_server.analysis.performance.regression import ErrorSums
from modelwarden_server.query.sql.kinds import instant_text
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.query.sql.partial_counts import bounded, in_order, period_of, periods, span_of
from modelwarden_server.query.sql.request import Call, Item, Query

Score = Callable[[Integers], Any]
_BLOCKS = (BinaryBlock, RegressionBlock, RankedBlock)
_RANKED: Final = {"precisionAtK": "precision", "recallAtK": "recall", "mapAtK": "map", "nDCGAtK": "ndcg"}
_MRR: Final = "meanReciprocalRank"


class _LeftToRowsError(Exception):
    """There are rows among them that did not fit into the sums."""


class Scored(Protocol):
    """Sums of outcomes, as far as scores need them."""

    @property
    def outcome(self) -> Outcome:
        """What is predicted."""
        ...

    @property
    def block(self) -> Block:
        """What is counted of everybody."""
        ...

    def days(self) -> list[int]:
        """Days since 1970 that have rows, ascending."""
        ...

    def everybody(self, start: int, end: int) -> Integers:
        """The block of everybody in the slices [start, end)."""
        ...


@dataclass(frozen=True)
class _Wanted:
    name: str
    score: Score


def score_by_sums(
    query: Query, model: QueriedModel, scored: Callable[[], Scored | None]
) -> list[dict[str, Any]] | None:
    """The rows of the answer, or None if only the rows of the table can tell."""
    named = {item.what.function for item in query.select if isinstance(item.what, Call)}
    if model.is_batch or not named & {*_BINARY, *_REGRESSION, *_RANKED, _MRR}:
        return None
    span, period = span_of(query), period_of(query)
    if span is None or period is None:
        return None
    sums = scored()
    if sums is None or not isinstance(sums.block, _BLOCKS):
        return None
    time_name, interval = period
    items = [item for item in query.select if item.name != time_name]
    wanted = [_wanted(item, model, sums) for item in items]
    known = [one for one in wanted if one is not None]
    if len(known) < len(wanted) or len({item.name for item in query.select}) < len(query.select):
        return None
    rows = []
    for start, low, high in periods(sums.days(), span, interval):
        totals = sums.everybody(low, high)
        if time_name is not None and not totals[0]:
            continue
        try:
            values: dict[str, Any] = {one.name: one.score(totals) for one in known}
        except _LeftToRowsError:
            return None
        if time_name is not None:
            values[time_name] = instant_text(start)
        rows.append(in_order(query, values))
    return bounded(query, rows)


def _wanted(item: Item, model: QueriedModel, sums: Scored) -> _Wanted | None:
    if not isinstance(item.what, Call):
        return None
    given, outcome, block = dict(item.what.parameters), sums.outcome, sums.block
    if item.what.function == "count" and not given:
        return _Wanted(item.name, lambda totals: int(totals[0]))
    if given.pop("predicted_property", None) not in (None, outcome.predictions[0]):
        return None
    truth = given.pop("ground_truth_property", None)
    if truth not in (None, outcome.truths[0].column):
        return None
    if isinstance(block, RankedBlock):
        return _ranked(item, block, given)
    threshold = given.pop("threshold", None)
    if given:
        return None
    if isinstance(block, RegressionBlock) and item.what.function in _REGRESSION:
        function = _REGRESSION[item.what.function]
        return _Wanted(item.name, lambda totals: function(_errors(block, totals)))
    if not isinstance(block, BinaryBlock) or item.what.function not in _BINARY:
        return None
    return _binary(item, block, model.threshold if threshold is None else threshold)


def _errors(block: RegressionBlock, totals: Integers) -> ErrorSums:
    found = ErrorSums.of(block, totals)
    if found.saturated or not (math.isfinite(found.squared) and math.isfinite(found.spread)):
        raise _LeftToRowsError
    return found


def _ranked(item: Item, block: RankedBlock, given: dict[str, Any]) -> _Wanted | None:
    assert isinstance(item.what, Call)
    k, name = given.pop("k", None), item.what.function
    if given or name not in {*_RANKED, _MRR}:
        return None
    if name == _MRR:
        return None if k is not None else _Wanted(item.name, lambda totals: _mean_rank(block, totals))
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_PLACES:
        return None
    return _Wanted(item.name, lambda totals: _mean_of(block, totals, block.at_k(totals, _RANKED[name], k)))


def _mean_rank(block: RankedBlock, totals: Integers) -> float | None:
    if totals[block.LATE]:
        raise _LeftToRowsError
    return _mean_of(block, totals, block.rank(totals))


def _mean_of(block: RankedBlock, totals: Integers, moments: Moments) -> float | None:
    if totals[block.TOO_MANY]:
        raise _LeftToRowsError
    return moments.total / moments.n if moments.n else None


def _binary(item: Item, block: BinaryBlock, threshold: Any) -> _Wanted | None:
    assert isinstance(item.what, Call)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        return None
    try:
        block.cell_of(float(threshold))
    except ValueError:
        return None
    rate = _BINARY[item.what.function]
    return _Wanted(item.name, lambda totals: rate(confusion_at(block, totals, float(threshold))))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _recall(c: BinaryConfusion) -> float | None:
    return _share(c.tp, c.tp + c.fn)


def _specificity(c: BinaryConfusion) -> float | None:
    return _share(c.tn, c.tn + c.fp)


def _balanced(c: BinaryConfusion) -> float | None:
    one, other = _recall(c), _specificity(c)
    return None if one is None or other is None else (one + other) / 2


def _matrix(c: BinaryConfusion) -> dict[str, int]:
    return {"true_positive": c.tp, "false_positive": c.fp, "true_negative": c.tn, "false_negative": c.fn}


def _rates(c: BinaryConfusion) -> dict[str, float | None]:
    return {
        "true_positive_rate": _recall(c),
        "false_positive_rate": _share(c.fp, c.fp + c.tn),
        "true_negative_rate": _specificity(c),
        "false_negative_rate": _share(c.fn, c.tp + c.fn),
        "accuracy_rate": _share(c.tp + c.tn, c.labelled),
        "balanced_accuracy_rate": _balanced(c),
        "precision": _share(c.tp, c.tp + c.fp),
        "f1": _share(2 * c.tp, 2 * c.tp + c.fp + c.fn),
    }


_BINARY: Final[Mapping[str, Callable[[BinaryConfusion], Any]]] = {
    "confusionMatrix": _matrix,
    "confusionMatrixRate": _rates,
    "truePositiveRate": _recall,
    "recall": _recall,
    "sensitivity": _recall,
    "trueNegativeRate": _specificity,
    "specificity": _specificity,
    "falsePositiveRate": lambda c: _share(c.fp, c.fp + c.tn),
    "falseNegativeRate": lambda c: _share(c.fn, c.tp + c.fn),
    "accuracyRate": lambda c: _share(c.tp + c.tn, c.labelled),
    "balancedAccuracyRate": _balanced,
    "precision": lambda c: _share(c.tp, c.tp + c.fp),
    "f1": lambda c: _share(2 * c.tp, 2 * c.tp + c.fp + c.fn),
}
_REGRESSION: Final[Mapping[str, Callable[[ErrorSums], float | None]]] = {
    "rmse": lambda s: None if not s.n else (s.squared / s.n) ** 0.5,
    "mae": lambda s: None if not s.n else s.absolute / s.n,
    "rSquared": lambda s: None if s.spread <= 0 else 1 - s.squared / s.spread,
}
