"""Who is told of what the writer committed, and how he is told. Nobody who listens can stop the writer.

Must not know what a listener does with rows.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

log = logging.getLogger(__name__)
NEVER_ASKED: Final = 1 << 62
"""In `Settled`: of a listener that asks for no file by its version, whatever is compacted."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Versions up to which a listener will never again ask for files by the version that added them."""

    inferences: int
    truth: int


class CommitListener(Protocol):
    """Someone who folds what was committed. Called by the writer's thread, after the commit is durable.

    What a listener misses, because it fails or because the process ends, it finds in the table later:
    `AppendTable.files_added(since)`. An exception is logged and does not stop the writer.
    """

    def fold(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """Version `version` of the inferences added these rows (maybe none), with the table's columns."""
        ...

    def behind(self, version: int) -> None:
        """Version `version` of the inferences added files whose rows are not handed over: catch up from the
        table, on a thread of one's own.
        """
        ...

    def fold_truth(self, version: int, batches: Sequence[pa.RecordBatch]) -> None:
        """As `fold`, of the labels. The inferences of the same pass have been told before."""
        ...

    def behind_truth(self, version: int) -> None:
        """As `behind`, of the labels."""
        ...

    def settled(self) -> Settled:
        """How far this listener's own durable state reaches. Files above are left apart: a compacted file
        counts as added by the latest version of its rows, and must not hide rows not yet taken in.
        """
        ...

    def retired(self, slices: Sequence[int], batches: Sequence[str]) -> None:
        """Rows of these slices (event time in whole five minutes since 1970) or batches are about to be
        removed for their age. Seal their partials, durably, before this returns; raise to prevent that.
        Called by the thread of maintenance, and again if the removal did not come about.
        """
        ...


@dataclass(frozen=True)
class Told:
    """What one pass committed to one table: the rows, or None when files came with them."""

    version: int
    batches: Sequence[pa.RecordBatch] | None


class Listeners:
    """All listeners of one writer."""

    def __init__(self) -> None:
        self._all: list[CommitListener] = []

    def add(self, listener: CommitListener) -> None:
        """One more, told from the next commit on."""
        self._all.append(listener)

    def tell(self, inferences: Told, truth: Told | None) -> None:
        """Tell all of one pass."""
        for listener in self._all:
            if inferences.batches is None:
                _quietly(listener.behind, inferences.version)
            else:
                _quietly(listener.fold, inferences.version, inferences.batches)
            if truth is not None and truth.batches is None:
                _quietly(listener.behind_truth, truth.version)
            elif truth is not None:
                _quietly(listener.fold_truth, truth.version, truth.batches)

    def settled(self) -> Settled:
        """What all of them have settled."""
        found = [listener.settled() for listener in self._all]
        if not found:
            return Settled(NEVER_ASKED, NEVER_ASKED)
        return Settled(min(s.inferences for s in found), min(s.truth for s in found))

    def retired(self, slices: Sequence[int], batches: Sequence[str]) -> None:
        """Have all of them seal. Raises what the first one that cannot raises."""
        for listener in self._all:
            listener.retired(slices, batches)


def _quietly(call: Callable[..., None], *arguments: object) -> None:
    try:
        call(*arguments)
    except Exception:
        log.exception("a listener failed at version %s", arguments[0])
