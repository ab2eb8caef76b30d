"""A cell's reference rooms over a real folder, spoken to over HTTP in process."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from modelwarden.resources.cell import CellIdentity, LimitSettings
from modelwarden_server.analysis.columns import columns_of
from modelwarden_server.door.datasets import DatasetDoor
from modelwarden_server.door.file_images import FileImages
from modelwarden_server.door.reference import ReferenceDoor
from modelwarden_server.door.reference_rows import reference_schema
from modelwarden_server.door.source_load import SourceDoor
from modelwarden_server.schema.compiled import compile_schema
from modelwarden_server.store.artefacts import ArtefactStore
from modelwarden_server.store.images import ImageStore
from modelwarden_server.store.reference import ReferenceStore
from modelwarden_server.web import Caller, Refusal, on_refusal

IDENTITY = CellIdentity.model_validate(
    {
        "namespace": "risk",
        "name": "credit",
        "modelId": "0b8f0e3c-7f6e-5a51-9d2e-0c4a5f3f7f10",
        "partnerModelId": "credit-1",
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
            {"name": "member", "valueType": "BOOLEAN", "stage": "NON_INPUT_DATA", "position": 0},
            {"name": "since", "valueType": "TIMESTAMP", "stage": "NON_INPUT_DATA", "position": 1},
            {"name": "p", "valueType": "FLOAT", "stage": "PREDICTED_VALUE", "position": 0},
            {
                "name": "not_p",
                "valueType": "FLOAT",
                "stage": "PREDICTED_VALUE",
                "position": 1,
                "implicit": True,
            },
            {"name": "paid", "valueType": "INTEGER", "stage": "GROUND_TRUTH", "position": 0},
        ],
    }
)
PATH = f"/api/v3/models/{IDENTITY.model_id}/reference_data"
LIMITS = LimitSettings(
    max_body_bytes=64 << 20,
    max_rows=1000,
    max_string_length=100,
    max_requests_in_flight=4,
    max_log_bytes=1 << 30,
    max_file_bytes=64 << 20,
    max_parts=8,
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def padded(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with every column of the table, nothing in those that are not there."""
    columns = {name: rows.column(name) for name in rows.column_names}
    return pa.table(
        [columns[f.name].cast(f.type) if f.name in columns else pa.nulls(len(rows), f.type) for f in schema],
        schema=schema,
    )


def frame(rows: int = 3, **columns: object) -> pa.Table:
    """Good reference rows; columns may be replaced, None takes one away."""
    plain: dict[str, object] = {
        "age": pa.array([30 + i % 40 for i in range(rows)]),
        "income": pa.array([100.5 + i for i in range(rows)]),
        "town": pa.array(["ab"[i % 2] for i in range(rows)]),
        "member": pa.array([i % 2 == 0 for i in range(rows)]),
        "since": pa.array([START] * rows, pa.timestamp("ns", "UTC")),
        "p": pa.array([0.25] * rows),
        "paid": pa.array([i % 2 for i in range(rows)]),
    }
    return pa.table({k: v for k, v in (plain | columns).items() if v is not None})


def parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=5000)
    return out.getvalue()


@dataclass
class ReferenceRooms:
    """The doors of one cell, and what is behind them."""

    folder: Path
    store: ReferenceStore
    artefacts: ArtefactStore
    door: ReferenceDoor
    app: ASGIApp
    settled: list[str]
    caller: Caller


def open_rooms(folder: Path, **limits: float) -> ReferenceRooms:
    """Open a cell's folder as a process would at its start."""
    reserve = {name: limits.pop(name) for name in ("reserve", "reserve_share") if name in limits}
    schema = compile_schema(IDENTITY)
    ticks: Iterator[datetime] = iter(START + timedelta(seconds=i) for i in range(10_000))
    store = ReferenceStore(
        folder / "tables" / "reference", folder / "reference", reference_schema(schema), lambda: next(ticks)
    )
    artefacts = ArtefactStore(folder / "artefacts")
    settled: list[str] = []
    door = ReferenceDoor(
        identity=IDENTITY,
        schema=schema,
        datasets=lambda: store,
        uploads=folder / "uploads",
        limits=lambda: LIMITS.model_copy(update=limits),
        protect=lambda batch: batch,
        images=lambda _: FileImages(ImageStore(folder / "images"), None, schema.data, {}),
        **reserve,
    )
    datasets = DatasetDoor(
        lambda: store, artefacts, columns_of(IDENTITY.attributes), lambda: settled.append("once")
    )
    door.sweep()
    plain = Starlette(
        routes=[*door.routes(), *datasets.routes(), *SourceDoor(door).routes()],
        exception_handlers={Refusal: on_refusal},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["caller"] = rooms.caller
        await plain(scope, receive, send)

    rooms = ReferenceRooms(folder, store, artefacts, door, app, settled, Caller())
    return rooms


def client_of(rooms: ReferenceRooms) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(rooms.app), base_url="http://cell")
