"""Fairness of a million rows in six groups: ours from the sums that a cell keeps and from rows; fairlearn."""

from dataclasses import replace

from benchmarks.environments import python_of
from benchmarks.harness import Item, Race, Setting, race, repeat
from benchmarks.results import Result
from benchmarks.workers import BenchError, ours, peer

_CLOSE = 1e-12
_ROUNDS = 2
"""The peer takes most of a minute for each."""


def _measured(setting: Setting) -> list[Result]:
    python = python_of("fairlearn", setting.tell)
    sides = ours("fairness", setting.scale, "sums"), peer(python, "fairness_fairlearn", setting.scale)
    sums = race(*sides, setting, "rows", _ROUNDS, warm=False)
    setting.tell("the same from rows")
    rows = replace(sums, ours=repeat(ours("fairness", setting.scale, "rows"), setting, _ROUNDS))
    found = []
    for name, of, result, target in (
        ("fairness", "kept sums", sums, 100),
        ("fairness-rows", "rows", rows, 100),
    ):
        _check(result)
        found.append(result.rate(name, f"fairness of 1M rows in six groups, from {of}", "rows", target))
    return found


def _check(result: Race) -> None:
    """Raise BenchError unless both sides say the same numbers."""
    mine, theirs = result.ours[-1].more, result.peer[-1].more
    if mine.keys() != theirs.keys():
        raise BenchError(f"the sides tell other figures: {sorted(mine.keys() ^ theirs.keys())}")
    apart = {
        name: (value, theirs[name]) for name, value in mine.items() if abs(value - theirs[name]) > _CLOSE
    }
    if apart:
        raise BenchError(f"the sides disagree: {apart}")


ITEM = Item(
    "fairness",
    how=(
        "the peer computes six rates by group and five figures of the worst two groups from labels, decisions"
        " and groups in memory. Ours computes the same 41 numbers, and an interval and a test of each: for"
        " `fairness` from counts by group and score bin, which a cell keeps as rows come (made beforehand;"
        " that is the point of them), for `fairness-rows` from scores, labels and groups as texts in memory."
        " That all 41 numbers are equal is checked in the run; two rounds, because the peer is slow."
    ),
    measure=_measured,
    limits="from rows: counting six kinds of rows by group, and finding each row's group among texts.",
)
