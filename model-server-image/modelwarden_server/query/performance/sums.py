"""The sums of one cell as they are asked for (a `Populations`): counts by population of windows, batches and
the reference. Reads; must not compute metrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from modelwarden_server.analysis.partials import SLICE_SECONDS, Integers
from modelwarden_server.analysis.performance.blocks import BinaryBlock, Block, MulticlassBlock
from modelwarden_server.analysis.performance.confusion import Confusion
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.outcome import Outcome
from modelwarden_server.analysis.score_grid import BinaryCounts
from modelwarden_server.query.performance.cube import Cube
from modelwarden_server.query.performance.populations import NotCountedError, Population

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sums:
    """See the module's text. `definition` has the threshold as it is now; `baseline` are the reference's
    totals.
    """

    cube: Cube
    definition: Definition
    baseline: Integers | None = None

    @property
    def space(self) -> OutcomeSpace:
        """The codes."""
        return self.cube.space

    @property
    def outcome(self) -> Outcome:
        """What is predicted."""
        return self.definition.outcome

    @property
    def block(self) -> Block:
        """What is counted of everybody."""
        return self.space.everybody

    def days(self) -> list[int]:
        """Days since 1970 that have rows, ascending."""
        return self.cube.counts.days()

    def everybody(self, start: int, end: int) -> Integers:
        """The block of everybody in the slices [start, end)."""
        return self.space.block_of(0, self.cube.window(start, end))

    @cached_property
    def all(self) -> tuple[Population, ...]:
        """See Populations."""
        names = self.space.names()
        return tuple(
            Population(attribute, names[place] if attribute is not None else None, segment)
            for place, (attribute, _, segment) in enumerate(self.space.populations)
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """See Populations."""
        return self.definition.outcome.classes

    @property
    def threshold(self) -> float:
        """See Populations."""
        return self.definition.threshold

    @property
    def version(self) -> tuple[int, int]:
        """See Populations."""
        return self.cube.reached

    @property
    def hash(self) -> str:
        """What is counted."""
        return self.definition.hash

    def newest(self) -> datetime | None:
        """See Populations."""
        newest = self.cube.counts.newest_slice()
        if newest is None or self.cube.sources.names is not None:
            return None
        return EPOCH + timedelta(seconds=(newest + 1) * SLICE_SECONDS)

    def window(self, start: datetime, end: datetime) -> Integers:
        """Sums by code. Raises NotCountedError if these are no whole slices, or of a batch model."""
        if self.cube.sources.names is not None:
            raise NotCountedError("a batch model is counted by batch: name a batch_id")
        places = [(at - EPOCH) / timedelta(seconds=SLICE_SECONDS) for at in (start, end)]
        if any(place != int(place) for place in places):
            raise NotCountedError("start and end must be whole slices of five minutes")
        return self.cube.window(int(places[0]), int(places[1]))

    def binary(
        self, start: datetime, end: datetime, class_: str | None = None
    ) -> Mapping[Population, BinaryCounts]:
        """See Populations."""
        return self.binary_of(self.window(start, end), class_)

    def confusion(self, start: datetime, end: datetime) -> Mapping[Population, Confusion]:
        """See Populations."""
        return self.confusion_of(self.window(start, end))

    def reference(self, class_: str | None = None) -> Mapping[Population, BinaryCounts]:
        """See Populations."""
        return {} if self.baseline is None else self.binary_of(self.baseline, class_)

    def reference_confusion(self) -> Mapping[Population, Confusion]:
        """See Populations."""
        return {} if self.baseline is None else self.confusion_of(self.baseline)

    def batch(
        self, batch: str, class_: str | None = None
    ) -> tuple[Mapping[Population, BinaryCounts], Mapping[Population, Confusion]]:
        """See Populations."""
        totals = self.cube.batch(batch)
        if totals is None:
            return {}, {}
        return self.binary_of(totals, class_), self.confusion_of(totals)

    def binary_of(self, totals: Integers, class_: str | None = None) -> dict[Population, BinaryCounts]:
        """Score bins of every population that has rows."""
        found = {}
        for population, block, counts in self._blocks(totals):
            one = binary_counts(block, counts, self._place(class_))
            if one is not None:
                found[population] = one
        if not found and totals[0]:
            raise NotCountedError("this model's scores are not counted: it has too many classes, or none")
        return found

    def confusion_of(self, totals: Integers, threshold: float | None = None) -> dict[Population, Confusion]:
        """Confusions of every population that has rows, at the model's threshold or another edge."""
        at = self.threshold if threshold is None else threshold
        try:
            return {p: confusion_counts(b, c, self.classes, at) for p, b, c in self._blocks(totals)}
        except ValueError as error:
            raise NotCountedError(str(error)) from None

    def _blocks(self, totals: Integers) -> list[tuple[Population, Block, Integers]]:
        found = []
        for place, population in enumerate(self.all):
            counts = self.space.block_of(place, totals)
            if counts[0]:
                found.append((population, self.space.everybody if place == 0 else self.space.part, counts))
        return found

    def _place(self, class_: str | None) -> int:
        if class_ is None:
            return 0
        if class_ not in self.classes:
            raise NotCountedError(f"class: must be one of {', '.join(self.classes)}, not {class_[:100]!r}")
        return self.classes.index(class_)


def binary_counts(block: Block, counts: Integers, place: int) -> BinaryCounts | None:
    """Score bins of one class; of the second of two classes the first one's, turned around."""
    if isinstance(block, BinaryBlock):
        found = block.counts(counts)
        if place == 0:
            return found
        # 1 - p: a score on an edge of the grid would fall into the bin above, so edges are exact for p alone.
        return BinaryCounts(found.rows[::-1], found.negatives[::-1], found.positives[::-1])
    return block.counts(counts, place) if isinstance(block, MulticlassBlock) else None


def confusion_counts(block: Block, counts: Integers, classes: tuple[str, ...], threshold: float) -> Confusion:
    """The confusion of one population. Raises ValueError for a threshold that is no edge, and
    NotCountedError for a regression.
    """
    if isinstance(block, MulticlassBlock):
        return Confusion(classes, block.confusion(counts))
    if not isinstance(block, BinaryBlock):
        raise NotCountedError("a regression has no classes")
    _, tp, fp = block.above(counts, threshold)
    _, positives, negatives = block.above(counts, 0.0)
    return Confusion(classes, np.array([[tp, fp], [positives - tp, negatives - fp]], dtype=np.int64))
