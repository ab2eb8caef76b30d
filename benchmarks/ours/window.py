"""Thirty days of ten million rows, asked for their drift: from partials in memory, or by reading all rows
again. The rescan is pyarrow and numpy at their fastest, with bins of equal width that need no search.
"""

import atexit
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.ours.drift_columns import Scores, profiles_of
from benchmarks.ours.folded import EVENT, Folded
from benchmarks.peers.drift_data import CATEGORICAL, NUMERIC, REFERENCE_ROWS, frame
from benchmarks.peers.turns import Round, serve
from modelwarden_server.analysis.partials import SLICES_PER_DAY
from modelwarden_server.store.delta import AppendTable

DAYS = 30
FILES = 20
ROWS = 10_000_000
_START = 1_700_006_400_000_000  # midnight
_DAY = 86_400_000_000
_REPEATS = 20
_BINS = 20
_LOW, _WIDTH = -5.0, 0.5


def prepare_partials(scale: float) -> Round:
    """Windows of thirty days that begin and end in the middle of a slice's hour, `_REPEATS` a round."""
    profiles = profiles_of(_reference(scale))
    scores, folded = Scores(profiles), Folded(profiles)
    for rows in _rows(scale):
        folded.add(rows)
    first = _START // _DAY * SLICES_PER_DAY
    offset = 0 if sys.argv[2:] == ["days"] else 7

    def once() -> int:
        for _ in range(_REPEATS):
            totals = folded.timeline.window(first + offset, first + DAYS * SLICES_PER_DAY + offset)
            scores.of(folded.by_column(totals))
        if not totals[0] >= (1 - offset / SLICES_PER_DAY) * folded.timeline.rows:
            raise AssertionError(f"the window has {totals[0]} rows")
        return _REPEATS

    return once


def prepare_rescan(scale: float) -> Round:
    """One pass over all rows a round: bins counted, PSI computed."""
    folder = tempfile.TemporaryDirectory(prefix="modelwarden-bench-")
    atexit.register(folder.cleanup)
    base: Mapping[str, np.ndarray] = {}
    for batch in _reference(scale).to_batches():
        base = _counted(batch, base)
    table: AppendTable | None = None
    for number, rows in enumerate(_rows(scale)):
        table = table or AppendTable.open(Path(folder.name) / "rows", rows.schema)
        table.append(rows, {"bench": number + 1})

    def once() -> int:
        assert table is not None
        counts: Mapping[str, np.ndarray] = {}
        for file in table.files:
            with pq.ParquetFile(table.folder / file.name, read_dictionary=list(CATEGORICAL)) as parquet:
                for batch in parquet.iter_batches(65_536, columns=[*NUMERIC, *CATEGORICAL]):
                    counts = _counted(batch, counts)
        if sum(counts[NUMERIC[0]]) != table.rows:
            raise AssertionError("rows are missing")
        for name in counts:
            _psi(base[name], counts[name])
        return 1

    return once


def _reference(scale: float) -> pa.Table:
    return pa.table(frame(max(1000, round(REFERENCE_ROWS * scale)), seed=1, shift=0.0))


def _rows(scale: float) -> Iterator[pa.Table]:
    each = max(1000, round(ROWS * scale / FILES))
    for number in range(FILES):
        rows = pa.table(frame(each, seed=number + 2, shift=0.01))
        moments = _START + (number + np.arange(each) / each) * (DAYS * _DAY / FILES)
        yield rows.append_column(EVENT, pa.array(moments.astype(np.int64), pa.timestamp("us", "UTC")))


def _counted(batch: pa.RecordBatch, before: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    counts: dict[str, np.ndarray] = {}
    for name in NUMERIC:
        places = ((batch.column(name).to_numpy() - _LOW) / _WIDTH).astype(np.int64)
        counts[name] = np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)
    for name in CATEGORICAL:
        column = batch.column(name)
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        found = np.zeros(_BINS, dtype=np.int64)
        numbers = [int(text.removeprefix("value-")) for text in coded.dictionary.to_pylist()]
        found[numbers] = np.bincount(coded.indices.to_numpy(), minlength=len(numbers))
        counts[name] = found
    return {name: count + before.get(name, 0) for name, count in counts.items()}


def _psi(base: np.ndarray, target: np.ndarray) -> float:
    p, q = (np.maximum(counts, 0.5) / counts.sum() for counts in (base, target))
    return float(np.sum((p - q) * np.log(p / q)))


if __name__ == "__main__":
    serve(prepare_rescan if sys.argv[2:] == ["rescan"] else prepare_partials, "modelwarden")
