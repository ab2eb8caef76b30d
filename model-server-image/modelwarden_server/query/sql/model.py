"""What a question needs to know of the model: its attributes, and which truth belongs to which prediction.

Must not know tables. The threshold is the one of the settings at the time of the question.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from modelwarden.resources.attributes import Stage
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.resolved import ResolvedAttribute

TRUTHS = frozenset({Stage.GROUND_TRUTH, Stage.GROUND_TRUTH_CLASS})


@dataclass(frozen=True)
class QueriedModel:
    """The attributes of a model, implicit ones included."""

    attributes: tuple[ResolvedAttribute, ...]
    threshold: float = 0.5
    is_batch: bool = False
    scored: bool = False
    """Whether there is a table of anomaly scores."""
    explained: bool = False
    """Whether there is a table of explanations."""

    @classmethod
    def of(cls, identity: CellIdentity, threshold: float) -> "QueriedModel":
        """The model of a cell."""
        return cls(identity.attributes, threshold, identity.is_batch)

    @cached_property
    def by_name(self) -> dict[str, ResolvedAttribute]:
        """Attributes by name."""
        return {attribute.name: attribute for attribute in self.attributes}

    @cached_property
    def predictions(self) -> tuple[ResolvedAttribute, ...]:
        """Predicted attributes by position."""
        return _ordered(a for a in self.attributes if a.stage is Stage.PREDICTED_VALUE)

    @cached_property
    def inputs(self) -> tuple[ResolvedAttribute, ...]:
        """What explanations are by: pipeline inputs by position."""
        return _ordered(a for a in self.attributes if a.stage is Stage.PIPELINE_INPUT and not a.implicit)

    @cached_property
    def truths(self) -> tuple[ResolvedAttribute, ...]:
        """Attributes of ground truth by position, without a class column."""
        return _ordered(a for a in self.attributes if a.stage is Stage.GROUND_TRUTH)

    @cached_property
    def class_column(self) -> ResolvedAttribute | None:
        """The column that holds the true class, if the model has one."""
        return next((a for a in self.attributes if a.stage is Stage.GROUND_TRUTH_CLASS), None)

    def prediction(self) -> ResolvedAttribute | None:
        """The prediction that is meant when none is named: the only one, or the positive one."""
        declared = [a for a in self.predictions if not a.implicit]
        if len(declared) == 1:
            return declared[0]
        positive = [a for a in self.predictions if a.is_positive_predicted_attribute]
        return positive[0] if len(positive) == 1 else None

    def truth_of(self, prediction: str) -> ResolvedAttribute | None:
        """The ground truth of a prediction: the one it is linked to, else the only one there is."""
        found = self.by_name.get(prediction)
        if found is None:
            return None
        if found.attribute_link is not None and found.attribute_link in self.by_name:
            return self.by_name[found.attribute_link]
        return self.truths[0] if len(self.truths) == 1 and len(self.predictions) == 1 else None

    def implied_by(self, attribute: ResolvedAttribute) -> ResolvedAttribute | None:
        """The declared attribute that an implicit one follows from; None for one that stands for itself."""
        if not attribute.implicit:
            return None
        if attribute.stage is Stage.PREDICTED_VALUE:
            return next((a for a in self.predictions if not a.implicit), None)
        if attribute.gt_class_link is not None and self.class_column is not None:
            return self.class_column
        return next((a for a in self.truths if not a.implicit), None)


def _ordered(attributes: Iterable[ResolvedAttribute]) -> tuple[ResolvedAttribute, ...]:
    return tuple(sorted(attributes, key=lambda a: (a.position, a.implicit)))
