"""Fairness of six groups, with intervals and tests: from rows in memory, or from sums as cells keep them."""

import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from benchmarks.peers.fairness_data import GROUPS, THRESHOLD, WORST, figures, rows
from benchmarks.peers.turns import Round, serve
from modelwarden.resources.attributes import Stage, ValueType
from modelwarden.resources.resolved import ResolvedAttribute
from modelwarden_server.analysis.fairness.comparison import FairnessRule
from modelwarden_server.analysis.fairness.outcomes import Outcomes, grid_bin
from modelwarden_server.analysis.performance.outcome import Outcome, Task, Truth
from modelwarden_server.analysis.score_grid import BINS, BinaryCounts, score_bins
from modelwarden_server.query.performance.fair_rows import RowGroups
from modelwarden_server.query.performance.fairness import Cut, compared, described, outcomes_of
from modelwarden_server.query.performance.populations import Population

ROUNDS_OF_SUMS = 200
_OUTCOME = Outcome(Task.BINARY, ("p",), (Truth("y"),), ("p", "not_p"))
_GROUP = ResolvedAttribute(
    name="g",
    value_type=ValueType.STRING,
    stage=Stage.NON_INPUT_DATA,
    position=0,
    categorical=True,
    categories=GROUPS,
)


class _Table:
    """Rows in memory, as many at a time as a scan of files gives."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See Rows."""
        yield from self._table.select(list(columns)).to_batches(max_chunksize=65_536)


def prepare_rows(scale: float) -> Round:
    """From a score, a label and a text a row: nothing is counted beforehand."""
    score, label, group = rows(scale)
    table = _Table(pa.table({"p": score, "y": label, "g": pa.array(group.tolist(), pa.string())}))
    return _round(len(score), 1, lambda: RowGroups(_GROUP, _OUTCOME, THRESHOLD, table).counted())


def prepare_sums(scale: float) -> Round:
    """From rows and labels by group and score bin, as a cell keeps them; counted beforehand."""
    score, label, group = rows(scale)
    bins, counts = score_bins(score), {}
    for name in GROUPS:
        here = group == name
        parts = (here, here & (label == 1), here & (label == 0))
        counts[Population("g", name)] = BinaryCounts(*(np.bincount(bins[p], minlength=BINS) for p in parts))
    place = grid_bin(THRESHOLD)
    assert place is not None
    cut = Cut(THRESHOLD, place, exact=True)
    return _round(len(score), ROUNDS_OF_SUMS, lambda: outcomes_of("g", counts, {}, cut))


def _round(number: int, times: int, counted: Callable[[], dict[str, Outcomes]]) -> Round:
    def once() -> dict[str, float]:
        for _ in range(times):
            told = described(compared(counted(), FairnessRule()))
        if told["rows"] != number:
            raise AssertionError(f"{told['rows']} rows were counted, not {number}")
        rates: dict[str, dict[str, float]] = {}
        for one in told["groups"]:
            for metric, rate in one["rates"].items():
                rates.setdefault(metric, {})[one["group"]] = rate["value"]
        return {"units": number * times, **figures(rates, {name: told[name] for name in WORST})}

    return once


if __name__ == "__main__":
    serve({"rows": prepare_rows, "sums": prepare_sums}[sys.argv[2]], "modelwarden")
