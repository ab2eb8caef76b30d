"""A cell's tables, reference and partials over a real folder, for tests of what is answered from them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelwarden.resources.cell import CellIdentity, MonitoringSettings
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.analysis.profile import ReferenceProfile, profile_column
from modelwarden_server.analysis.relations import relate
from modelwarden_server.query.drift_answer import Sources, answer, files_of
from modelwarden_server.query.folding import DEFAULT_PACE, Folder, Pace
from modelwarden_server.query.labelling import LabelSources
from modelwarden_server.query.request import parse_drift_query
from modelwarden_server.query.scan import Deadline
from modelwarden_server.query.sql.model import QueriedModel
from modelwarden_server.schema.compiled import EVENT_TIME, INSTANT, compile_schema
from modelwarden_server.store.delta import AppendTable

IDENTITY = CellIdentity.model_validate(
    {
        "namespace": "risk",
        "name": "credit",
        "modelId": "0b8f0e3c-7f6e-5a51-9d2e-0c4a5f3f7f10",
        "attributes": [
            {"name": "age", "valueType": "INTEGER", "stage": "PIPELINE_INPUT", "position": 0},
            {"name": "income", "valueType": "FLOAT", "stage": "PIPELINE_INPUT", "position": 1},
            {
                "name": "town",
                "valueType": "STRING",
                "stage": "PIPELINE_INPUT",
                "position": 2,
                "categorical": True,
            },
            {"name": "remark", "valueType": "UNSTRUCTURED_TEXT", "stage": "NON_INPUT_DATA", "position": 0},
            {"name": "p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 0},
            {"name": "paid", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "position": 0},
        ],
    }
)
SCHEMA = compile_schema(IDENTITY)
STORED = frozenset(column.name for column in SCHEMA.data)
COLUMNS = columns_of(IDENTITY.attributes)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86_400
# Seconds. It ends with what is waited for, so that only a failing test takes that long.
PATIENCE = 120.0
MONITORING = MonitoringSettings(
    window="1d",
    minimum_rows=200,
    drift_metric="PSI",
    drift_threshold=0.2,
    false_discovery_rate=0.05,
    drifted_share=0.5,
)


def people(rows: int, seed: int = 1, older: float = 0.0) -> pa.Table:
    """Attributes of so many people; `older` shifts the ages."""
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "age": pa.array(np.clip(rng.normal(45 + older, 15, rows), 18, 99).astype(np.int64)),
            "income": pa.array(rng.lognormal(3, 0.5, rows)),
            "town": pa.array(rng.choice(["north", "south", "west"], rows, p=[0.5, 0.3, 0.2])),
            "remark": pa.array(["-"] * rows),
            "p": pa.array(rng.beta(2, 5, rows)),
            "paid": pa.array(rng.integers(0, 2, rows)),
        }
    )


def inferences(data: pa.Table, seconds: np.ndarray, first_id: int = 0) -> pa.Table:
    """The rows as the table of inferences holds them; `seconds` after NOON is each one's time."""
    times = (np.asarray(seconds, dtype=np.float64) * 1e6).astype(np.int64) + int(NOON.timestamp() * 1e6)
    more = {
        "partner_inference_id": pa.array([f"id-{first_id + i}" for i in range(data.num_rows)]),
        "inference_timestamp": pa.array(times).cast(INSTANT),
        "received_timestamp": pa.array(times).cast(INSTANT),
        "batch_id": pa.array(["b1" if i % 2 else "b2" for i in range(data.num_rows)]),
        "settings_generation": pa.array([1] * data.num_rows),
    }
    columns = {name: data.column(name) for name in data.column_names} | more
    return pa.table([columns[name] for name in SCHEMA.inference_table.names], schema=SCHEMA.inference_table)


def profile_of(data: pa.Table, content_hash: str = "c" * 64) -> ReferenceProfile:
    """The profile of these rows as a Job would make it."""
    columns = tuple(profile_column(c, lambda c=c: data.column(c.name).chunks) for c in COLUMNS)
    times = EVENT_TIME if EVENT_TIME in data.column_names else None
    relations = relate(columns, data.num_rows, lambda: data.to_batches(max_chunksize=10_000), times)
    return ReferenceProfile(content_hash, data.num_rows, columns, relations)


