"""Scores of a classifier, over the rows that have a prediction and a label.

Without `Multiclass` in its name a score looks at one predicted probability: positive from `threshold` on (the
model's own if none, or null, is given). With it, a row's predicted class is the one of the greatest
probability, the first by position in a tie, and the score is that of one class against the others.
`accuracyRateMulticlass` without `predicted_property` is the share of all rows whose class is right.

A rate that would divide by nothing is null. AUC is exact: the share of pairs of a positive and a negative row
in the right order, ties counting half (Mann and Whitney).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from modelwarden.resources.attributes import Stage
from modelwarden_server.query.sql.arguments import Arguments
from modelwarden_server.query.sql.expression import (
    NUMERIC,
    Expression,
    Kind,
    aggregated,
    combined,
    number_of,
)
from modelwarden_server.query.sql.model import TRUTHS
from modelwarden_server.query.sql.request import Property
from modelwarden_server.query.sql.values import value_for

_TRUTH_KINDS = NUMERIC | {Kind.TEXT}


@dataclass(frozen=True)
class _Judged:
    """Whether a row is predicted positive and whether it is; null where one of them is not known."""

    predicted: Expression
    actual: Expression

    def cell(self, predicted: bool, actual: bool) -> str:
        said = self.predicted.sql if predicted else f"NOT {self.predicted.sql}"
        true = self.actual.sql if actual else f"NOT {self.actual.sql}"
        return f"count(*) FILTER (WHERE {said} AND {true})"

    @property
    def counts(self) -> dict[str, str]:
        return {
            "TP": self.cell(predicted=True, actual=True),
            "FP": self.cell(predicted=True, actual=False),
            "TN": self.cell(predicted=False, actual=False),
            "FN": self.cell(predicted=False, actual=True),
        }

    def rate(self, formula: str) -> str:
        """A formula over {TP}, {FP}, {TN} and {FN}."""
        return f"({formula.format(**self.counts)})"


_COUNTS: Final = {
    "true_positive": "TP",
    "false_positive": "FP",
    "true_negative": "TN",
    "false_negative": "FN",
}
_RECALL, _SPECIFICITY = "{TP} / nullif({TP} + {FN}, 0)", "{TN} / nullif({FP} + {TN}, 0)"
_SINGLE: Final = {
    "truePositiveRate": _RECALL,
    "falsePositiveRate": "{FP} / nullif({FP} + {TN}, 0)",
    "trueNegativeRate": _SPECIFICITY,
    "falseNegativeRate": "{FN} / nullif({TP} + {FN}, 0)",
    "accuracyRate": "({TP} + {TN}) / nullif({TP} + {FP} + {TN} + {FN}, 0)",
    "balancedAccuracyRate": f"({_RECALL} + {_SPECIFICITY}) / 2",
    "f1": "2 * {TP} / nullif(2 * {TP} + {FP} + {FN}, 0)",
    "precision": "{TP} / nullif({TP} + {FP}, 0)",
    "recall": _RECALL,
    "sensitivity": _RECALL,
    "specificity": _SPECIFICITY,
}


def _binary(arguments: Arguments) -> _Judged:
    name, predicted = _prediction(arguments)
    actual = _truth(arguments, name)
    threshold = arguments.number("threshold", -1e300, 1e300, arguments.level.model.threshold)
    place = arguments.bind(float(threshold))
    return _Judged(combined(f"({number_of(predicted)} >= {place})", Kind.BOOLEAN, predicted), actual)


def _one_class(arguments: Arguments) -> _Judged:
    name, _ = _prediction(arguments)
    arguments.raw("threshold")  # the documented client sends one with every score
    names = [a.name for a in arguments.level.model.predictions]
    if name not in names:
        raise arguments.error("predicted_property", f"{name} is no predicted attribute")
    of_class = f"({_predicted_class(arguments)} = {arguments.bind(names.index(name) + 1)})"
    return _Judged(Expression(of_class, Kind.BOOLEAN), _truth(arguments, name))


def _prediction(arguments: Arguments) -> tuple[str, Expression]:
    named = arguments.level.model.prediction()
    return arguments.property("predicted_property", None if named is None else named.name, NUMERIC)


def _predicted_class(arguments: Arguments) -> str:
    """The place, from 1, of the predicted attribute with the greatest value: a column of its own."""
    names = [a.name for a in arguments.level.model.predictions]
    columns = [arguments.level.expression(Property(name, arguments.path)) for name in names]
    aggregated("", Kind.INTEGER, *columns)  # refuses aggregates before they get into a column
    values = f"[{', '.join(f'CAST({number_of(column)} AS DOUBLE)' for column in columns)}]"
    greatest = f"list_position({values}, list_max({values}))"
    return arguments.level.beside(f"CASE WHEN list_max({values}) IS NOT NULL THEN {greatest} END")


def _truth(arguments: Arguments, prediction: str) -> Expression:
    """Whether the truth is the class of that prediction."""
    model = arguments.level.model
    linked = model.truth_of(prediction)
    name, truth = arguments.property(
        "ground_truth_property", None if linked is None else linked.name, _TRUTH_KINDS
    )
    attribute, predicted = model.by_name.get(name), model.by_name.get(prediction)
    if attribute is not None and attribute.stage is Stage.GROUND_TRUTH_CLASS:
        link = None if predicted is None else predicted.gt_class_link
        if link is None:
            raise arguments.error("ground_truth_property", f"{name} has no class that is {prediction}'s")
        value = arguments.bind(value_for(truth.kind, link, name))
        return combined(f"({truth.sql} = {value})", Kind.BOOLEAN, truth)
    if attribute is not None and attribute.stage not in TRUTHS:
        raise arguments.error("ground_truth_property", f"{name} is {attribute.stage}, no ground truth")
    if truth.kind is Kind.TEXT:
        known = f"CASE lower({truth.sql}) WHEN '1' THEN true WHEN 'true' THEN true"
        return combined(f"({known} WHEN '0' THEN false WHEN 'false' THEN false END)", Kind.BOOLEAN, truth)
    # As with texts: a number that is neither names no class.
    return combined(f"(CASE {number_of(truth)} WHEN 1 THEN true WHEN 0 THEN false END)", Kind.BOOLEAN, truth)


def _counts(judged: Callable[[Arguments], _Judged]) -> Callable[[Arguments], Expression]:
    return _of_counts(judged, lambda counts: {name: counts[word] for name, word in _COUNTS.items()})


def _rates(judged: Callable[[Arguments], _Judged]) -> Callable[[Arguments], Expression]:
    def rates(counts: Mapping[str, int]) -> dict[str, float | None]:
        tp, fp, tn, fn = (counts[word] for word in ("TP", "FP", "TN", "FN"))
        right, wrong = _share(tp, tp + fn), _share(tn, fp + tn)
        return {
            "true_positive_rate": right,
            "false_positive_rate": _share(fp, fp + tn),
            "true_negative_rate": wrong,
            "false_negative_rate": _share(fn, tp + fn),
            "accuracy_rate": _share(tp + tn, tp + fp + tn + fn),
            "balanced_accuracy_rate": None if right is None or wrong is None else (right + wrong) / 2,
            "precision": _share(tp, tp + fp),
            "f1": _share(2 * tp, 2 * tp + fp + fn),
        }

    return _of_counts(judged, rates)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _of_counts(
    judged: Callable[[Arguments], _Judged], shape: Callable[[Mapping[str, int]], dict[str, Any]]
) -> Callable[[Arguments], Expression]:
    """An object made of the four counts when the answer is written: four aggregates, not thirty."""

    def function(arguments: Arguments) -> Expression:
        of = judged(arguments)
        fields = ", ".join(f"'{word}': {count}" for word, count in of.counts.items())
        return aggregated(f"{{{fields}}}", Kind.OBJECT, of.predicted, of.actual, shape=shape)

    return function


def _single(formula: str, judged: Callable[[Arguments], _Judged]) -> Callable[[Arguments], Expression]:
    def function(arguments: Arguments) -> Expression:
        of = judged(arguments)
        return aggregated(of.rate(formula), Kind.NUMBER, of.predicted, of.actual)

    return function


def _accuracy_of_all(arguments: Arguments) -> Expression:
    if arguments.has("predicted_property"):
        return _single(_SINGLE["accuracyRate"], _one_class)(arguments)
    arguments.raw("threshold")
    arguments.raw("ground_truth_property")
    actual = [_truth(arguments, prediction.name) for prediction in arguments.level.model.predictions]
    right = f"[{', '.join(f'CAST({one.sql} AS INTEGER)' for one in actual)}]"
    sql = f"avg(list_extract({right}, {_predicted_class(arguments)}))"
    return aggregated(sql, Kind.NUMBER, *actual)


def _auc(arguments: Arguments) -> Expression:
    name, predicted = _prediction(arguments)
    actual = _truth(arguments, name)
    arguments.raw("threshold")
    aggregated("", Kind.NUMBER, predicted, actual)  # refuses aggregates before they get into a window
    score, positive = number_of(predicted), actual.sql
    scored = f"({score} IS NOT NULL AND {positive} IS NOT NULL)"
    beside = arguments.level.beside
    rank = beside(f"rank() OVER ({{over}}, {scored} ORDER BY {score})")
    ties = beside(f"count(*) OVER ({{over}}, {scored}, {score})")
    positives = f"count(*) FILTER (WHERE {scored} AND {positive})"
    negatives = f"count(*) FILTER (WHERE {scored} AND NOT {positive})"
    ranks = f"sum({rank} + ({ties} - 1) / 2) FILTER (WHERE {scored} AND {positive})"
    above = f"({ranks} - {positives} * ({positives} + 1) / 2)"
    pairs = f"nullif(CAST({positives} AS DOUBLE) * {negatives}, 0)"
    return aggregated(f"({above} / {pairs})", Kind.NUMBER, predicted, actual)


CLASSIFICATION: Final[Mapping[str, Callable[[Arguments], Expression]]] = {
    "confusionMatrix": _counts(_binary),
    "confusionMatrixRate": _rates(_binary),
    "confusionMatrixMulticlass": _counts(_one_class),
    "confusionMatrixRateMulticlass": _rates(_one_class),
    **{name: _single(formula, _binary) for name, formula in _SINGLE.items()},
    **{f"{name}Multiclass": _single(formula, _one_class) for name, formula in _SINGLE.items()},
    "accuracyRateMulticlass": _accuracy_of_all,
    "auc": _auc,
}
