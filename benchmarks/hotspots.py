"""The rows where a model is worse: ours and SliceLine over 10 000 and 200 000 rows of 20 columns."""

import statistics
from collections.abc import Sequence

from benchmarks.environments import python_of
from benchmarks.harness import ROUNDS, Item, Race, Setting, race, repeat
from benchmarks.results import Bound, Result
from benchmarks.workers import PEERS, BenchError, Threads, Turn, Worker, ours

_SMALL, _MIDDLE, _LARGE = 1.0, 5.0, 20.0
"""Of 10 000 rows."""
_ALIKE = 0.8
_PATIENCE = 150.0
_PATIENCE_OF_LARGE = 60.0
_SECONDS = 5.0


def _measured(setting: Setting) -> list[Result]:
    python = str(python_of("sliceline", setting.tell))

    def peer(scale: float, patience: float) -> Worker:
        script = str(PEERS / "hotspots_sliceline.py")
        return Worker([python, script, str(scale * setting.scale)], Threads.one(), patience)

    small = race(
        ours("hotspots", _SMALL * setting.scale), peer(_SMALL, _PATIENCE), setting, "rows", 1, warm=False
    )
    _check(small.ours)
    _check(small.peer)
    setting.tell("ours alone")
    mine = repeat(ours("hotspots", _SMALL * setting.scale), setting, ROUNDS)
    again = Race(mine, small.peer, small.peer_version)
    large = repeat(ours("hotspots", _LARGE * setting.scale), setting, ROUNDS)
    _check(large)
    end = f"50k {_end(peer(_MIDDLE, _PATIENCE_OF_LARGE), _PATIENCE_OF_LARGE, setting)}"
    if end.endswith("CPU s"):
        end += f", 200k {_end(peer(_LARGE, _PATIENCE_OF_LARGE), _PATIENCE_OF_LARGE, setting)}"
    return [
        again.rate("hotspots-10k", "hotspots of 10k rows x 20 columns", "rows", 20),
        Result(
            "hotspots-200k", f"hotspots of 200k rows x 20 columns; SliceLine: {end}", "CPU s",
            statistics.median(turn.cpu for turn in large), None, small.peer_version, None, _SECONDS,
            Bound.OURS_AT_MOST, len(large),
        ),
    ]  # fmt: skip


def _end(peer: Worker, patience: float, setting: Setting) -> str:
    """How far the peer gets with more rows, in words."""
    try:
        with peer:
            turn = peer.turn()
    except BenchError as error:
        told = f"no answer in {patience:g} s" if "gave no answer" in str(error) else "ended by the system"
    else:
        gave_up = turn.more["gave_up"]
        told = f"wants more than 8 GiB after {gave_up:.1f} s" if gave_up else f"{turn.cpu:.0f} CPU s"
    setting.tell(f"the peer with more rows: {told}")
    return told


def _check(turns: Sequence[Turn]) -> None:
    """Raise BenchError unless the planted region is what was found."""
    for turn in turns:
        if turn.more.get("gave_up"):
            raise BenchError(f"a side wants more memory than it may have, after {turn.more['gave_up']:.1f} s")
        if turn.more["alike"] < _ALIKE:
            raise BenchError(
                f"what was found is another region than the planted one: {turn.more['alike']:.2f}"
            )


ITEM = Item(
    "hotspots",
    how=(
        "a region of two conditions with 4 % of the rows, in which half of the rows are wrong, among 20"
        " columns of numbers. The peer finds the best slice of at most three conditions over columns in five"
        " bins, made beforehand, whose borders are those of the region. Ours is the whole search: bins, six"
        " rounds of a beam over rules of at most three conditions on one half of the rows, and interval, test"
        " and overlaps of each rule on the other half. That both find the region (Jaccard 0.8)"
        " is checked; one round of the peer, because it is slow. With 50k rows it has a minute and 8 GiB of"
        " address space, and with 200k if that was enough."
    ),
    measure=_measured,
    limits="histograms of each node's rows, column by column: nearly all of the time with many rows.",
)
