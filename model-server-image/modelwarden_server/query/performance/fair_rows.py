"""Groups counted from rows, for questions that sums cannot answer: another attribute, a filter, part of a
slice. Bounded batches, bounded time; the same counts as sums would give. Must not write.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modelwarden.resources.attributes import ValueType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.fairness.comparison import MISSING, OTHER
from modelwarden_server.analysis.fairness.outcomes import Outcomes
from modelwarden_server.analysis.mitigation.counting import most_frequent
from modelwarden_server.analysis.performance.groups import GroupRule, group_rules
from modelwarden_server.analysis.performance.outcome import Outcome
from modelwarden_server.query.request import QueryError
from modelwarden_server.query.scan import Rows

_NAMED = frozenset({ValueType.STRING, ValueType.BOOLEAN})


@dataclass(frozen=True)
class RowGroups:
    """The groups of one attribute as rows tell them. `rows` can be read again and again."""

    attribute: ResolvedAttribute
    outcome: Outcome
    threshold: float
    rows: Rows

    def counted(self) -> dict[str, Outcomes]:
        """The groups that have rows, the most frequent values first; the threshold need not be on the grid.

        Raises QueryError, QueryTooLargeError.
        """
        rule = self._rule()
        if rule is None:
            return {}
        names = (*rule.names, OTHER, MISSING)
        counts = np.zeros((6, len(names)), dtype=np.int64)
        columns = [*self.outcome.predictions, *self.outcome.truth_columns, self.attribute.name]
        for batch in self.rows.batches(list(dict.fromkeys(columns))):
            self._add(counts, batch, rule, len(names))
        found = {name: Outcomes(*(int(v) for v in counts[:, place])) for place, name in enumerate(names)}
        return {name: outcomes for name, outcomes in found.items() if outcomes.rows}

    def _add(self, counts: np.ndarray, batch: pa.RecordBatch, rule: GroupRule, size: int) -> None:
        scores = self.outcome.scores(batch)[:, 0]
        labels = self.outcome.labels(batch)
        groups = rule.encode(batch.column(batch.schema.get_field_index(self.attribute.name)))
        known, chosen = ~np.isnan(scores), scores >= self.threshold
        # Of two classes label 0 is the positive one.
        positive, negative = labels == 0, labels == 1
        kinds = (
            known,
            known & chosen,
            known & chosen & positive,
            known & chosen & negative,
            known & ~chosen & negative,
            known & ~chosen & positive,
        )
        for place, kind in enumerate(kinds):
            counts[place] += np.bincount(groups[kind], minlength=size)

    def _rule(self) -> GroupRule | None:
        """The attribute's groups as they are declared, else its most frequent values among the rows."""
        attribute = self.attribute
        monitored = attribute.model_copy(update={"monitor_for_bias": True})
        found = group_rules([monitored], {})
        if found:
            return found[0]
        if attribute.value_type not in _NAMED and not attribute.categorical:
            raise QueryError(
                f"attribute: {attribute.name} is {attribute.value_type} without bins or categories: it"
                " makes no groups"
            )
        values = most_frequent(batch.column(0) for batch in self.rows.batches([attribute.name]))
        return GroupRule(attribute.name, values=values) if values else None
