"""Times two ways of doing the same work, turn by turn, and gives the median of the rounds.

CPU seconds are the figure: wall time on a shared machine is noise. Ours and the peer's take turns, so that a
slow minute hits both. Must not know what is measured.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.results import Bound, Result
from benchmarks.workers import Turn, Worker

ROUNDS = 5
ROUNDS_OF_SLOW_PEERS = 3
LONG_SECONDS = 600.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Setting:
    """How a run is made: `scale` shrinks the work (for trying), `rounds` overrules an item's own number.

    `seconds` is how long a load is kept up.
    """

    tell: Tell
    scale: float = 1.0
    rounds: int | None = None
    seconds: float = 60.0

    def rounds_of(self, usual: int) -> int:
        """How many rounds to measure where `usual` is the item's own number."""
        return self.rounds or usual

    def scaled(self, number: int, least: int = 1) -> int:
        """A number of rows, commits or seconds, made smaller by the scale."""
        return max(least, round(number * self.scale))


@dataclass(frozen=True)
class Item:
    """One item of `make bench`. `how` says what both sides do; `limits` what is in the way of a target."""

    name: str
    how: str
    measure: Callable[[Setting], Sequence[Result]]
    limits: str = ""


@dataclass(frozen=True)
class Case:
    """One piece of work, done our way and the peer's; both return units per CPU second."""

    name: str
    peer_name: str
    unit: str
    ours: Callable[[], float]
    peer: Callable[[], float]
    target: float
    what: str = ""


def measure(case: Case, setting: Setting, usual: int = ROUNDS) -> Result:
    """Run both ways, turn by turn, after one unmeasured round of each."""
    rounds = setting.rounds_of(usual)
    case.ours()
    case.peer()
    ours, peer = [], []
    for number in range(1, rounds + 1):
        ours.append(case.ours())
        peer.append(case.peer())
        setting.tell(_round(number, rounds, ours[-1], peer[-1], case.unit))
    mine, theirs = statistics.median(ours), statistics.median(peer)
    return Result(
        name=case.name,
        what=case.what or case.name,
        unit=f"{case.unit}/CPU s",
        ours=mine,
        peer=theirs,
        peer_version=case.peer_name,
        ratio=mine / theirs,
        target=case.target,
        bound=Bound.RATIO_AT_LEAST,
        rounds=rounds,
    )


def here(work: Callable[[], int]) -> Callable[[], float]:
    """The rate of work that runs in this process and returns the number of units it did."""

    def rate() -> float:
        start = time.process_time()
        units = work()
        return units / max(time.process_time() - start, 1e-9)

    return rate


@dataclass(frozen=True)
class Race:
    """All rounds of two sides, in processes of their own."""

    ours: tuple[Turn, ...]
    peer: tuple[Turn, ...]
    peer_version: str

    def rate(self, name: str, what: str, unit: str, target: float) -> Result:
        """Units per CPU second, and that ours are to be `target` times the peer's."""
        mine, theirs = (statistics.median(turn.rate for turn in side) for side in (self.ours, self.peer))
        return Result(
            name, what, f"{unit}/CPU s", mine, theirs, self.peer_version, mine / theirs, target,
            Bound.RATIO_AT_LEAST, len(self.ours),
        )  # fmt: skip

    def share(self, name: str, what: str, unit: str, figure: str, target: float) -> Result:
        """Another figure that both sides report, of which ours is to be at most `target` times the peer's."""
        mine, theirs = (statistics.median(turn.more[figure] for turn in s) for s in (self.ours, self.peer))
        return Result(
            name, what, unit, mine, theirs, self.peer_version, mine / theirs, target,
            Bound.RATIO_AT_MOST, len(self.ours),
        )  # fmt: skip


def race(
    ours: Worker, peer: Worker, setting: Setting, unit: str, usual: int = ROUNDS, *, warm: bool = True
) -> Race:
    """Let both sides prepare, then take turns. Without `warm` the first round counts, for slow peers."""
    rounds = setting.rounds_of(usual)
    with ExitStack() as processes:
        setting.tell("preparing our side")
        processes.enter_context(ours)
        setting.tell("preparing the peer's side")
        processes.enter_context(peer)
        if warm:
            ours.turn()
            peer.turn()
        mine, theirs = [], []
        for number in range(1, rounds + 1):
            mine.append(ours.turn())
            theirs.append(peer.turn())
            setting.tell(_round(number, rounds, mine[-1].rate, theirs[-1].rate, unit))
        return Race(tuple(mine), tuple(theirs), peer.version)


def repeat(side: Worker, setting: Setting, usual: int = ROUNDS) -> tuple[Turn, ...]:
    """Rounds of one side alone, after one that is not measured."""
    with side:
        side.turn()
        return tuple(side.turn() for _ in range(setting.rounds_of(usual)))


def _round(number: int, rounds: int, ours: float, peer: float, unit: str) -> str:
    mine, theirs = (f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}" for rate in (ours, peer))
    return f"round {number} of {rounds}: ours {mine}, the peer {theirs} {unit}/CPU s"
