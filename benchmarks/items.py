"""The items of `make bench`, in the order of the page. Must not measure."""

from collections.abc import Sequence

from benchmarks import (
    anomaly,
    append,
    door,
    drift,
    explain_black_box,
    explain_exact,
    fairness,
    hotspots,
    labels,
    memory,
    parse,
    visible,
    window,
)
from benchmarks.harness import Item

ITEMS: tuple[Item, ...] = (
    parse.ITEM,
    parse.COMPILED,
    door.ITEM,
    *drift.ITEMS,
    *append.ITEMS,
    labels.ITEM,
    window.ITEM,
    visible.ITEM,
    fairness.ITEM,
    hotspots.ITEM,
    anomaly.ITEM,
    explain_exact.ITEM,
    explain_black_box.ITEM,
    *memory.ITEMS,
)


def chosen(only: str | None, items: Sequence[Item] = ITEMS) -> list[Item]:
    """The items that `only` names: whole names or what they begin with, commas between. None: all.

    Raises ValueError, with the names there are, if one of them names nothing.
    """
    if not only:
        return list(items)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    found = {name: [i for i in items if i.name == name or i.name.startswith(f"{name}-")] for name in wanted}
    unknown = [name for name, matches in found.items() if not matches]
    if unknown:
        raise ValueError(f"no item {', '.join(unknown)}: there are {', '.join(i.name for i in items)}")
    return [item for item in items if any(item in matches for matches in found.values())]
