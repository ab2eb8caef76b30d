"""Tables of inferences and labels over a real folder, and sums of outcomes that follow them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from modelwarden.resources.attributes import OutputType
from modelwarden.resources.cell import CellIdentity
from modelwarden.resources.monitoring import Segment
from modelwarden_server.analysis.performance.groups import group_rules, segment_rules
from modelwarden_server.analysis.performance.layout import Definition
from modelwarden_server.analysis.performance.outcome import outcome_of
from modelwarden_server.query.performance.cube import CubeSources
from modelwarden_server.query.performance.following import (
    DEFAULT_PACE,
    OutcomeFollower,
    Pace,
    numbers_of_batches,
)
from modelwarden_server.schema.compiled import INSTANT, compile_schema
from modelwarden_server.store.delta import AppendTable, Replacement

IDENTITY = CellIdentity.model_validate(
    {
        "namespace": "risk",
        "name": "credit",
        "modelId": "0b8f0e3c-7f6e-5a51-9d2e-0c4a5f3f7f10",
        "inputType": "TABULAR",
        "outputType": "MULTICLASS",
        "attributes": [
            {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT", "position": 0,
             "monitorForBias": True, "bins": [{"continuousEnd": 40}, {"continuousStart": 40}]},
            {"name": "sex", "valueType": "STRING", "stage": "PIPELINE_INPUT", "position": 1,
             "monitorForBias": True, "categorical": True, "categories": ["f", "m"]},
            {"name": "p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 0,
             "isPositivePredictedAttribute": True, "attributeLink": "paid"},
            {"name": "not_p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 1,
             "implicit": True},
            {"name": "paid", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "position": 0,
             "attributeLink": "p"},
        ],
    }
)  # fmt: skip
SCHEMA = compile_schema(IDENTITY)
STORED = frozenset(column.name for column in SCHEMA.data)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_SLICE = int(NOON.timestamp()) // 300
ALWAYS = (-(2**31), 2**31)


def definition(threshold: float = 0.5, segments: Sequence[dict[str, Any]] = ()) -> Definition:
    """What is counted of the model."""
    outcome = outcome_of(IDENTITY.attributes, OutputType.MULTICLASS)
    assert outcome is not None
    listed = [Segment.model_validate(s) for s in segments]
    rules, refused = segment_rules(listed, IDENTITY.attributes, STORED)
    assert refused == {}
    return Definition(outcome, threshold, group_rules(IDENTITY.attributes, {}), rules)


@dataclass
class OutcomeRooms:
    """What the writer does to the tables, and the sums; `rows` and `said` are what a direct count knows."""

    table: AppendTable
    truth: AppendTable
    follower: OutcomeFollower
    wanted: list[Definition]
    rows: list[pd.DataFrame] = field(default_factory=list)
    said: dict[str, tuple[float, int | None]] = field(default_factory=dict)

    def send(self, first: int, many: int, seconds: float = 0.0, batch: str = "b1") -> list[str]:
        """Inferences `id-<first>`… at so many seconds after NOON; their values follow from the number."""
        rng = np.random.default_rng(first)
        ids = [f"id-{first + n}" for n in range(many)]
        at = int((NOON.timestamp() + seconds) * 1e6)
        data = pd.DataFrame(
            {
                "id": ids,
                "slice": at // 300_000_000,
                "batch": batch,
                "age": rng.integers(18, 90, many),
                "sex": rng.choice(["f", "m", "x"], many),
                "p": np.round(rng.beta(2, 2, many), 4),
            }
        )
        self.rows.append(data)
        columns = {name: pa.array(data[name]) for name in ("age", "sex", "p")} | {
            "partner_inference_id": pa.array(ids),
            "inference_timestamp": pa.array([at] * many).cast(INSTANT),
            "received_timestamp": pa.array([at] * many).cast(INSTANT),
            "batch_id": pa.array([batch] * many),
            "settings_generation": pa.array([1] * many),
        }
        rows = pa.table([columns[n] for n in SCHEMA.inference_table.names], schema=SCHEMA.inference_table)
        self.follower.fold(self.table.append(rows, {}).version, [])
        return ids

    def label(self, ids: Sequence[str], paid: Sequence[int | None], arrival: float = 0.0) -> None:
        """Labels that arrive so many seconds after NOON."""
        at = int((NOON.timestamp() + arrival) * 1e6)
        for name, value in zip(ids, paid, strict=True):
            if arrival >= self.said.get(name, (-1e18, 0))[0]:
                self.said[name] = (arrival, value)
        rows = pa.table(
            {
                "partner_inference_id": pa.array(ids),
                "ground_truth_timestamp": pa.array([at] * len(ids)).cast(INSTANT),
                "received_timestamp": pa.array([at] * len(ids)).cast(INSTANT),
                "paid": pa.array(paid, pa.int64()),
                "settings_generation": pa.array([1] * len(ids)),
            }
        ).select(SCHEMA.truth_table.names)
        self.follower.fold_truth(self.truth.append(rows.cast(SCHEMA.truth_table), {}).version, [])

    def retire(self, version: int) -> None:
        """Rows of a version are removed for their age, as maintenance does it."""
        files = [f for f in self.table.files if f.version == version]
        slices = {int(v) // 300_000_000 for b in self.table.read(files, ["inference_timestamp"])
                  for v in b.column(0).cast(pa.int64()).to_pylist()}  # fmt: skip
        self.follower.retired(sorted(slices), [])
        self.table.replace(Replacement(files, [], rows_change=True), {})

    def known(self) -> pd.DataFrame:
        """Every row with its newest label, by a direct count."""
        data = pd.concat(self.rows)
        data["paid"] = [self.said.get(name, (0.0, None))[1] for name in data["id"]]
        return data

    def window(self, start: int, end: int) -> np.ndarray:
        """Sums by code."""
        assert self.follower.reach(120), self.follower.problem
        live = self.follower.live
        assert live is not None
        return live.window(start, end)

    def check(self) -> None:
        """The sums of every population are those of a direct count."""
        totals, live = self.window(*ALWAYS), self.follower.live
        assert live is not None
        data = self.known()
        space = live.space
        masks = {("age", 0): data.age <= 40, ("age", 1): data.age > 40}
        masks |= {("sex", i): data.sex == s for i, s in enumerate("fmx")}
        for place, (attribute, group, segment) in enumerate(space.populations):
            chosen = data if attribute is None else data[masks.get((attribute, group), data.age < 0)]
            if segment is not None:
                chosen = data[data.age >= 60]
            counts = space.everybody.counts(space.block_of(place, totals))
            bins = np.floor(np.round(chosen.p * 1e4) / 10).astype(int)
            for found, picked in (
                (counts.rows, bins),
                (counts.positives, bins[chosen.paid == 1]),
                (counts.negatives, bins[chosen.paid == 0]),
            ):
                assert found.tolist() == np.bincount(picked, minlength=1001).tolist(), (
                    attribute,
                    group,
                    segment,
                )


def open_outcome_rooms(
    folder: Path, pace: Pace = DEFAULT_PACE, first: Definition | None = None, *, by_batch: bool = False
) -> Iterator[OutcomeRooms]:
    """Open the folder as a process would at its start, and stop at the end."""
    table = AppendTable.open(folder / "tables" / "inferences", SCHEMA.inference_table)
    truth = AppendTable.open(folder / "tables" / "ground_truth", SCHEMA.truth_table)
    root = folder / "outcomes"
    wanted = [first or definition()]
    names = numbers_of_batches(root) if by_batch else None
    follower = OutcomeFollower(CubeSources(table, truth, root, names), lambda: wanted[0], pace)
    follower.start()
    rooms = OutcomeRooms(table, truth, follower, wanted)
    try:
        yield rooms
    finally:
        follower.stop()
