"""Drift of a million rows and thirty columns against a reference, from rows in memory: ours and peers'."""

from dataclasses import dataclass

from benchmarks.environments import python_of
from benchmarks.harness import ROUNDS, ROUNDS_OF_SLOW_PEERS, Item, Setting, race
from benchmarks.results import Result
from benchmarks.workers import ours, peer

_LIMITS = (
    "finding each number's cell among some 450 borders, and the dictionaries of the text columns, are"
    " nearly all of the time; partials spend it once, when rows come in."
)


@dataclass(frozen=True)
class _Peer:
    name: str
    does: str
    target: float
    slow: bool = True

    @property
    def script(self) -> str:
        return f"drift_{self.name.replace('-', '_')}"

    def measure(self, setting: Setting) -> list[Result]:
        python = python_of(self.name, setting.tell)
        usual = ROUNDS_OF_SLOW_PEERS if self.slow else ROUNDS
        sides = ours("drift", setting.scale), peer(python, self.script, setting.scale)
        found = race(*sides, setting, "rows", usual, warm=not self.slow)
        return [found.rate(f"drift-{self.name}", "drift of 1M rows x 30 columns", "rows", self.target)]

    def item(self) -> Item:
        rounds = f"; {ROUNDS_OF_SLOW_PEERS} rounds, because it is slow" if self.slow else ""
        ours_is = "PSI, KL and JS of all 30 columns (24 numbers, 6 texts)"
        how = f"ours is {ours_is}; the peer's is {self.does}{rounds}."
        return Item(f"drift-{self.name}", how, self.measure, _LIMITS)


ITEMS = tuple(
    p.item()
    for p in (
        _Peer("evidently", "its preset with PSI for all columns, which bins the reference in each run", 100),
        _Peer("nannyml", "the Jensen-Shannon distance of all columns over one chunk, fitted beforehand", 20),
        _Peer("whylogs", "a profile of all columns (sketches, no drift score yet)", 100),
        _Peer("alibi-detect", "the Kolmogorov-Smirnov test of the 24 numbers alone", 10, slow=False),
    )
)
