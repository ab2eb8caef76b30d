"""All metrics of one population in one window, from its sums. Pure."""

from collections.abc import Sequence

from modelwarden_server.analysis.partials import Integers
from modelwarden_server.analysis.performance.blocks import (
    BRIER,
    LOSS,
    BinaryBlock,
    Block,
    MulticlassBlock,
    RegressionBlock,
)
from modelwarden_server.analysis.performance.classification import (
    LossSums,
    calibration,
    losses,
    of_all_classes,
    ranking,
    rates,
)
from modelwarden_server.analysis.performance.confusion import BinaryConfusion, Confusion
from modelwarden_server.analysis.performance.fixed_point import BRIER_BITS, LOSS_BITS
from modelwarden_server.analysis.performance.intervals import LEAST_ROWS, Value, around, nothing
from modelwarden_server.analysis.performance.label_block import MultilabelBlock
from modelwarden_server.analysis.performance.list_blocks import RankedBlock, TokenBlock
from modelwarden_server.analysis.performance.list_metrics import USUAL_K, ranked_metrics, token_metrics
from modelwarden_server.analysis.performance.regression import ErrorSums, errors

LABEL_METRICS = ("accuracy", "precision", "recall", "f1", "auc")
FRACTIONS = {"log_loss": (LOSS, LOSS_BITS), "brier": (BRIER, BRIER_BITS)}


def metrics_of(block: Block, counts: Integers, classes: Sequence[str], threshold: float) -> list[Value]:
    """Of two classes the positive one's rates at that threshold (an edge, else ValueError), AUC, losses and
    calibration error; of several the macro averages and losses; of a number its errors; of several
    labels scores of each; of ranked lists scores at USUAL_K.
    """
    if isinstance(block, BinaryBlock):
        found = block.counts(counts)
        at = confusion_at(block, counts, threshold)
        sums = LossSums(*(int(counts[code]) / 2**bits for code, bits in FRACTIONS.values()))
        return [*rates(at), ranking(found), *losses(sums, found), calibration(found)[1]]
    if isinstance(block, MulticlassBlock):
        confusion = Confusion(tuple(classes), block.confusion(counts))
        means = [_mean(name, counts, confusion.labelled) for name in FRACTIONS]
        return [*of_all_classes(confusion), *(means if block.scored else [])]
    if isinstance(block, RegressionBlock):
        return errors(ErrorSums.of(block, counts))
    if isinstance(block, MultilabelBlock):
        return metrics_of_labels(block, counts, classes, threshold)
    if isinstance(block, RankedBlock):
        return ranked_metrics(block, counts, USUAL_K)
    return token_metrics(block, counts) if isinstance(block, TokenBlock) else []


def metrics_of_labels(
    block: MultilabelBlock, counts: Integers, classes: Sequence[str], threshold: float
) -> list[Value]:
    """Of several labels the mean accuracy, and of each the metrics in LABEL_METRICS."""
    each = [metrics_of(block.one, block.block_of(counts, at), (), threshold) for at in range(block.labels)]
    told = [
        value.named(f"{value.metric}[{name}]")
        for name, values in zip(classes, each, strict=True)
        for value in sorted(
            (v for v in values if v.metric in LABEL_METRICS), key=lambda v: LABEL_METRICS.index(v.metric)
        )
    ]
    return [mean_of_labels([values[0] for values in each]), *told]


def mean_of_labels(values: Sequence[Value]) -> Value:
    """The mean of one metric over labels. Labels of a row go together, nobody knows how far: the error is as
    large as if they were all the same.
    """
    known = [v for v in values if v.value is not None and v.error is not None]
    if len(known) < len(values):
        return next(v for v in values if v.value is None or v.error is None)
    value = sum(v.value or 0.0 for v in known) / len(known)
    error = sum(v.error or 0.0 for v in known) / len(known)
    return around(values[0].metric, value, error, min(v.n for v in known), (0.0, 1.0))


def metrics_of_class(
    block: MulticlassBlock, counts: Integers, classes: Sequence[str], place: int
) -> list[Value]:
    """Of one of several classes against the rest: rates of the greatest score, and AUC where scores are
    counted.
    """
    confusion = Confusion(tuple(classes), block.confusion(counts))
    found = rates(confusion.of(classes[place]))
    scored = block.counts(counts, place)
    return found if scored is None else [*found, ranking(scored)]


def confusion_at(block: BinaryBlock, counts: Integers, threshold: float) -> BinaryConfusion:
    """The four counts at an edge of the grid. Raises ValueError for another threshold."""
    _, tp, fp = block.above(counts, threshold)
    _, positives, negatives = block.above(counts, 0.0)
    return BinaryConfusion(tp, fp, negatives - fp, positives - tp)


def labelled_of(block: Block, counts: Integers) -> int:
    """Rows that have a prediction and a label."""
    if isinstance(block, BinaryBlock):
        return block.counts(counts).labelled
    if isinstance(block, RegressionBlock):
        return int(counts[block.LABELLED])
    if isinstance(block, MultilabelBlock | RankedBlock):
        return int(counts[block.LABELLED])
    return int(block.confusion(counts).sum()) if isinstance(block, MulticlassBlock) else 0


def _mean(name: str, counts: Integers, n: int) -> Value:
    code, bits = FRACTIONS[name]
    return (
        Value(name, int(counts[code]) / 2**bits / n, n)
        if n >= LEAST_ROWS
        else nothing(name, n, f"n={n} < {LEAST_ROWS}")
    )
