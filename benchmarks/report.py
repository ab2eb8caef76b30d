"""`docs/benchmarks.md`, written from the results: nobody edits it by hand. Must not measure."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.harness import Item
from benchmarks.results import Bound, Circumstances, Kept, Result, item_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"

_HEAD = """\
# Benchmarks

Our figures and the peers', measured in one run on one machine. Written by `make bench`; do not edit.

```console
$ make bench              # everything
$ make bench ONLY=append  # one item, or those whose names begin so
$ MODELWARDEN_LONG=1 make bench ONLY=memory
```

Rates are units per CPU second of the process, the median of the rounds. Ours and the peer's take turns, each
in a process of its own, on one core and with one thread. Each peer has an environment of its own, pinned down
to the last dependency (`benchmarks/peers/requirements/`). Both sides get the same data, made by the same code
with the same seeds. What is prepared once from the reference is outside the measurement on both sides. The
same figures as JSON: `benchmarks/results.json`.
"""


def page(kept: Sequence[Kept], items: Sequence[Item]) -> str:
    """The whole page."""
    parts = [_HEAD]
    # One machine, and one table, as a rule; a second machine's figures must not stand in the first's table.
    for machine, group in groupby(sorted(kept, key=_machine), key=_machine):
        parts.append(_section(machine, list(group), items))
    parts.append(_methods(items))
    return "\n".join(parts)


def _machine(kept: Kept) -> str:
    return f"{kept.circumstances.machine}, Python {kept.circumstances.python}"


def _section(machine: str, kept: Sequence[Kept], items: Sequence[Item]) -> str:
    order = {item.name: place for place, item in enumerate(items)}
    kept = sorted(kept, key=lambda k: order.get(item_of(k.result.name, list(order)) or "", len(order)))
    lines = [f"## On {machine}", "", _when([k.circumstances for k in kept]), ""]
    lines += ["| name | what | ours | peer | ratio | target | |", "|---|---|---|---|---|---|---|"]
    lines += [_row(k.result) for k in kept]
    return "\n".join([*lines, "", *_missed(kept, items)])


def _when(circumstances: Sequence[Circumstances]) -> str:
    days = sorted({c.measured for c in circumstances})
    loads = [c.load for c in circumstances]
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Measured {when}, at a load average of {min(loads):g} to {max(loads):g} before each item."


def _row(result: Result) -> str:
    peer = "" if result.peer is None else f"{number(result.peer)} ({result.peer_version})"
    ratio = "" if result.ratio is None else _times(result.ratio)
    cells = (
        f"`{result.name}`", result.what, f"{number(result.ours)} {result.unit}", peer, ratio, _target(result),
        {True: "met", False: "**missed**", None: ""}[result.met],
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _target(result: Result) -> str:
    if result.target is None:
        return ""
    sign = "≥" if result.bound in (Bound.RATIO_AT_LEAST, Bound.OURS_AT_LEAST) else "≤"
    if result.bound in (Bound.RATIO_AT_LEAST, Bound.RATIO_AT_MOST):
        return f"{sign} {_times(result.target)}"
    return f"{sign} {number(result.target)}"


def _times(ratio: float) -> str:
    return f"{number(ratio)}x"


def number(value: float) -> str:
    """A figure as people read it: three digits, thousands apart."""
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _missed(kept: Sequence[Kept], items: Sequence[Item]) -> list[str]:
    names = [item.name for item in items]
    missed = [k.result for k in kept if k.result.met is False]
    if not missed:
        return ["All targets are met.", ""] if any(k.result.met for k in kept) else []
    lines = ["### What is missed, and what limits it", ""]
    limits = {item.name: item.limits for item in items}
    for result in missed:
        limit = limits.get(item_of(result.name, names) or "", "")
        why = f": {limit}" if limit else "."
        lines.append(f"* `{result.name}` misses its target by {(result.missed_by or 0) * 100:.0f} %{why}")
    return [*lines, ""]


def _methods(items: Sequence[Item]) -> str:
    lines = ["## How each is measured", ""]
    lines += [f"* `{item.name}`: {item.how}" for item in items]
    return "\n".join([*lines, ""])
