"""A model that treats two sexes differently, its reference, and a training over it in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import census_like
import numpy as np
import pyarrow as pa

from modelwarden.resources.cell import CellIdentity
from modelwarden_server.analysis.artefact import Artefact
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.enrichments.kind import REFERENCE, input_hash
from modelwarden_server.jobs.train_bias import train
from modelwarden_server.jobs.training import TrainingInput
from modelwarden_server.schema.compiled import EVENT_TIME, INSTANT

AGES = [
    {"continuousEnd": 30},
    {"continuousStart": 30, "continuousEnd": 60},
    {"continuousStart": 60},
]
ATTRIBUTES = [
    census_like.attribute("age", "INTEGER", "PIPELINE_INPUT", monitorForBias=True, bins=AGES),
    census_like.attribute("sex", "STRING", "NON_INPUT_DATA", categorical=True, monitorForBias=True),
    census_like.attribute("town", "STRING", "PIPELINE_INPUT", categorical=True),
    census_like.attribute(
        "p", "FLOAT", "PREDICTED_VALUE", attributeLink="y", isPositivePredictedAttribute=True
    ),
    census_like.attribute("y", "INTEGER", "GROUND_TRUTH", attributeLink="p", categorical=True),
]
FIRST = 1_767_225_600_000_000  # 2026-01-01


def identity(attributes: Sequence[dict[str, Any]] = ATTRIBUTES, **spec: Any) -> CellIdentity:
    return census_like.identity(attributes, **spec)


def reference(rows: int = 6000, seed: int = 1, **columns: Any) -> pa.Table:
    """Rows as the reference's table holds them. The model scores women lower than their labels deserve."""
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], rows, p=[0.4, 0.6])
    label = (rng.random(rows) < 0.4).astype(np.int64)
    score = np.clip(rng.normal(0.35 + 0.3 * label - 0.12 * (sex == "f"), 0.15), 0, 1)
    made = {
        "age": pa.array(rng.integers(18, 90, rows)),
        "sex": pa.array(sex),
        "town": pa.array(rng.choice(["north", "south"], rows)),
        "p": pa.array(score),
        "y": pa.array(label),
        EVENT_TIME: pa.array(FIRST + np.arange(rows) * 1_000_000).cast(INSTANT),
    }
    return pa.table({name: columns.get(name, values) for name, values in made.items()})


def spec(
    name: str, values: Sequence[str] = (), ranges: Sequence[Sequence[float | None]] = ()
) -> dict[str, Any]:
    return {"name": name, "values": list(values), "ranges": [list(r) for r in ranges]}


INPUTS = {
    "dataset": "train",
    REFERENCE: "c" * 64,
    "attributes": [spec("age", ranges=[[None, 30], [30, 60], [60, None]]), spec("sex")],
    "constraints": ["demographic_parity", "equal_opportunity", "equalized_odds"],
    "threshold": 0.5,
    "least_rows": 30,
}


def given(table: pa.Table, cell: CellIdentity, pieces: int = 1000, **inputs: Any) -> TrainingInput:
    """A training as a Job gives it, reading the table in pieces."""
    wanted = INPUTS | inputs
    key = input_hash("bias", 1, wanted)

    def read(columns: Sequence[str] | None, rows_at_once: int) -> Iterator[pa.RecordBatch]:
        del rows_at_once
        yield from (table if columns is None else table.select(list(columns))).to_batches(
            max_chunksize=pieces
        )

    return TrainingInput(
        kind="bias",
        input_hash=key,
        inputs=wanted,
        identity=cell,
        classifier_threshold=0.5,
        columns=columns_of(cell.attributes),
        records=table.num_rows,
        seed=int(key[:8], 16),
        workdir=Path(),
        read_reference=read,
        read_rows=read,
    )


def trained(table: pa.Table, cell: CellIdentity | None = None, pieces: int = 1000, **inputs: Any) -> Artefact:
    return train(given(table, cell or identity(), pieces, **inputs), lambda *_args, **_facts: None)
