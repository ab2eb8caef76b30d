"""What the numerics need to know of an attribute: its name, its type, and how its values are to be told
apart.

Must not know settings or tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from modelwarden.resources.resolved import ResolvedAttribute

NUMERIC_TYPES = frozenset({"INTEGER", "FLOAT"})
CATEGORY_TYPES = frozenset({"STRING", "BOOLEAN"})
LENGTH_TYPES = frozenset(
    {"ARRAY(STRING)", "TOKENS", "TOKEN_LIKELIHOODS", "RANKED_LIST", "BOUNDING_BOX", "TIME_SERIES"}
)
"""Lists: what is compared is how many items there are (tokens, ranked items, boxes, points)."""


class Kind(StrEnum):
    """How a column's values are divided into cells."""

    NUMERIC = "numeric"
    """Intervals between edges, of a number or of a list's length."""
    CATEGORY = "category"
    """One cell a value."""
    PRESENCE = "presence"
    """Only present or missing: free text, images, times, and identifiers, whose values never come back."""


@dataclass(frozen=True, slots=True)
class Column:
    """One attribute as a column of a table."""

    name: str
    value_type: str
    stage: str
    categorical: bool = False
    categories: tuple[str, ...] = ()
    min_range: float | None = None
    max_range: float | None = None
    """The declared range, both ends inside: advice, so values outside are counted and never refused."""

    @property
    def declared_kind(self) -> Kind:
        """The kind that the declaration asks for; the reference data may say otherwise (see `profile`)."""
        if self.value_type in CATEGORY_TYPES or (self.categorical and self.value_type in NUMERIC_TYPES):
            return Kind.CATEGORY
        numeric = self.value_type in NUMERIC_TYPES or self.value_type in LENGTH_TYPES
        return Kind.NUMERIC if numeric else Kind.PRESENCE


def columns_of(attributes: Iterable[ResolvedAttribute]) -> tuple[Column, ...]:
    """The columns of a model's reference, in the order of its attributes. Implicit
    attributes are no columns.
    """
    return tuple(
        Column(
            a.name,
            a.value_type.value,
            a.stage.value,
            a.categorical,
            a.categories,
            a.min_range,
            a.max_range,
        )
        for a in attributes
        if not a.implicit
    )
