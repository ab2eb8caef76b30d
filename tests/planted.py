"""Data sets with and without rows where a model is worse, and what may be searched in them."""

from collections.abc import Callable

import numpy as np

from modelwarden_server.analysis.hotspots.choose import LEAST_DIFFERENCE, chosen
from modelwarden_server.analysis.hotspots.find import Findings, Task, find
from modelwarden_server.analysis.hotspots.outcomes import Classified, Metric, Outcome
from modelwarden_server.analysis.hotspots.rules import Rule
from modelwarden_server.analysis.hotspots.table import Categories, Mask, Numbers, Table

ACCURACY = frozenset({Metric.ACCURACY})


def columns(rows: int, seed: int, many: int = 12) -> Table:
    """Normal, skewed and whole numbers (some missing) and categories, all independent."""
    rng = np.random.default_rng(seed)
    found: list[Numbers | Categories] = []
    for number in range(many):
        match number % 4:
            case 0:
                values = rng.normal(size=rows)
            case 1:
                values = np.where(rng.random(rows) < 0.1, np.nan, rng.lognormal(size=rows))
            case 2:
                values = rng.integers(0, 20, rows).astype(np.float64)
            case _:
                codes = rng.choice(7, rows, p=[0.3, 0.2, 0.15, 0.15, 0.1, 0.07, 0.03]) - (
                    rng.random(rows) < 0.05
                )
                found.append(Categories(f"x{number}", codes.astype(np.int32), tuple("abcdefg")))
                continue
        found.append(Numbers(f"x{number}", values))
    return Table(rows, found)


def classified(bad: Mask, seed: int, usual: float = 0.12, there: float = 0.45) -> Classified:
    """Two classes; wrong in this share of the usual and of the bad rows."""
    rng = np.random.default_rng(seed + 1000)
    wrong = rng.random(len(bad)) < np.where(bad, there, usual)
    true = (rng.random(len(bad)) < 0.4).astype(np.int32)
    return Classified(("no", "yes"), true, np.where(wrong, 1 - true, true).astype(np.int32), 1)


def searched(table: Table, outcome: Outcome, seed: int = 7, **more: object) -> tuple[Findings, Mask]:
    """What is found, and the rows it was searched on."""
    finding = np.random.default_rng(seed).random(table.rows) < 0.5
    return find(Task(table, outcome, finding, **more)), finding  # type: ignore[arg-type]


def hotspots(
    found: Findings, metric: Metric = Metric.ACCURACY, enough: Callable[..., bool] | None = None
) -> list[Rule]:
    """The rules that are told."""
    enough = enough or (lambda one: (one.difference or 0.0) >= LEAST_DIFFERENCE)
    return [found.rules[place] for place in chosen(found.judged[metric], enough)]
