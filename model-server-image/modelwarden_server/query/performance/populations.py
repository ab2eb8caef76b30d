"""What others may ask of the sums: counts of everybody, of each group and of each declared segment.

Groups of an attribute with monitorForBias are its categories, or its bins (start outside, end inside). Two
groups more hold who is in none: MISSING (no value) and OTHER (a value that is not listed). A window is a
whole number of slices; `start` is inside, `end` is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from modelwarden_server.analysis.performance.confusion import Confusion
from modelwarden_server.analysis.performance.groups import MISSING, OTHER
from modelwarden_server.analysis.score_grid import BinaryCounts

__all__ = ["EVERYBODY", "MISSING", "OTHER", "NotCountedError", "Population", "Populations"]


@dataclass(frozen=True, order=True)
class Population:
    """Everybody (all None), one group of an attribute, or one declared segment."""

    attribute: str | None = None
    group: str | None = None
    segment: str | None = None


EVERYBODY: Final = Population()


class NotCountedError(LookupError):
    """The sums cannot tell: the message says why (no classifier, an unknown class, no whole slices)."""


class Populations(Protocol):
    """The sums of one cell, complete up to the tables' newest version, or as far as told by `current`.

    Populations without rows are left out of windows, never of `all`. Every method raises NotCountedError.
    """

    @property
    def all(self) -> tuple[Population, ...]:
        """Everybody first, then groups by attribute, then segments."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the predicted attributes, the positive one first if there are two."""
        ...

    @property
    def threshold(self) -> float:
        """The model's own threshold."""
        ...

    @property
    def version(self) -> tuple[int, int]:
        """The versions of inferences and labels that are in the sums: equal versions, equal answers."""
        ...

    @property
    def hash(self) -> str:
        """The hash of what is counted: columns, groups, segments, threshold."""
        ...

    def newest(self) -> datetime | None:
        """The end of the newest slice that has rows."""
        ...

    def binary(
        self, start: datetime, end: datetime, class_: str | None = None
    ) -> Mapping[Population, BinaryCounts]:
        """Rows and labels by score bin. `class_` None: the positive class of a model of two classes."""
        ...

    def confusion(self, start: datetime, end: datetime) -> Mapping[Population, Confusion]:
        """Predicted by true class, at the model's own threshold (of more than two classes: the greatest)."""
        ...

    def reference(self, class_: str | None = None) -> Mapping[Population, BinaryCounts]:
        """The same of the reference dataset; empty without one that has labels."""
        ...

    def reference_confusion(self) -> Mapping[Population, Confusion]:
        """The same of the reference dataset; empty without one that has labels."""
        ...

    def batch(
        self, batch: str, class_: str | None = None
    ) -> tuple[Mapping[Population, BinaryCounts], Mapping[Population, Confusion]]:
        """Both of one batch of a batch model; empty for an unknown one."""
        ...
