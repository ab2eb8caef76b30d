"""The attributes a model really has, and the error that says why the declared ones cannot become them."""

from dataclasses import dataclass

from modelwarden.resources.attributes import Bin, Stage, ValueType
from modelwarden.resources.schema import ResourceModel


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: which attribute ("" for the model as a whole), which field, and what to do."""

    attribute: str
    field: str
    message: str

    def __str__(self) -> str:
        where = f"attribute {self.attribute}, {self.field}" if self.attribute else self.field
        return f"{where}: {self.message}"


class SchemaError(ValueError):
    """The attributes do not fit together. Holds every problem, in the order of the attributes."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class ResolvedAttribute(ResourceModel):
    """An attribute as a cell works with it: position known, category values canonical, without labels.

    Implicit attributes are never sent and never stored: an implicit PREDICTED_VALUE is 1 − p of the one
    that is declared; an implicit GROUND_TRUTH with `gt_class_link` is 1 where the class column equals it,
    else 0; without one it is 1 − the ground truth that is declared.
    """

    name: str
    value_type: ValueType
    stage: Stage
    position: int
    categorical: bool = False
    categories: tuple[str, ...] = ()
    bins: tuple[Bin, ...] = ()
    min_range: float | None = None
    max_range: float | None = None
    monitor_for_bias: bool = False
    is_unique: bool = False
    is_positive_predicted_attribute: bool = False
    attribute_link: str | None = None
    token_attribute_link: str | None = None
    gt_class_link: str | None = None
    implicit: bool = False
