"""Anomaly scores of 100 000 rows of 20 columns: our arrays and scikit-learn's trees, one forest in one run;
and what training takes.
"""

import statistics

import numpy as np
import sklearn

from benchmarks.harness import Case, Item, Setting, here, measure, repeat
from benchmarks.ours.anomaly import columns, rows
from benchmarks.results import Bound, Result
from benchmarks.workers import BenchError, ours
from modelwarden_server.analysis.encoding import fit_encoder
from modelwarden_server.analysis.forest import SAMPLE, TREES, converted

_ROUNDS = 3
_CLOSE = 1e-9
_TRAINING_SECONDS = 10.0
_TRAINING_MEBIBYTES = 1024.0
"""Half of what a training Job may have by default."""


def _measured(setting: Setting) -> list[Result]:
    from sklearn.ensemble import IsolationForest

    known = rows(setting.scale, seed=1)
    encoder = fit_encoder(columns(), known).encoder
    grown = IsolationForest(n_estimators=TREES, max_samples=SAMPLE, random_state=1, n_jobs=1)
    grown.fit(np.ascontiguousarray(encoder.encode(known.to_batches()[0])))
    forest = converted(grown, SAMPLE)
    matrix = encoder.encode(rows(setting.scale, seed=2).to_batches()[0])
    theirs = np.ascontiguousarray(matrix)
    apart = float(np.abs(forest.score(matrix) + grown.score_samples(theirs)).max())
    if apart > _CLOSE:
        raise BenchError(f"our scores are not scikit-learn's: {apart:.2g} apart")

    def mine() -> int:
        return len(forest.score(matrix))

    def peer() -> int:
        return len(grown.score_samples(theirs))

    what = "anomaly scores of 100k rows x 20 columns"
    version = f"scikit-learn {sklearn.__version__}"
    scored = Case("anomaly", version, "rows", here(mine), here(peer), target=1, what=what)
    setting.tell("training")
    turns = repeat(ours("anomaly", setting.scale), setting, _ROUNDS)
    cpu, peak = (
        statistics.median(found) for found in zip(*((t.cpu, t.more["peak"]) for t in turns), strict=True)
    )
    return [
        measure(scored, setting),
        Result("anomaly-training", "training on 100k rows x 20 columns", "CPU s", cpu,
               target=_TRAINING_SECONDS, bound=Bound.OURS_AT_MOST, rounds=len(turns)),
        Result("anomaly-training-memory", "... its process' peak resident memory", "MiB", peak,
               target=_TRAINING_MEBIBYTES, bound=Bound.OURS_AT_MOST, rounds=len(turns)),
    ]  # fmt: skip


ITEM = Item(
    "anomaly",
    how=(
        "one forest of 100 trees on 256 rows each, grown by scikit-learn, scores the same encoded rows twice:"
        " as its own trees, and as the arrays that a store has. That all scores are equal to 1e-9 is checked"
        " in the run. Training is what the Job does with rows in memory: encoding, forest, and the scores of"
        " one half of the reference; the first import of scikit-learn is part of its memory, not of its time."
    ),
    measure=_measured,
    limits=(
        "every node is asked of all rows: 8 comparisons of ten are for rows that never come by, and they are"
        " still quicker than jumping through memory for each row."
    ),
)
