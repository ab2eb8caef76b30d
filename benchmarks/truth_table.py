"""Planted faults and clean windows: what the verdict finds, and how often it cries wolf.

    python -m benchmarks.truth_table --windows 200 --references 3 --write docs/truth-table.md

A model of 30 features, three references, windows of 100, 1000 and 5000 rows. Clean windows are judged as they
are, without a season and with one (weekdays and weekends that the reference covers, with times and without);
each fault is planted in one attribute of an otherwise clean window. An alarm is any finding at all. Draws
its numbers from a seed; reads and writes nothing but the page.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import performance_truth
from modelwarden_server.analysis.code_space import CodeSpace, Times
from modelwarden_server.analysis.columns import Column
from modelwarden_server.analysis.drift import DriftRule
from modelwarden_server.analysis.lag import CELLS as LAG_CELLS
from modelwarden_server.analysis.lag import lag_cells
from modelwarden_server.analysis.partials import Integers, total
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.quality import History, lag, volume
from modelwarden_server.analysis.relations import relate
from modelwarden_server.analysis.verdict import WindowJudge, WindowVerdict

Values = npt.NDArray[np.float64]
Data = dict[str, np.ndarray]
Rng = np.random.Generator

INSTANT = pa.timestamp("us", "UTC")
RULE = DriftRule("PSI", None, 100, 0.05)
SIZES = (100, 1000, 5000)
REFERENCE_ROWS = 10_000
DAYS = 56
COLUMNS = (
    *(Column(f"x{i}", "FLOAT", "PIPELINE_INPUT") for i in range(20)),
    *(Column(f"n{i}", "INTEGER", "PIPELINE_INPUT") for i in range(5)),
    *(Column(f"c{i}", "STRING", "PIPELINE_INPUT", categorical=True) for i in range(4)),
    Column("p", "FLOAT", "PREDICTED_VALUE"),
)
SEASONS = ("none", "with times", "in the order of the rows")


def rows(rng: Rng, n: int, weekend: Values | None = None) -> Data:
    """Rows of the model: normal and lognormal numbers, counts, categories, two correlated pairs, a score. On
    weekends half of the numbers, all counts and half of the categories are others.
    """
    s = np.zeros(n) if weekend is None else weekend
    common = rng.normal(size=n)
    data: Data = {}
    for i in range(20):
        values = rng.normal(size=n) + (0.6 * s if i % 2 == 0 else 0.0)
        if i in (2, 3):
            values = 0.8 * common + 0.6 * values
        data[f"x{i}"] = np.exp(values) if i % 4 == 1 else values
    for i in range(5):
        data[f"n{i}"] = rng.poisson(3 + 4 * i + 2 * s, n)
    for i in range(4):
        steps = rng.geometric(0.35 + 0.1 * s * (i % 2), n)
        data[f"c{i}"] = np.array(list("abcdefgh"))[np.minimum(7, steps - 1)]
    data["p"] = 1 / (1 + np.exp(-(0.5 * data["x0"] + common - 1)))
    return data


def some(rng: Rng, n: int, share: float) -> npt.NDArray[np.bool_]:
    """A random part of the rows."""
    return rng.random(n) < share


def _scaled(name: str, factor: float, share: float = 1.0) -> Callable[[Rng, Data], None]:
    def plant(rng: Rng, data: Data) -> None:
        values = data[name]
        data[name] = np.where(some(rng, len(values), share), values * factor, values)

    return plant


def _shifted(name: str, by: float) -> Callable[[Rng, Data], None]:
    def plant(_rng: Rng, data: Data) -> None:
        data[name] = data[name] + by

    return plant


def _shuffled(name: str) -> Callable[[Rng, Data], None]:
    def plant(rng: Rng, data: Data) -> None:
        data[name] = rng.permutation(data[name])

    return plant


def _missing(name: str, share: float) -> Callable[[Rng, Data], None]:
    def plant(rng: Rng, data: Data) -> None:
        data[name] = np.where(some(rng, len(data[name]), share), np.nan, data[name])

    return plant


def _renamed(name: str, old: str, new: str, share: float) -> Callable[[Rng, Data], None]:
    def plant(rng: Rng, data: Data) -> None:
        hit = (data[name] == old) & some(rng, len(data[name]), share)
        data[name] = np.where(hit, new, data[name])

    return plant


def _repeated(share: float) -> Callable[[Rng, Data], None]:
    def plant(rng: Rng, data: Data) -> None:
        n = len(data["p"])
        place = np.arange(n)
        copies = some(rng, n, share)
        place[copies] = rng.integers(0, n, int(copies.sum()))
        for name in data:
            data[name] = data[name][place]

    return plant


FAULTS: Mapping[str, Callable[[Rng, Data], None]] = {
    "shift by 0.3 standard deviations": _shifted("x7", 0.3),
    "shift by 0.5 standard deviations": _shifted("x7", 0.5),
    "shift by 1 standard deviation": _shifted("x7", 1.0),
    "counts one higher": _shifted("n1", 1),
    "spread 1.4 times as wide": _scaled("x7", 1.4),
    "other unit, all rows (×2.54)": _scaled("x9", 2.54),
    "other unit, 3 % of rows (×1000)": _scaled("x9", 1000.0, 0.03),
    "other unit, 3 % of rows (×100)": _scaled("x9", 100.0, 0.03),
    "other unit, 3 % of rows (×0.001)": _scaled("x9", 0.001, 0.03),
    "sign turned, 3 % of rows of a positive number": _scaled("x9", -1.0, 0.03),
    "missing, 3 % of rows": _missing("x7", 0.03),
    "missing, all rows": _missing("x7", 1.0),
    "a category renamed": _renamed("c0", "d", "D", 1.0),
    "a new category, 3 % of rows": _renamed("c0", "a", "new", 0.09),
    "two categories joined": _renamed("c0", "c", "b", 1.0),
    "broken correlation of two inputs": _shuffled("x3"),
    "prediction no longer follows its input": _shuffled("p"),
    "10 % of rows come again": _repeated(0.10),
    "5 % of rows come again": _repeated(0.05),
}
FLOWS = (
    "a third of the rows",
    "three times the rows",
    "all rows two hours late",
    "10 % of rows a day late",
)


@dataclass(frozen=True)
class World:
    """One reference and what judges windows against it."""

    season: str
    judge: WindowJudge

    @classmethod
    def of(cls, rng: Rng, season: str, rows_in_all: int = REFERENCE_ROWS) -> "World":
        """A reference of eight weeks."""
        days = np.sort(rng.uniform(0, DAYS, rows_in_all))
        weekend = (days.astype(int) % 7 >= 5).astype(float) if season != "none" else None
        table = pa.table({name: pa.array(v) for name, v in rows(rng, rows_in_all, weekend).items()})
        time = "when" if season == "with times" else None
        if time is not None:
            order = rng.permutation(rows_in_all)  # a file need not be in the order of time
            table = table.append_column(time, pa.array((days * 86_400e6).astype(np.int64)).cast(INSTANT))
            table = table.take(pa.array(order))
        profiles = tuple(profile_column(c, partial(_chunks, table, c.name)) for c in COLUMNS)
        relations = relate(profiles, rows_in_all, lambda: table.to_batches(max_chunksize=8192), time)
        profile = ReferenceProfile("", rows_in_all, profiles, relations)
        return cls(season, WindowJudge(profile, CodeSpace.of(profile, frozenset(c.name for c in COLUMNS))))

    def window(self, rng: Rng, n: int, number: int) -> Data:
        """A clean window: of weekdays and weekends by turns, every third on the border of both."""
        if self.season == "none":
            return rows(rng, n)
        place = np.full(n, float(number % 2)) if number % 3 else (rng.random(n) < 0.4).astype(float)
        return rows(rng, n, place)

    def verdict(self, data: Data, rule: DriftRule = RULE) -> WindowVerdict:
        """What is said of these rows."""
        space = self.judge.space
        moment = pa.array(np.full(len(data["p"]), 10**15)).cast(INSTANT)
        table = pa.table({name: pa.array(v) for name, v in data.items()} | {"at": moment})
        return self.judge.judge(total(space.fold(table, Times("at", "at")), space.size), rule)


def _chunks(table: pa.Table, name: str) -> list[pa.Array]:
    found: list[pa.Array] = table.column(name).chunks
    return found


def told(verdict: WindowVerdict) -> list[str]:
    """The attributes (or kinds of finding) that raise the alarm."""
    names = [f.drift.name for f in verdict.features if f.drifted]
    names += [f"{p.change.one}~{p.change.other}" for p in verdict.pairs if p.broken]
    names += [f"{v.attribute} {v.question.value}" for v in verdict.values if v.raised]
    return [*names, *(["repeats"] if verdict.repeats is not None and verdict.repeats.raised else [])]


def lags(rng: Rng, n: int) -> Integers:
    """Counts by cell of rows that arrive within some seconds, a few within minutes."""
    seconds = np.where(rng.random(n) < 0.01, rng.exponential(120, n), rng.lognormal(0.5, 0.8, n))
    return counted(seconds)


def counted(seconds: Values) -> Integers:
    """Counts by cell of lag."""
    cells = lag_cells(np.zeros(len(seconds), dtype=np.int64), (seconds * 1e6).astype(np.int64))
    return np.bincount(cells, minlength=LAG_CELLS).astype(np.int64)


def flow_alarm(rng: Rng, n: int, fault: str | None) -> bool:
    """Whether volume or lag raises the alarm, after ten windows as they should be."""
    sizes = rng.poisson(n, 10)
    history = History(86_400, tuple(sizes.tolist()), tuple(lags(rng, int(size)) for size in sizes))
    factor = {"a third of the rows": 1 / 3, "three times the rows": 3.0}.get(fault or "", 1.0)
    size = int(rng.poisson(n * factor))
    found = lags(rng, size)
    if fault == "all rows two hours late":
        found = counted(7200 + rng.exponential(60, size))
    if fault == "10 % of rows a day late":
        late = int(0.1 * size)
        found = lags(rng, size - late) + counted(86_400 + rng.exponential(3600, late))
    return volume(size, history).raised or lag(found, history, 100).raised


@dataclass(frozen=True)
class Line:
    """One line of the table: the share of windows with an alarm, by number of rows."""

    what: str
    season: str
    shares: tuple[float, ...]


def clean_lines(seed: int, references: int, windows: int) -> Iterator[Line]:
    """How often clean windows raise an alarm, over several references."""
    for season in SEASONS:
        alarms = np.zeros(len(SIZES))
        for number in range(references):
            rng = np.random.default_rng([seed, number])
            world = World.of(rng, season)
            for place, n in enumerate(SIZES):
                raised = (world.verdict(world.window(rng, n, k)).raised for k in range(windows))
                alarms[place] += sum(raised)
        yield Line("clean", season, tuple(alarms / (references * windows)))
    rng = np.random.default_rng([seed, 99])
    flows = [sum(flow_alarm(rng, n, None) for _ in range(references * windows)) for n in SIZES]
    yield Line("clean: volume and lag", "none", tuple(found / (references * windows) for found in flows))


def fault_lines(seed: int, season: str, windows: int) -> Iterator[Line]:
    """How often each fault is found."""
    rng = np.random.default_rng([seed, 7])
    world = World.of(rng, season)
    for what, plant in FAULTS.items():
        shares = []
        for n in SIZES:
            found = 0
            for number in range(windows):
                data = world.window(rng, n, number)
                plant(rng, data)
                found += world.verdict(data).raised
            shares.append(found / windows)
        yield Line(what, season, tuple(shares))
    for what in FLOWS if season == "none" else ():
        shares = [sum(flow_alarm(rng, n, what) for _ in range(windows)) / windows for n in SIZES]
        yield Line(what, season, tuple(shares))


def page(clean: list[Line], faults: list[Line], command: str) -> str:
    """The table as a page."""
    head = (
        "| | season | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|---|" + "---|" * len(SIZES) + "\n"
    )

    def body(lines: list[Line]) -> str:
        return "".join(
            f"| {line.what} | {line.season} | " + " | ".join(f"{100 * s:.1f} %" for s in line.shares) + " |\n"
            for line in lines
        )

    return (
        "# What the verdict finds, and what it does not\n\n"
        "Made by the command below from planted faults: 30 features, a reference of 10 000 rows over eight"
        " weeks, defaults but for `minimumRows: 100`. An alarm is any finding in the window.\n\n"
        f"```\n{command}\n```\n\n## Alarms in clean windows\n\n{head}{body(clean)}\n"
        f"## Faults that are found\n\nEach in one attribute (or one pair) of an otherwise clean window.\n\n"
        f"{head}{body(faults)}"
    )


def main() -> None:
    """Print the table, and write it where it is told to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=200, help="clean windows for each reference and size")
    parser.add_argument("--references", type=int, default=3)
    parser.add_argument("--faulty", type=int, default=20, help="windows for each fault and size")
    parser.add_argument("--performance", type=int, default=100, help="windows for each case of performance")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    clean = list(clean_lines(given.seed, given.references, given.windows))
    faults = [line for season in SEASONS[:2] for line in fault_lines(given.seed, season, given.faulty)]
    command = (
        f"python -m benchmarks.truth_table --windows {given.windows} --references {given.references}"
        f" --faulty {given.faulty} --performance {given.performance} --seed {given.seed}"
    )
    harm, fine = performance_truth.lines(given.seed, given.performance, given.references)
    text = f"{page(clean, faults, command)}\n{performance_truth.page(harm, fine)}"
    print(text)
    if given.write is not None:
        given.write.write_text(text)


if __name__ == "__main__":
    main()