@dataclass
class Profiles:
    """The profile that a test wants to be compared with."""

    name: str | None = None
    known: dict[str, ReferenceProfile] = field(default_factory=dict)

    def wanted(self) -> str | None:
        return self.name

    def load(self, profile_hash: str) -> ReferenceProfile:
        return self.known[profile_hash]


@dataclass
class QueryRooms:
    """A table of inferences, a reference file, and partials that follow both."""

    folder: Path
    table: AppendTable
    folder_of_partials: Folder
    profiles: "Profiles"
    reference: AppendTable
    truth: AppendTable

    def store(self, rows: pa.Table, told: bool = True) -> None:
        """What the writer does: commit, then tell."""
        commit = self.table.append(rows, {})
        if told:
            self.folder_of_partials.fold(commit.version, rows.to_batches())

    def label(self, ids: Sequence[str], paid: Sequence[int | None], arrival: float = 0.0) -> None:
        """Labels that arrive so many seconds after NOON, as the writer does: commit, then tell."""
        at = int((NOON.timestamp() + arrival) * 1e6)
        rows = pa.table(
            {
                "partner_inference_id": pa.array(ids),
                "ground_truth_timestamp": pa.array([at] * len(ids)).cast(INSTANT),
                "received_timestamp": pa.array([at] * len(ids)).cast(INSTANT),
                "paid": pa.array(paid, pa.int64()),
                "settings_generation": pa.array([1] * len(ids)),
            }
        ).select(SCHEMA.truth_table.names)
        commit = self.truth.append(rows.cast(SCHEMA.truth_table), {})
        self.folder_of_partials.fold_truth(commit.version, rows.to_batches())

    def compare_with(self, reference: pa.Table, name: str = "a" * 64) -> ReferenceProfile:
        """A profile becomes the one to compare with; waits until its partials are live."""
        profile = profile_of(reference)
        if EVENT_TIME not in reference.column_names:
            unknown = pa.nulls(reference.num_rows, INSTANT)
            reference = reference.append_column(EVENT_TIME, unknown)
        self.reference.append(reference.select(self.reference.schema.names), {})
        self.profiles.known[name] = profile
        self.profiles.name = name
        self.folder_of_partials.wake()
        until(lambda: (live := self.folder_of_partials.live) is not None and live.name == name)
        return profile

    def sources(self) -> Sources:
        """What a query asks."""
        live = self.folder_of_partials.live
        return Sources(
            columns={c.name: c for c in COLUMNS},
            generation=live,
            inferences=_files(self.table),
            reference=_files(self.reference) if live is not None and live.profile is not None else None,
            labels=_files(self.truth),
            model=QueriedModel.of(IDENTITY, 0.5),
        )

    def ask(self, **query: object) -> dict[str, object]:
        """The answer to a drift query, as the door would give it."""
        import msgspec

        assert self.folder_of_partials.reach(PATIENCE), self.folder_of_partials.problem
        body = {"metric": "PSI", "base": {"source": "reference"}, "target": {"source": "inference"}} | query
        sources = self.sources()
        parsed = parse_drift_query(msgspec.json.encode(body), sources.columns.keys())
        return answer(parsed, sources, Deadline(time.monotonic() + PATIENCE))


def _files(table: AppendTable):
    return files_of(table.folder, [f.name for f in table.files], table.rows, table.schema)


def open_query_rooms(
    folder: Path, pace: Pace = DEFAULT_PACE, profiles: Profiles | None = None, *, by_batch: bool = False
) -> Iterator[QueryRooms]:
    """Open the folder as a process would at its start, and stop at the end."""
    from modelwarden_server.door.reference_rows import reference_schema

    table = AppendTable.open(folder / "tables" / "inferences", SCHEMA.inference_table)
    reference = AppendTable.open(folder / "tables" / "reference" / "default", reference_schema(SCHEMA))
    wanted = profiles or Profiles()
    truth = AppendTable.open(folder / "tables" / "ground_truth", SCHEMA.truth_table)
    labels = LabelSources(table, truth, folder / "index" / "slices")
    partials = Folder(table, STORED, wanted, folder / "tables" / "partials", pace, labels, by_batch=by_batch)
    partials.start()
    try:
        yield QueryRooms(folder, table, partials, wanted, reference, truth)
    finally:
        partials.stop()


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition; fail when it takes too long."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come to hold in time"
        time.sleep(0.005)
