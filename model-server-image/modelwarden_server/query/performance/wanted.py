"""What is to be counted of a cell, by its identity, its settings and its reference as they are now.

Of the reference: values of attributes that declare none, and the range of a regression's labels. It is read
once a profile. Must not count.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from modelwarden.resources.cell import CellIdentity, CellSettings
from modelwarden_server.analysis.cells import CategoryCells
from modelwarden_server.analysis.performance.fixed_point import Scale
from modelwarden_server.analysis.performance.groups import group_rules, segment_rules
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.outcome import Task, outcome_of, outcome_of_lists
from modelwarden_server.analysis.profile import ReferenceProfile

MAX_CODES: Final = 2_000_000
"""Of a model with very many classes, attributes beyond this are not counted by group: rows tell them."""
MAX_A_ROW: Final = 60
"""Of several labels at once a row counts in a bin of each, for everybody, each attribute and each segment:
attributes beyond this are not counted by group, or sums would be larger than rows.
"""


@dataclass(frozen=True)
class ReferenceFacts:
    """What a definition takes from a profile."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    scale: Scale | None = None


@dataclass
class WantedOutcomes:
    """`profile_hash` names the profile to compare with, None while there is none; `load` gives it."""

    identity: CellIdentity
    stored: frozenset[str]
    settings: Callable[[], CellSettings]
    profile_hash: Callable[[], str | None]
    load: Callable[[str], ReferenceProfile]
    refused: dict[str, str] = field(default_factory=dict)
    """Segments that cannot be counted, and why."""
    _facts: tuple[str | None, ReferenceFacts] = (None, ReferenceFacts())
    _made: tuple[object, Definition | None] | None = None

    def __post_init__(self) -> None:
        known = (self.identity.attributes, self.identity.output_type)
        self.outcome = outcome_of(*known) or outcome_of_lists(*known)

    def definition(self) -> Definition | None:
        """What is to be counted; None for nothing. Raises what `load` raises."""
        if self.outcome is None or not self.stored.issuperset(self.outcome.predictions):
            return None
        facts, settings = self._known(), self.settings()
        asked = (settings.classifier_threshold, settings.monitoring.segments, self._facts[0])
        made = self._made
        if made is None or made[0] != asked:
            made = self._made = (asked, self._define(facts, settings))
        return made[1]

    def _define(self, facts: ReferenceFacts, settings: CellSettings) -> Definition | None:
        outcome = self.outcome
        if outcome is None or (outcome.task is Task.REGRESSION and facts.scale is None):
            return None
        attributes = [a for a in self.identity.attributes if a.name in self.stored]
        segments, self.refused = segment_rules(settings.monitoring.segments, attributes, self.stored)
        groups = group_rules(attributes, facts.values)
        while True:
            found = Definition(outcome, settings.classifier_threshold, groups, segments, facts.scale)
            few = _counts_a_row(found) <= MAX_A_ROW
            if not groups or (few and OutcomeSpace(found).size <= MAX_CODES):
                return found
            groups = groups[:-1]

    def _known(self) -> ReferenceFacts:
        wanted = self.profile_hash()
        if wanted is not None and self._facts[0] != wanted:
            self._facts = wanted, self._facts_of(self.load(wanted))
        # Without a reference (for a while), what the last one said stays: sums are not made anew for that.
        return self._facts[1]

    def _facts_of(self, profile: ReferenceProfile) -> ReferenceFacts:
        values = {}
        for a in self.identity.attributes:
            column = (
                profile.column(a.name) if a.monitor_for_bias and not a.categories and not a.bins else None
            )
            if column is not None and isinstance(column.cells, CategoryCells):
                values[a.name] = column.cells.values
        truth = None
        if self.outcome is not None and self.outcome.task is Task.REGRESSION:
            truth = profile.column(self.outcome.truths[0].column)
        moments = None if truth is None else truth.moments
        scale = None if moments is None else Scale.of(moments.lowest, moments.highest, moments.mean)
        return ReferenceFacts(values, scale)


def _counts_a_row(definition: Definition) -> int:
    if definition.outcome.task is not Task.MULTILABEL:
        return 0
    labels, apart = len(definition.outcome.predictions), len(definition.groups) + len(definition.segments)
    return labels * (1 + apart)
