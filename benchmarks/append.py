"""Appends to a table, ours each durable: against `write_deltalake` with its defaults, and small ones against
pyiceberg. What the disk makes us wait is not in the ratio, which counts CPU.
"""

from benchmarks.environments import python_of
from benchmarks.harness import Item, Setting, race
from benchmarks.results import Result
from benchmarks.workers import ours, peer


def _deltalake(setting: Setting) -> list[Result]:
    python = python_of("deltalake", setting.tell)
    sides = ours("append", setting.scale, "large"), peer(python, "append_deltalake", setting.scale)
    found = race(*sides, setting, "rows")
    return [
        found.rate("append-deltalake", "commits of 100,000 rows x 30 columns", "rows", 3),
        found.share("append-deltalake-bytes", "their size in parquet", "bytes a row", "bytes", 0.75),
    ]


def _pyiceberg(setting: Setting) -> list[Result]:
    python = python_of("pyiceberg", setting.tell)
    sides = ours("append", setting.scale, "small"), peer(python, "append_pyiceberg", setting.scale)
    found = race(*sides, setting, "rows")
    return [found.rate("append-pyiceberg", "commits of 1000 rows x 30 columns", "rows", 4)]


ITEMS = (
    Item(
        "append-deltalake",
        how=(
            "rows of an id, two times, 20 floats, 3 integers, 2 texts, and a label and its time that are"
            " still to come, two commits a round to one growing table. Ours syncs file, entry and folders;"
            " the peer (`write_deltalake` by path, defaults) syncs nothing."
        ),
        measure=_deltalake,
        limits="what is left is the zstd of random doubles and the fixed cost of a commit.",
    ),
    Item(
        "append-pyiceberg",
        how=(
            "the same rows, ten commits of 1000 a round to one growing table; the peer's catalogue is in"
            " SQLite."
        ),
        measure=_pyiceberg,
        limits=(
            "a commit's fixed cost: opening and closing parquet for 30 columns, one Delta entry, five syncs."
        ),
    ),
)
