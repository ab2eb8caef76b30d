"""Trains bias mitigation: score, label and groups of the reference, in bounded pieces, into counts; the rest
is analysis.

What no threshold per group can be found for is told in a sentence, never guessed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.fairness.comparison import MISSING, OTHER
from modelwarden_server.analysis.mitigation.counting import HalvedCounts, most_frequent
from modelwarden_server.analysis.mitigation.curves import Constraint
from modelwarden_server.analysis.mitigation.fitting import Fitted, Fitting, fit
from modelwarden_server.analysis.mitigation.result import MOST_ROWS, Manifest, written
from modelwarden_server.analysis.mitigation.split import FITTED, JUDGED, halves
from modelwarden_server.analysis.performance.groups import GroupRule
from modelwarden_server.analysis.performance.outcome import Outcome, Task, outcome_of
from modelwarden_server.analysis.score_grid import score_bins
from modelwarden_server.jobs.training import Tell, TrainingInput, UntrainableError
from modelwarden_server.schema.compiled import EVENT_TIME

_ROWS_AT_ONCE = 65_536
_NEARLY = 1e-6
_MOST_REASONS = 5


def train(given: TrainingInput, tell: Tell) -> Artefact:
    """See Trainer."""
    outcome = outcome_of(given.identity.attributes, given.identity.output_type)
    if outcome is None or outcome.task is not Task.BINARY:
        raise UntrainableError("bias mitigation needs a model that tells two classes apart")
    if given.records > MOST_ROWS:
        raise UntrainableError(f"the reference has {given.records} rows, more than {MOST_ROWS}")
    rules = [_rule(given, spec) for spec in given.inputs["attributes"]]
    counted = _Counted(
        outcome, {rule.attribute: HalvedCounts((*rule.names, OTHER, MISSING)) for rule in rules}
    )
    for number, rows in _pieces(given, outcome, rules):
        counted.add(rows, halves(number, rows.num_rows, given.seed), rules)
        tell("progress", rows=number + rows.num_rows, of=given.records)
    counted.check()
    before = round(min(1.0, max(0.0, float(given.inputs["threshold"]))) * 1000)
    how = Fitting(
        [Constraint(c) for c in given.inputs["constraints"]], before, int(given.inputs["least_rows"])
    )
    results = [(rule, _fitted(counted, rule, how)) for rule in rules]
    _check_any(results)
    attributes, arrays = written(results)
    manifest = Manifest(
        score=outcome.predictions[0],
        positive=outcome.classes[0],
        labels=outcome.truth_columns[0],
        threshold=before / 1000,
        least_rows=how.least_rows,
        rows=counted.rows,
        labelled=counted.labelled,
        attributes=attributes,
        window=counted.window,
    )
    told = msgspec.to_builtins(manifest)
    return given.artefact(told.pop("rows"), told, arrays)


@dataclass
class _Counted:
    """What has been read so far."""

    outcome: Outcome
    groups: Mapping[str, HalvedCounts]
    rows: int = 0
    labelled: int = 0
    positives: int = 0
    outside: int = 0
    times: list[int] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch, half: Any, rules: list[GroupRule]) -> None:
        scores = self.outcome.scores(batch)[:, 0]
        # Of two classes label 0 is the positive one.
        classes = self.outcome.labels(batch)
        labels = np.where(classes == 0, 1, np.where(classes == 1, 0, -1))
        bins = score_bins(scores).astype(np.int64)
        known = bins >= 0
        self.rows += int(known.sum())
        self.labelled += int((known & (labels >= 0)).sum())
        self.positives += int((known & (labels == 1)).sum())
        self.outside += int(((scores < -_NEARLY) | (scores > 1 + _NEARLY)).sum())
        for rule in rules:
            groups = rule.encode(batch.column(batch.schema.get_field_index(rule.attribute)))
            self.groups[rule.attribute].add(half, groups, bins, labels)
        if EVENT_TIME in batch.schema.names:
            ends = pc.min_max(batch.column(batch.schema.get_field_index(EVENT_TIME))).as_py()
            self.times += [_micros(t) for t in ends.values() if t is not None]
            self.times = [min(self.times), max(self.times)] if self.times else []

    @property
    def window(self) -> tuple[str, str] | None:
        """The first and the last event time."""
        if not self.times:
            return None
        first, last = (datetime.fromtimestamp(t / 1e6, UTC).isoformat() for t in self.times)
        return first, last

    def check(self) -> None:
        """Raise UntrainableError if no group can have a curve."""
        score, label = self.outcome.predictions[0], self.outcome.truth_columns[0]
        if not self.rows:
            raise UntrainableError(f"the reference has no row with a value of {score}: send scores with it")
        if self.outside:
            raise UntrainableError(
                f"{score} is no probability: {self.outside} of {self.rows} scores of the reference lie"
                " outside of 0 to 1"
            )
        if not self.labelled:
            raise UntrainableError(f"the reference has no row with a score and a label ({label}): add labels")
        if self.positives in (0, self.labelled):
            only = "positive" if self.positives else "negative"
            raise UntrainableError(
                f"all {self.labelled} labelled rows of the reference are {only}: thresholds need both classes"
            )


def _rule(given: TrainingInput, spec: Mapping[str, Any]) -> GroupRule:
    name = str(spec["name"])
    if spec["ranges"]:
        bounds = (
            (-np.inf if low is None else float(low), np.inf if high is None else float(high))
            for low, high in spec["ranges"]
        )
        return GroupRule(name, ranges=tuple(bounds))
    values = tuple(spec["values"]) or most_frequent(
        batch.column(0) for batch in given.reference([name], _ROWS_AT_ONCE)
    )
    if not values:
        raise UntrainableError(
            f"{name} has no value in any row of the reference: there are no groups to compare"
        )
    return GroupRule(name, values=values)


def _pieces(
    given: TrainingInput, outcome: Outcome, rules: list[GroupRule]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    names = [*outcome.predictions, *outcome.truth_columns, *(rule.attribute for rule in rules), EVENT_TIME]
    number = 0
    for batch in given.reference(list(dict.fromkeys(names)), _ROWS_AT_ONCE):
        yield number, batch
        number += batch.num_rows


def _fitted(counted: _Counted, rule: GroupRule, how: Fitting) -> tuple[Fitted, ...]:
    groups = counted.groups[rule.attribute]
    return fit(groups.half(FITTED), groups.half(JUDGED), how)


def _check_any(results: list[tuple[GroupRule, tuple[Fitted, ...]]]) -> None:
    """Raise UntrainableError if there is no curve at all."""
    if any(one.curves for _, fitted in results for one in fitted):
        return
    reasons = []
    for rule, fitted in results:
        # By number, not by name: the sentence goes where values of rows must not.
        left_out = {group: why for one in fitted for group, why in one.left_out.items()}
        told = Counter(why for group, why in left_out.items() if group not in (OTHER, MISSING))
        ranked = sorted(told.items(), key=lambda one: (-one[1], one[0]))[:_MOST_REASONS]
        listed = "; ".join(
            f"{'one group' if n == 1 else f'{n} groups, each of which'} {why}" for why, n in ranked
        )
        reasons.append(f"{rule.attribute}: {listed or 'no listed group has a row with a score'}")
    raise UntrainableError(
        "there are no two groups to make alike (half of the reference's rows are kept for judging). "
        + ". ".join(reasons)
    )


def _micros(time: datetime) -> int:
    return round(time.timestamp() * 1e6)
