"""Which windows a verdict is about: the newest one and those before it. Of time, and of a batch model its
closed batches.

Must not judge.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from modelwarden_server.analysis.partials import SLICE_SECONDS, SLICES_PER_DAY, Integers
from modelwarden_server.query.generation import Generation
from modelwarden_server.store.batches import Batch

HISTORY = 28
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Place:
    """One window. `totals` gives its counts by code; `whole`: they say what is usual."""

    start: datetime
    end: datetime
    totals: Callable[[], Integers]
    whole: bool = True
    batch: str | None = None


@dataclass(frozen=True, eq=False)
class Windows:
    """The newest window, and at most HISTORY before it, newest first. `seconds` lie between two of them."""

    newest: Place
    earlier: Sequence[Place]
    seconds: int
    reached: int
    """The version of the inferences that the counts hold."""

    @property
    def key(self) -> tuple[datetime, str | None]:
        """Tells which window is the newest."""
        return self.newest.end, self.newest.batch


def windows_of_time(generation: Generation, seconds: int) -> Windows | None:
    """Windows of this length that end with the slice of the newest inference; None without rows."""
    newest = generation.newest_slice()
    if newest is None:
        return None
    end, length, days = newest + 1, seconds // SLICE_SECONDS, generation.days()
    # The day of the first row is not whole: what it holds says nothing of what is usual.
    first = (days[0] + 1) * SLICES_PER_DAY if days else end

    def place(back: int) -> Place:
        low = end - (back + 1) * length
        return Place(_at(low), _at(low + length), lambda: generation.window(low, low + length), low >= first)

    many = (end - days[0] * SLICES_PER_DAY - 1) // length if days else 0
    return Windows(
        place(0), [place(back) for back in range(1, min(HISTORY, many) + 1)], seconds, generation.folded
    )


def windows_of_batches(generation: Generation, closed: Sequence[Batch]) -> Windows | None:
    """Closed batches, the one closed last first; None if there are none."""
    counts = generation.batches
    if counts is None or not closed:
        return None

    def place(batch: Batch) -> Place:
        end = batch.closed_at or batch.updated_at
        return Place(batch.created_at, end, lambda: counts.totals(batch.id), batch=batch.id)

    places = [place(batch) for batch in closed[: HISTORY + 1]]
    apart = (places[0].end - places[-1].end) / max(1, len(places) - 1)
    return Windows(places[0], places[1:], max(1, int(apart.total_seconds())), counts.folded)


def _at(place: int) -> datetime:
    return _EPOCH + timedelta(seconds=place * SLICE_SECONDS)
