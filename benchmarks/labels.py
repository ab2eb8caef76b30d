"""A hundred thousand late labels for a million rows: appended to a table of their own, or merged into the
rows; and what the join costs a reader.
"""

import statistics

from benchmarks.environments import python_of
from benchmarks.harness import ROUNDS, Item, Setting, race, repeat
from benchmarks.results import Bound, Result
from benchmarks.workers import ours, peer

JOIN_SECONDS = 0.5


def _measured(setting: Setting) -> list[Result]:
    python = python_of("deltalake", setting.tell)
    sides = ours("labels", setting.scale, "write"), peer(python, "labels_deltalake", setting.scale)
    written = race(*sides, setting, "labels")
    joined = repeat(ours("labels", setting.scale, "join"), setting, ROUNDS)
    return [
        written.rate("labels", "100,000 late labels for 1M rows x 30 columns", "labels", 100),
        Result(
            "labels-join", "the RMSE over all of them, by the store's query engine: wall time", "s",
            statistics.median(turn.wall for turn in joined),
            target=JOIN_SECONDS, bound=Bound.OURS_AT_MOST, rounds=len(joined),
        ),
    ]  # fmt: skip


ITEM = Item(
    "labels",
    how=(
        "ours is one durable commit to the table of labels; the peer's is `merge` by id into a table of"
        " ten files over which the labels are spread, a fresh copy each round. The join is the documented"
        " query for RMSE, as the store answers it: DuckDB with one thread and 128 MiB, the newest label of"
        " each id."
    ),
    measure=_measured,
    limits=(
        "writing ids that do not compress, and the fixed cost of a commit; reading, the hash of a million"
        " ids."
    ),
)
