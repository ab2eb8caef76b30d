"""The answer to a question about groups: from sums where they hold it exactly, else from the rows; it says
which. Both ways give the same numbers. Must not know HTTP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.fairness.comparison import LEAST_ROWS, FairnessRule
from modelwarden_server.analysis.fairness.outcomes import Outcomes
from modelwarden_server.analysis.performance.outcome import Outcome, Task
from modelwarden_server.query.drift_answer import Sources, rows_of
from modelwarden_server.query.performance.fair_rows import RowGroups
from modelwarden_server.query.performance.fairness import (
    Cut,
    FairnessQuestion,
    compared,
    described,
    newest_window,
    outcomes_of,
)
from modelwarden_server.query.performance.populations import NotCountedError, Populations
from modelwarden_server.query.request import Condition, QueryError, Side
from modelwarden_server.query.scan import Deadline
from modelwarden_server.schema.compiled import BATCH, EVENT_TIME

_NO_SCORE = "fairness is told of models that tell two classes apart by a score"


@dataclass(frozen=True)
class FairnessSources:
    """What there is to ask. `populations` is None while sums are not there, `outcome` for models without."""

    attributes: Mapping[str, ResolvedAttribute]
    outcome: Outcome | None
    populations: Populations | None
    rows: Sources
    threshold: float
    window_seconds: int
    is_batch: bool = False
    least_rows: int = LEAST_ROWS


def answer(question: FairnessQuestion, sources: FairnessSources, deadline: Deadline) -> dict[str, Any]:
    """The groups, each against the base group, and the reference's beside them. Raises QueryError,
    QueryTooLargeError.
    """
    if sources.outcome is None or sources.outcome.task is not Task.BINARY:
        raise QueryError(_NO_SCORE)
    attribute = _attribute(question, sources)
    cut = Cut.of(question.threshold, sources.threshold)
    question = _placed(question, sources)
    groups = _from_sums(question, sources, cut)
    source = "rows" if groups is None else "partials"
    if groups is None:
        side = Side("inference", _conditions(question))
        groups = _from_rows(side, attribute, sources, cut, deadline)
    rule = FairnessRule(question.base_group, sources.least_rows)
    found = compared(groups, rule)
    told = {"attribute": attribute.name, "threshold": cut.threshold, "source": source}
    told |= {} if cut.exact or source == "rows" else {"selection_threshold": cut.place / 1000}
    told |= _window(question) | {"minimum_rows": rule.least_rows} | described(found)
    return told | {"reference": _reference(question, sources, attribute, cut, deadline)}


def _attribute(question: FairnessQuestion, sources: FairnessSources) -> ResolvedAttribute:
    found = sources.attributes.get(question.attribute)
    if found is None or found.implicit or found.name not in sources.rows.inferences.schema.names:
        monitored = [name for name, one in sources.attributes.items() if one.monitor_for_bias]
        listed = ", ".join(monitored[:20]) or "none has monitorForBias"
        raise QueryError(f"attribute: name one that comes with an inference, like one of: {listed}")
    return found


def _placed(question: FairnessQuestion, sources: FairnessSources) -> FairnessQuestion:
    """The question with its window: the one that ends with the newest rows, where it names none."""
    if sources.is_batch and question.batch is None:
        raise QueryError("batch_id: name a batch, the model is sent its rows in batches")
    if question.batch is not None:
        if not sources.is_batch:
            raise QueryError("batch_id: the model has no batches: name start and end")
        if question.start is not None or question.end is not None:
            raise QueryError("batch_id: names rows by itself: leave out start and end")
        return question
    if question.start is not None and question.end is not None:
        if question.start >= question.end:
            raise QueryError("end: must be later than start")
        return question
    known = (
        None if sources.populations is None else newest_window(sources.populations, sources.window_seconds)
    )
    if known is None:
        raise QueryError("start, end: name both, there is no newest window yet")
    start, end = question.start, question.end
    if end is None:
        end = known[1]
    if start is None:
        start = end - (known[1] - known[0])
    if start >= end:
        raise QueryError("start: is later than the newest rows")
    return FairnessQuestion(
        question.attribute, question.base_group, start, end, question.threshold, None, question.filter
    )


def _from_sums(question: FairnessQuestion, sources: FairnessSources, cut: Cut) -> dict[str, Outcomes] | None:
    populations = sources.populations
    if populations is None or not question.whole_slices:
        return None
    if not any(population.attribute == question.attribute for population in populations.all):
        return None
    try:
        if question.batch is not None:
            counts, confusions = populations.batch(question.batch)
        else:
            assert question.start is not None
            assert question.end is not None
            counts = populations.binary(question.start, question.end)
            confusions = {} if cut.exact else populations.confusion(question.start, question.end)
    except NotCountedError:
        return None
    return outcomes_of(question.attribute, counts, confusions, cut)


def _from_rows(
    side: Side, attribute: ResolvedAttribute, sources: FairnessSources, cut: Cut, deadline: Deadline
) -> dict[str, Outcomes]:
    assert sources.outcome is not None
    rows = rows_of(side, sources.rows, deadline, side.source)
    return RowGroups(attribute, sources.outcome, cut.threshold, rows).counted()


def _reference(
    question: FairnessQuestion,
    sources: FairnessSources,
    attribute: ResolvedAttribute,
    cut: Cut,
    deadline: Deadline,
) -> dict[str, Any] | None:
    """The same of the reference, against the same base group if the reference has it; None without one."""
    groups: dict[str, Outcomes] = {}
    if sources.populations is not None and not question.filter:
        counts = sources.populations.reference()
        confusions = {} if cut.exact else sources.populations.reference_confusion()
        groups = outcomes_of(attribute.name, counts, confusions, cut)
    if not groups:
        if sources.rows.reference is None:
            return None
        side = Side("reference", question.filter)
        groups = _from_rows(side, attribute, sources, cut, deadline)
    base = question.base_group if question.base_group in groups else None
    return described(compared(groups, FairnessRule(base, sources.least_rows)))


def _conditions(question: FairnessQuestion) -> tuple[Condition, ...]:
    if question.batch is not None:
        return (*question.filter, Condition(BATCH, "eq", question.batch))
    assert question.start is not None
    assert question.end is not None
    return (
        *question.filter,
        Condition(EVENT_TIME, "gte", question.start.isoformat()),
        Condition(EVENT_TIME, "lt", question.end.isoformat()),
    )


def _window(question: FairnessQuestion) -> dict[str, Any]:
    if question.batch is not None:
        return {"batch_id": question.batch}
    return {"start": _text(question.start), "end": _text(question.end)}


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")
