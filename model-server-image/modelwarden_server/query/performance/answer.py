"""The answer to a question about performance: from sums where they hold it, else from the rows; it says
which. Both ways count by the same code. Must not know HTTP.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers, merge, total
from modelwarden_server.analysis.performance.blocks import BinaryBlock, Block, MulticlassBlock
from modelwarden_server.analysis.performance.classification import calibration
from modelwarden_server.analysis.performance.groups import group_rules
from modelwarden_server.analysis.performance.intervals import Value
from modelwarden_server.analysis.performance.label_block import MultilabelBlock
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.list_blocks import RankedBlock
from modelwarden_server.analysis.performance.list_columns import MAX_PLACES
from modelwarden_server.analysis.performance.list_metrics import late_rank, ranked_metrics
from modelwarden_server.analysis.performance.metrics import labelled_of, metrics_of, metrics_of_class
from modelwarden_server.analysis.performance.outcome import Task
from modelwarden_server.analysis.performance.verdict import COMPLETE, PerformanceJudge
from modelwarden_server.query.drift_answer import MAX_SCANNED_ROWS, Sources
from modelwarden_server.query.filters import Span
from modelwarden_server.query.performance.question import PerformanceQuestion
from modelwarden_server.query.performance.sums import EPOCH, Sums, binary_counts, confusion_counts
from modelwarden_server.query.periods import periods
from modelwarden_server.query.request import Condition, QueryError
from modelwarden_server.query.rows import SideRows
from modelwarden_server.query.scan import Deadline, Key, RowKeys, check_rows
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME

Told = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A question and where its answer comes from. `window_seconds` is the length of the newest window."""

    question: PerformanceQuestion
    sums: Sums
    sources: Sources
    attributes: Sequence[ResolvedAttribute]
    window_seconds: int
    minimum_rows: int
    deadline: Deadline

    @property
    def threshold(self) -> float:
        """The asked one, else the model's own."""
        return self.sums.threshold if self.question.threshold is None else self.question.threshold


@dataclass(frozen=True)
class _Piece:
    """One window (or batch), its name, and its sums by code."""

    name: Mapping[str, str | None]
    totals: Integers


class LeftToRowsError(Exception):
    """The sums do not hold the answer, and who asks has another way to it."""


def answered_by_sums(asked: Asked) -> Told:
    """The answer of ranked lists, tokens or several labels. Raises LeftToRowsError if only rows tell it."""
    asked = replace(asked, question=bounded(asked))
    _check(asked.question, asked)
    if not _sums_hold(asked):
        raise LeftToRowsError
    return answered(asked)


def answered(asked: Asked) -> Told:
    """The answer as plain JSON. Raises QueryError, QueryTooLargeError."""
    asked = replace(asked, question=bounded(asked))
    question, outcome = asked.question, asked.sums.definition.outcome
    _check(question, asked)
    by_sums = _sums_hold(asked)
    space = asked.sums.space if by_sums else _space_of(asked)
    pieces = _by_sums(asked) if by_sums else _by_rows(asked, space)
    baseline = asked.sums.baseline if by_sums else None
    places = _populations(space, question)
    return {
        "task": outcome.task.value,
        "classes": list(outcome.classes),
        "class": question.class_,
        "threshold": asked.threshold if outcome.task in (Task.BINARY, Task.MULTILABEL) else None,
        "segment": question.segment,
        "attribute": question.attribute,
        **({"k": question.k} if outcome.task is Task.RANKED_LIST else {}),
        "source": "partials" if by_sums else "rows",
        "query_result": [
            {**piece.name, **_window(asked, space, piece.totals, places, baseline)} for piece in pieces
        ],
    }


def bounded(asked: Asked) -> PerformanceQuestion:
    """The question with the newest window in the place of no time at all."""
    question = asked.question
    newest = asked.sums.newest()
    if (
        question.start
        or question.end
        or question.batch
        or question.rollup
        or question.filter
        or newest is None
    ):
        return question
    start = newest - timedelta(seconds=asked.window_seconds)
    return replace(question, start=start, end=newest)


def _check(question: PerformanceQuestion, asked: Asked) -> None:
    classes = asked.sums.classes
    if question.class_ is not None and question.class_ not in classes:
        listed = ", ".join(classes) or "none, for it is a regression"
        raise QueryError(f"class: must be one of the predicted attributes: {listed}")
    names = [a.name for a in asked.attributes]
    if question.attribute is not None and question.attribute not in names:
        raise QueryError(f"attribute: there is no {question.attribute[:100]!r}")
    segments = [s.name for s in asked.sums.definition.segments]
    if question.segment is not None and question.segment not in segments:
        listed = ", ".join(segments) or "there are none in spec.monitoring.segments; use filter"
        raise QueryError(f"segment: must be a declared one: {listed}")
    batches = asked.sums.cube.sources.names is not None
    if (question.batch is not None or question.rollup == "batch_id") and not batches:
        raise QueryError("batch_id: this model has no batches")


