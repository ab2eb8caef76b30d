"""Thirty days of ten million rows: drift asked of partials in memory, against reading the rows again."""

import statistics

import pyarrow as pa

from benchmarks.harness import ROUNDS, Item, Setting, race, repeat
from benchmarks.results import Bound, Result
from benchmarks.workers import ours


def _measured(setting: Setting) -> list[Result]:
    found = race(ours("window", setting.scale), ours("window", setting.scale, "rescan"), setting, "windows")
    setting.tell("windows of whole days")
    days = repeat(ours("window", setting.scale, "days"), setting, ROUNDS)
    any_hours, rescan, whole = (
        statistics.median(turn.rate for turn in turns) for turns in (found.ours, found.peer, days)
    )
    peer, unit = f"a rescan with pyarrow {pa.__version__} and numpy", "windows/CPU s"
    return [
        Result(
            "window", "drift of 30 columns over 30 days, begun and ended within an hour, 10M rows", unit,
            any_hours, rescan, peer, any_hours / rescan, 500, Bound.RATIO_AT_LEAST, len(found.ours),
        ),
        Result(
            "window-days", "the same over 30 whole days", unit,
            whole, rescan, peer, whole / rescan, 5000, Bound.RATIO_AT_LEAST, len(days),
        ),
    ]  # fmt: skip


ITEM = Item(
    "window",
    how=(
        "ours sums the partials of 10M rows (24 numbers, 6 texts; folded beforehand) and computes PSI, KL"
        " and JS of every column; the rescan reads the same rows from parquet, counts them into 20 bins of"
        " equal width, which needs no search, and computes PSI."
    ),
    measure=_measured,
    limits=(
        "adding up sparse counts of 30 days, some 11,000 codes each, and ninety scores in numpy calls on"
        " small arrays."
    ),
)
