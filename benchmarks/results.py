"""What was measured, as it is kept in `benchmarks/results.json`: one entry a figure, the newest of each name.

A run of one item replaces that item's entries and leaves the others. Must not know how anything is measured.
"""

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from testbed.cache import write_atomically

RESULTS = Path(__file__).resolve().parent / "results.json"


class Bound(StrEnum):
    """What a target bounds."""

    RATIO_AT_LEAST = "ratio at least"
    RATIO_AT_MOST = "ratio at most"
    OURS_AT_LEAST = "ours at least"
    OURS_AT_MOST = "ours at most"


@dataclass(frozen=True)
class Result:
    """One figure. `name` is the item's, or begins with it; `ratio` is ours / peer's."""

    name: str
    what: str
    unit: str
    ours: float
    peer: float | None = None
    peer_version: str | None = None
    ratio: float | None = None
    target: float | None = None
    bound: Bound | None = None
    rounds: int = 1

    def rounded(self) -> "Result":
        """The same in four digits: more would promise what a measurement does not hold."""
        peer, ratio = (None if v is None else float(f"{v:.4g}") for v in (self.peer, self.ratio))
        return replace(self, ours=float(f"{self.ours:.4g}"), peer=peer, ratio=ratio)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        value = self._bounded
        if self.target is None or value is None:
            return None
        at_least = self.bound in (Bound.RATIO_AT_LEAST, Bound.OURS_AT_LEAST)
        return value >= self.target if at_least else value <= self.target

    @property
    def missed_by(self) -> float | None:
        """How far the value is from a target that is missed, as a share of the target."""
        value = self._bounded
        if self.met is not False or self.target is None or value is None:
            return None
        return abs(value - self.target) / self.target

    @property
    def _bounded(self) -> float | None:
        return self.ratio if self.bound in (Bound.RATIO_AT_LEAST, Bound.RATIO_AT_MOST) else self.ours


@dataclass(frozen=True)
class Circumstances:
    """When and on what something was measured."""

    measured: str
    machine: str
    python: str
    load: float

    @classmethod
    def now(cls) -> "Circumstances":
        """Those of this process. `load` is what else is running: the load average of the last minute."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        cores = len(os.sched_getaffinity(0))
        machine = (
            f"{cores} cores of {_processor()}, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
        )
        today = time.strftime("%Y-%m-%d", time.gmtime())
        return cls(today, machine, platform.python_version(), round(os.getloadavg()[0], 1))


@dataclass(frozen=True)
class Kept:
    """A result as it stands in the file."""

    result: Result
    circumstances: Circumstances


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or "an unnamed processor"


def read(path: Path = RESULTS) -> list[Kept]:
    """What is kept in the file; nothing if there is none. Raises ValueError for a file of another form."""
    if not path.exists():
        return []
    try:
        return [_kept(entry) for entry in json.loads(path.read_text())]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `make bench` writes: {error!r}") from error


def keep(
    found: Sequence[Kept], items: Iterable[str], order: Sequence[str], path: Path = RESULTS
) -> list[Kept]:
    """Put what was found in the file, in the place of all entries of the measured `items`; returns all.

    `order` names all items there are, as the file lists them; entries of others are dropped.
    """
    measured = set(items)
    before = [kept for kept in read(path) if item_of(kept.result.name, order) not in measured]
    both = [kept for kept in [*before, *found] if item_of(kept.result.name, order) is not None]
    entries = sorted(both, key=lambda kept: order.index(str(item_of(kept.result.name, order))))
    write_atomically(path, json.dumps([_entry(kept) for kept in entries], indent=2) + "\n")
    return read(path)  # as they stand there, in four digits: the page is made of these


def item_of(name: str, items: Sequence[str]) -> str | None:
    """The item that a result belongs to: the longest that its name begins with."""
    found = [item for item in items if name == item or name.startswith(f"{item}-")]
    return max(found, key=len, default=None)


def _entry(kept: Kept) -> dict[str, Any]:
    result = kept.result.rounded()
    return asdict(result) | {"met": result.met} | asdict(kept.circumstances)


def _kept(entry: dict[str, Any]) -> Kept:
    of_result, of_circumstances = (
        {field.name: entry[field.name] for field in fields(kind)} for kind in (Result, Circumstances)
    )
    if of_result["bound"] is not None:
        of_result["bound"] = Bound(of_result["bound"])
    return Kept(Result(**of_result), Circumstances(**of_circumstances))