def _sums_hold(asked: Asked) -> bool:
    question, sums = asked.question, asked.sums
    block = sums.space.everybody
    if question.filter or not question.whole_slices:
        return False
    if sums.cube.sources.names is not None and question.batch is None and question.rollup != "batch_id":
        return False
    if question.attribute is not None and question.attribute not in {p.attribute for p in sums.all}:
        return False
    if isinstance(block, BinaryBlock | MultilabelBlock):
        try:
            (block if isinstance(block, BinaryBlock) else block.one).cell_of(asked.threshold)
        except ValueError:
            return False
    return not isinstance(block, RankedBlock) or question.k <= MAX_PLACES


def _by_sums(asked: Asked) -> Iterator[_Piece]:
    question, cube = asked.question, asked.sums.cube
    if cube.sources.names is not None:
        names = [question.batch] if question.batch is not None else cube.sources.names.all()
        for name in names:
            totals = cube.batch(name)
            if totals is not None:
                yield _Piece({"batch_id": name}, totals)
        return
    span = Span(*(None if t is None else _slice(t) for t in (question.start, question.end)))
    for _, low, high in periods(cube.counts.days(), span, question.rollup):
        asked.deadline.check()
        first = low if question.rollup or span.start is None else span.start
        last = high if question.rollup or span.end is None else span.end
        totals = cube.window(low, high)
        if totals[0] or not question.rollup:
            yield _Piece({"start": _text(first), "end": _text(last)}, totals)


def _space_of(asked: Asked) -> OutcomeSpace:
    """What rows are counted as: the threshold and the attribute that are asked for."""
    question, definition = asked.question, asked.sums.definition
    chosen = [a for a in asked.attributes if a.name == question.attribute]
    rules = group_rules([a.model_copy(update={"monitor_for_bias": True}) for a in chosen], {})
    known = [rule for rule in definition.groups if rule.attribute == question.attribute]
    if question.attribute is not None and not (known or rules):
        raise QueryError(
            f"attribute: {question.attribute} declares neither categories nor bins: it makes no groups"
        )
    segments = tuple(s for s in definition.segments if s.name == question.segment)
    groups = tuple(known) or rules
    return OutcomeSpace(Definition(definition.outcome, asked.threshold, groups, segments, definition.scale))


def _by_rows(asked: Asked, space: OutcomeSpace) -> Iterator[_Piece]:
    question, sources = asked.question, asked.sources
    check_rows(sources.inferences.rows, MAX_SCANNED_ROWS)
    conditions = (*question.filter, *_of_time(question))
    rows = SideRows(sources.inferences, sources.labels, {}, conditions, asked.deadline, "performance")
    keys = RowKeys(question.rollup)
    columns = [*space.definition.columns, *space.definition.outcome.truth_columns, *keys.columns]
    parts = []
    for batch in rows.batches(list(dict.fromkeys(columns))):
        places, packed, labels = keys.of(batch), space.packed(batch), space.labels(batch)
        parts += [space.fold_rows(places, packed), space.fold_labels(places, packed, labels)]
        if len(parts) > 16:
            parts = [merge(parts)]
    whole = merge(parts)
    for number, key in sorted(enumerate(keys.keys or [("",)]), key=lambda pair: pair[1][0] or ""):
        at = whole.between(number * space.size, (number + 1) * space.size)
        yield _Piece(_name(question, key), total([at], space.size))


def _of_time(question: PerformanceQuestion) -> Iterator[Condition]:
    if question.start is not None:
        yield Condition(EVENT_TIME, "gte", _text_of(question.start))
    if question.end is not None:
        yield Condition(EVENT_TIME, "lt", _text_of(question.end))
    if question.batch is not None:
        yield Condition(BATCH, "eq", question.batch)


def _name(question: PerformanceQuestion, key: Key) -> dict[str, str | None]:
    if question.rollup == "batch_id" or question.batch is not None:
        return {"batch_id": question.batch or key[0]}
    if question.rollup is not None:
        return {"start": key[0]}
    ends = (None if t is None else _text_of(t) for t in (question.start, question.end))
    return dict(zip(("start", "end"), ends, strict=True))


def _populations(space: OutcomeSpace, question: PerformanceQuestion) -> dict[str, int]:
    """The populations that are told, by name; "" is the one that the answer is about."""
    names, found = space.names(), {"": 0}
    for place, (attribute, _, segment) in enumerate(space.populations):
        if segment is not None and segment == question.segment:
            found[""] = place
        if attribute is not None and attribute == question.attribute:
            found[names[place]] = place
    return found


