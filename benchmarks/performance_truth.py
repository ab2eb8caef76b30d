"""Planted harm and harmless change: what the verdict on performance finds, and how often it cries wolf.

    python -m benchmarks.truth_table --performance 200     # writes it beside the table of drift

A model of two classes with a reference of 10 000 rows; windows of 1000 and 5000 rows, each judged by the code
that `/status` uses. Harm: the relation of inputs and labels turns or weakens, everywhere or in one group;
inputs move to where the model is unsure. Harmless: inputs move without the model being worse, labels come
late (those of one kind first), or are missing for some scores. Draws its numbers from a seed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from modelwarden_server.analysis.partials import Integers, merge, total
from modelwarden_server.analysis.performance.groups import GroupRule
from modelwarden_server.analysis.performance.layout import Definition, OutcomeSpace
from modelwarden_server.analysis.performance.outcome import Outcome, Task, Truth
from modelwarden_server.analysis.performance.verdict import Coverage, PerformanceJudge, settled

Rng = np.random.Generator
Values = npt.NDArray[np.float64]
SIZES = (1000, 5000)
GROUPS = tuple("abcde")
REFERENCE_ROWS = 10_000
MINIMUM_ROWS = 200


@dataclass
class People:
    """Rows of one window. `missing` are those without a label; `risk` is P(positive) as it really is."""

    x: Values
    z: Values
    group: npt.NDArray[np.int64]
    risk: Values = field(init=False)
    score: Values = field(init=False)
    label: npt.NDArray[np.int64] = field(init=False)
    missing: npt.NDArray[np.bool_] = field(init=False)

    def settle(self, rng: Rng) -> None:
        """Scores by the model, labels by the world as the model learnt it."""
        self.score = _logistic(1.8 * self.x + 0.9 * self.z - 0.8)
        self.risk = self.score.copy()
        self.missing = np.zeros(len(self.x), dtype=np.bool_)
        self.label = (rng.random(len(self.x)) < self.risk).astype(np.int64)

    def draw(self, rng: Rng) -> None:
        """Labels anew, after the risk changed."""
        self.label = (rng.random(len(self.x)) < self.risk).astype(np.int64)


def people(rng: Rng, n: int, shift: float = 0.0, spread: float = 1.0, groups: Values | None = None) -> People:
    """Rows whose inputs are moved by so much."""
    shares = np.full(len(GROUPS), 1 / len(GROUPS)) if groups is None else groups
    found = People(
        rng.normal(shift, spread, n), rng.normal(0.0, spread, n), rng.choice(len(GROUPS), n, p=shares)
    )
    found.settle(rng)
    return found


def _logistic(x: Values) -> Values:
    return np.asarray(1 / (1 + np.exp(-x)))


Window = Callable[[Rng, int], People]


def _turned(share: float) -> Window:
    def window(rng: Rng, n: int) -> People:
        found = people(rng, n)
        hit = rng.random(n) < share
        found.risk = np.where(hit, 1 - found.score, found.score)
        found.draw(rng)
        return found

    return window


def _weaker(rng: Rng, n: int) -> People:
    found = people(rng, n)
    found.risk = _logistic(0.4 * found.x - 0.8)
    found.draw(rng)
    return found


def _group_fails(rng: Rng, n: int) -> People:
    found = people(rng, n)
    found.risk = np.where(found.group == 2, 1 - found.score, found.score)
    found.draw(rng)
    return found


def _unsure(rng: Rng, n: int) -> People:
    return people(rng, n, shift=0.45, spread=0.35)


def _labels_flipped(rng: Rng, n: int) -> People:
    found = people(rng, n)
    found.label = 1 - found.label
    return found


def _surer(rng: Rng, n: int) -> People:
    return people(rng, n, spread=1.4)


def _other_groups(rng: Rng, n: int) -> People:
    return people(rng, n, groups=np.array([0.6, 0.1, 0.1, 0.1, 0.1]))


def _missing_by_score(rng: Rng, n: int) -> People:
    found = people(rng, n)
    found.missing = rng.random(n) < np.where(np.abs(found.score - 0.5) < 0.2, 0.1, 0.75)
    return found


def _only_approved(rng: Rng, n: int) -> People:
    found = people(rng, n)
    found.missing = (found.score >= 0.7) & (rng.random(n) < 0.9)
    return found


HARM: Mapping[str, Window] = {
    "the concept turns for half of the rows": _turned(0.5),
    "the concept turns for a fifth of the rows": _turned(0.2),
    "labels are the other way round": _labels_flipped,
    "one input no longer matters, the other less": _weaker,
    "the concept turns in one group of five": _group_fails,
    "inputs move to where the model is unsure": _unsure,
}
HARMLESS: Mapping[str, Window] = {
    "nothing": people,
    "inputs spread: the model is surer": _surer,
    "another mix of groups": _other_groups,
    "labels missing by score, least where the model is unsure": _missing_by_score,
    "labels missing for most rows with high scores": _only_approved,
}
BY_ESTIMATE: Mapping[str, Window] = {"inputs move to where the model is unsure": _unsure}


@dataclass(frozen=True)
class PerformanceWorld:
    """One reference and what judges windows against it."""

    space: OutcomeSpace
    judge: PerformanceJudge

    @classmethod
    def of(cls, rng: Rng) -> "PerformanceWorld":
        """A reference in which the model is as good as it was made."""
        outcome = Outcome(Task.BINARY, ("p",), (Truth("y"),), ("p", "not_p"))
        space = OutcomeSpace(Definition(outcome, 0.5, (GroupRule("g", GROUPS),)))
        empty = PerformanceJudge(space, None, 0.5, MINIMUM_ROWS)
        world = cls(space, empty)
        return cls(space, replace(empty, baseline=world.totals(people(rng, REFERENCE_ROWS))))

    def totals(self, rows: People) -> Integers:
        """Sums by code."""
        table = pa.table(
            {
                "p": pa.array(rows.score),
                "y": pa.array(rows.label),
                "g": pa.array(np.array(GROUPS)[rows.group]),
            }
        )
        packed, labels = self.space.packed(table), self.space.labels(table)
        slices, known = np.zeros(len(rows.x), dtype=np.int64), ~rows.missing
        parts = [self.space.fold_rows(slices, packed)]
        parts.append(self.space.fold_labels(slices[known], packed[known], labels[known]))
        return total([merge(parts)], self.space.size)

    def by_labels(self, rows: People) -> bool:
        """Whether the labels of a settled window raise the alarm."""
        return self.judge.by_labels(self.totals(rows)).worse

    def by_estimate(self, rows: People) -> bool:
        """Whether the estimate does, without a label."""
        rows.missing[:] = True
        return self.judge.by_estimate(self.totals(rows)).worse


def late_labels_alarm(rng: Rng, world: PerformanceWorld, n: int, *, delay_known: bool) -> bool:
    """Whether a history of ten windows, in which labels of positives come at once and the others' take four
    windows, raises the alarm anywhere that is said to be settled.
    """
    windows, coverage = [], []
    for age in range(10):
        rows = people(rng, n)
        rows.missing = (rows.label == 0) & (rng.random(n) < max(0.0, 1 - (age + 1) / 5))
        windows.append(world.totals(rows))
        labelled = int((~rows.missing).sum())
        coverage.append(Coverage(n, labelled, age >= 4 if delay_known else None))
    return any(
        world.judge.by_labels(totals).worse
        for totals, ready in zip(windows, settled(coverage), strict=True)
        if ready
    )


@dataclass(frozen=True)
class PerformanceLine:
    """One line of the table: the share of windows with an alarm, by number of rows."""

    what: str
    by: str
    shares: tuple[float, ...]


def lines(
    seed: int, windows: int, references: int = 3
) -> tuple[list[PerformanceLine], list[PerformanceLine]]:
    """Harm, and harmless change."""
    harm = [*_judged(seed, windows, references, HARM, "labels"),
            *_judged(seed, windows, references, BY_ESTIMATE, "estimate")]  # fmt: skip
    fine = [*_judged(seed, windows, references, HARMLESS, "labels")]
    calm = {name: HARMLESS[name] for name in list(HARMLESS)[:3]}
    fine += _judged(seed, windows, references, calm, "estimate")
    fine += _late(seed, windows, references)
    return harm, fine


def _judged(
    seed: int, windows: int, references: int, cases: Mapping[str, Window], by: str
) -> Iterator[PerformanceLine]:
    for what, draw in cases.items():
        shares = []
        for n in SIZES:
            alarms = 0
            for reference in range(references):
                rng = np.random.default_rng([seed, reference, n])
                world = PerformanceWorld.of(rng)
                judged = world.by_labels if by == "labels" else world.by_estimate
                alarms += sum(judged(draw(rng, n)) for _ in range(windows))
            shares.append(alarms / (windows * references))
        yield PerformanceLine(what, by, tuple(shares))


def _late(seed: int, windows: int, references: int) -> Iterator[PerformanceLine]:
    for known, what in ((True, "the delay is declared"), (False, "nobody said how long")):
        shares = []
        for n in SIZES:
            rng = np.random.default_rng([seed, n, known])
            found = 0
            for _ in range(references):
                world = PerformanceWorld.of(rng)
                many = max(1, windows // 10)
                found += sum(late_labels_alarm(rng, world, n, delay_known=known) for _ in range(many))
            shares.append(found / (references * max(1, windows // 10)))
        yield PerformanceLine(f"negatives' labels take four windows: {what}", "labels", tuple(shares))


def page(harm: Sequence[PerformanceLine], fine: Sequence[PerformanceLine]) -> str:
    """The table as a part of a page."""
    head = "| | by | " + " | ".join(f"n = {n}" for n in SIZES) + " |\n|---|---|" + "---|" * len(SIZES) + "\n"

    def body(lines: Sequence[PerformanceLine]) -> str:
        return "".join(
            f"| {line.what} | {line.by} | " + " | ".join(f"{100 * s:.1f} %" for s in line.shares) + " |\n"
            for line in lines
        )

    return (
        "## Is the model worse?\n\nA model of two classes, five groups, a reference of 10 000 labelled rows;"
        " each window alone (the status waits for a second one of three). By labels, or by an estimate from"
        f" the scores alone.\n\nWindows in which it is:\n\n{head}{body(harm)}\n"
        f"Windows in which it is not:\n\n{head}{body(fine)}"
    )
