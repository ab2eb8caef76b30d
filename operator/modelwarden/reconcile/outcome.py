"""What one reconcile came to, and how long to rest after it. Pure.

Which wait follows from which class of error is decided here and nowhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelwarden.errors import Bug, Conflict, InvalidSpec, ReconcileError, Transient

CONFLICTS_IN_A_ROW = 5


@dataclass(frozen=True)
class Outcome:
    """`after`: look again in so many seconds (None: at the next resync). `gone`: the object is no more."""

    after: float | None = None
    gone: bool = False
    trouble: ReconcileError | None = None
    conditions: tuple[tuple[str, str], ...] = ()  # (type, status), for the gauges

    @property
    def is_settled(self) -> bool:
        """Whether there is no need to read the cluster again before something is said to have changed."""
        return self.trouble is None or isinstance(self.trouble, InvalidSpec)

    @property
    def result(self) -> str:
        """A bounded word for the metric."""
        return "success" if self.trouble is None else type(self.trouble).__name__


@dataclass(frozen=True)
class Pace:
    """Seconds. `jitter` gives a random factor's position in [0, 1)."""

    resync: float
    backoff_first: float
    backoff_most: float
    jitter: Callable[[], float]

    def rest(self, outcome: Outcome, failures: int) -> float:
        """Seconds to wait (unless woken) after `outcome`, the `failures`-th failure in a row."""
        resync = self.resync * (0.8 + 0.4 * self.jitter())
        trouble = outcome.trouble
        if isinstance(trouble, Conflict) and failures <= CONFLICTS_IN_A_ROW:
            return 0.0
        if isinstance(trouble, Conflict | Transient | Bug):
            backoff = min(self.backoff_first * 2.0 ** min(failures - 1, 16), self.backoff_most)
            backoff *= 0.8 + 0.4 * self.jitter()
            after = trouble.retry_after if isinstance(trouble, Transient) else None
            return max(backoff, after or 0.0)
        return resync if outcome.after is None else min(outcome.after, resync)


def worst(troubles: Sequence[ReconcileError]) -> ReconcileError | None:
    """The one that decides the wait: what passes soonest is tried soonest."""
    order = (Conflict, Transient, Bug)
    for kind in order:
        for trouble in troubles:
            if isinstance(trouble, kind):
                return trouble
    return troubles[0] if troubles else None