def _window(
    asked: Asked, space: OutcomeSpace, totals: Integers, places: Mapping[str, int], baseline: Integers | None
) -> Told:
    found = _population(asked, space, totals, places[""], baseline)
    found["estimated"] = _estimated(asked, space, totals, baseline) if places[""] == 0 else None
    if asked.question.attribute is not None:
        found["groups"] = [
            {"group": name, **_population(asked, space, totals, place, baseline)}
            for name, place in places.items()
            if name and space.block_of(place, totals)[0]
        ]
    return found


def _population(
    asked: Asked, space: OutcomeSpace, totals: Integers, place: int, baseline: Integers | None
) -> Told:
    block = space.everybody if place == 0 else space.part
    counts = space.block_of(place, totals)
    rows, labelled = int(counts[0]), labelled_of(block, counts)
    base = {} if baseline is None else {
        v.metric: v for v in _values(asked, block, space.block_of(place, baseline))
    }  # fmt: skip
    if isinstance(block, RankedBlock) and counts[block.TOO_MANY]:
        raise LeftToRowsError
    labels = asked.sums.outcome.truths
    found: Told = {
        "rows": rows,
        "labelled": labelled if labels else None,
        "coverage": labelled / rows if rows and labels else None,
        "provisional": bool(labels) and labelled < COMPLETE * rows,
        "metrics": {v.metric: _told(v, base.get(v.metric)) for v in _values(asked, block, counts)},
    }
    return found | _details(asked, block, counts)


def _values(asked: Asked, block: Block, counts: Integers) -> list[Value]:
    classes, class_ = asked.sums.classes, asked.question.class_
    if class_ is not None and isinstance(block, MulticlassBlock):
        return metrics_of_class(block, counts, classes, classes.index(class_))
    if class_ is not None and isinstance(block, MultilabelBlock):
        values = metrics_of(block.one, block.block_of(counts, classes.index(class_)), (), asked.threshold)
        return [value.named(f"{value.metric}[{class_}]") for value in values]
    if isinstance(block, RankedBlock):
        return ranked_metrics(block, counts, asked.question.k)
    return metrics_of(block, counts, classes, asked.threshold)


def _details(asked: Asked, block: Block, counts: Integers) -> Told:
    """The confusion, and of a class with scores the calibration curve; of ranked lists, by how much MRR may
    be higher.
    """
    if isinstance(block, RankedBlock):
        late = late_rank(block, counts)
        return {"mrr_at_most_higher": late} if late else {}
    if not isinstance(block, BinaryBlock | MulticlassBlock):
        return {}
    classes = asked.sums.classes
    confusion = confusion_counts(block, counts, classes, asked.threshold)
    found: Told = {"confusion": {"classes": list(classes), "predicted_by_true": confusion.counts.tolist()}}
    class_ = asked.question.class_
    scored = binary_counts(block, counts, 0 if class_ is None else classes.index(class_))
    if scored is not None and (isinstance(block, BinaryBlock) or class_ is not None):
        curve, _ = calibration(scored)
        found["calibration"] = [
            {"score": p.score, "positive": p.positive.value, "n": p.positive.n, "lower": p.positive.lower,
             "upper": p.positive.upper}
            for p in curve
        ]  # fmt: skip
    return found


def _estimated(asked: Asked, space: OutcomeSpace, totals: Integers, baseline: Integers | None) -> Told | None:
    judge = PerformanceJudge(space, baseline, asked.threshold, asked.minimum_rows)
    task, classes = asked.sums.definition.outcome.task, asked.sums.classes
    of_all = (None, classes[0]) if task is Task.BINARY else (None,)
    if task not in (Task.BINARY, Task.MULTICLASS) or asked.question.class_ not in of_all:
        return None
    found = judge.by_estimate(totals)
    return {"withheld": found.withheld, "metrics": {v.metric: _told(v, None) for v in found.values}}


def _told(value: Value, base: Value | None) -> Told:
    found: Told = {"value": value.value, "lower": value.lower, "upper": value.upper, "n": value.n}
    for bound in ("lower", "upper"):
        if found[bound] is not None and not math.isfinite(found[bound]):
            found[bound] = None
    if base is not None:
        found["baseline"] = base.value
    return found | ({} if value.withheld is None else {"withheld": value.withheld})


def _slice(at: datetime) -> int:
    return int((at - EPOCH) // timedelta(seconds=SLICE_SECONDS))


def _text(place: int) -> str:
    return _text_of(EPOCH + timedelta(seconds=place * SLICE_SECONDS))


def _text_of(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
