"""A real cell on a real folder, in this process, and a client that sends it files."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import census_like as census
import httpx
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from starlette.types import ASGIApp

from modelwarden.resources.report import StatusReport
from modelwarden_server.apps import furnish, store_app
from modelwarden_server.cell import Cell
from modelwarden_server.settings import SettingsHolder
from modelwarden_server.store.writer import Pace

KEY = "k" * 64
NOON = 1_795_262_400.0
IDENTITY_FIELDS = ("isBatch", "inputType", "pixelHeight", "pixelWidth", "outputType")


async def eventually(what: Callable[[], bool]) -> None:
    """Wait until it is so, or fail."""
    async with asyncio.timeout(120):
        while not what():
            await asyncio.sleep(0.005)


@dataclass
class FileDoor:
    """A client of a cell, and the cell."""

    cell: Cell
    client: httpx.AsyncClient
    app: ASGIApp

    @property
    def model(self) -> str:
        return f"/api/v3/models/{self.cell.identity.model_id}"

    async def send(
        self, content: bytes, part: str = "inference_data", **fields: str | bytes
    ) -> httpx.Response:
        """One file, with small fields (text) and a zip of images (bytes)."""
        files: list[Any] = [(name, (None, value)) for name, value in fields.items() if isinstance(value, str)]
        files += [(n, ("images.zip", value)) for n, value in fields.items() if isinstance(value, bytes)]
        files.append((part, ("/tmp/any.parquet", content)))
        return await self.client.post(f"{self.model}/inferences/file", files=files)

    async def taken(self, content: bytes, part: str = "inference_data", **fields: str | bytes) -> Any:
        """The counts of a file that is answered with 207, in the order success, failure, and its failures."""
        answer = await self.send(content, part, **fields)
        assert answer.status_code == 207, answer.text
        body = answer.json()
        counts = body["counts"]
        assert counts["total"] == counts["success"] + counts["failure"]
        return counts["success"], counts["failure"], [f["message"] for f in body["failures"]]

    async def hang_up(self, pieces: list[bytes]) -> int | None:
        """A client that sends this much of an upload and goes; the status that nobody hears."""
        told: list[int] = []
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        messages.append({"type": "http.disconnect"})
        left = iter(messages)

        async def receive() -> Any:
            return next(left, messages[-1])

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                told.append(message["status"])

        headers = [(b"authorization", KEY.encode()), (b"content-type", b"multipart/form-data; boundary=b")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"{self.model}/inferences/file",
            "headers": headers,
        }
        await self.app({**scope, "query_string": b"", "raw_path": b"", "http_version": "1.1"}, receive, send)
        return told[0] if told else None

    async def post(self, *rows: Any) -> list[int]:
        answer = await self.client.post(f"{self.model}/inferences", content=census.body(*rows))
        assert answer.status_code == 207, answer.text
        return [result["status"] for result in answer.json()["results"]]

    async def close_batch(self, name: str, count: int | None = None) -> httpx.Response:
        body: dict[str, Any] = {"status": "uploaded"}
        if count is not None:
            body["total_record_count"] = count
        return await self.client.patch(f"{self.model}/batches/{name}", json=body)

    async def report(self) -> StatusReport:
        return StatusReport.from_json((await self.client.get("/status")).content)

    def stored(self, table: str = "inferences") -> list[dict[str, Any]]:
        """The rows of a table, once all that was acknowledged is in it."""
        store = self.cell.store
        assert store.writer.flush(120)
        found = store.tables.inferences if table == "inferences" else store.tables.truth
        return [row for batch in found.read(found.files) for row in batch.to_pylist()]

    def leftovers(self) -> list[str]:
        """Files of uploads that are on the volume and part of nothing."""
        folders = [self.cell.folder / name for name in ("uploads", "staged")]
        return [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]


@asynccontextmanager
async def open_file_door(folder: Path, *, pace: float = 0.02, **spec: Any) -> AsyncIterator[FileDoor]:
    attributes = spec.pop("attributes", census.ATTRIBUTES)
    identity = census.identity(attributes, **{k: v for k, v in spec.items() if k in IDENTITY_FIELDS})
    settings = SettingsHolder(census.settings(attributes=attributes, **spec), KEY)
    cell = Cell(identity, settings, folder, Pace(seconds=pace), clock=lambda: NOON)
    rooms = furnish(cell)
    app = store_app(cell)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"Authorization": KEY}
    async with httpx.AsyncClient(transport=transport, base_url="http://cell", headers=headers) as client:
        cell.start()
        try:
            await eventually(lambda: cell.unready() is None)
            yield FileDoor(cell, client, app)
            await eventually(lambda: rooms.busy == 0)
        finally:
            cell.close(120)


def flat(rows: int = 3, prefix: str = "r", **columns: Any) -> pa.Table:
    """Good rows of the census-like model as a flat table; columns may be replaced, None takes one away."""
    plain: dict[str, Any] = {
        "partner_inference_id": pa.array([f"{prefix}{i}" for i in range(rows)]),
        "inference_timestamp": pa.array([census.NOW] * rows),
        "age": pa.array([30 + i % 40 for i in range(rows)]),
        "income": pa.array([100.5 + i for i in range(rows)]),
        "state": pa.array([("MA", "NY")[i % 2] for i in range(rows)]),
        "married": pa.array([i % 2 == 0 for i in range(rows)]),
        "pred": pa.array([0.25] * rows),
    }
    return pa.table({k: v for k, v in (plain | columns).items() if v is not None})


def nested(table: pa.Table, truth: tuple[str, ...] = ("gt",)) -> list[dict[str, Any]]:
    """The rows of a flat table as requests have them."""
    beside = ("partner_inference_id", "inference_timestamp", "ground_truth_timestamp", "batch_id")
    rows = []
    for row in table.to_pylist():
        made = {k: v for k, v in row.items() if k in beside}
        made["inference_data"] = {k: v for k, v in row.items() if k not in beside and k not in truth}
        if any(k in row for k in truth):
            made["ground_truth_data"] = {k: row[k] for k in truth if k in row}
        rows.append(made)
    return rows


def parquet(table: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def lines(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def image(width: int = 8, height: int = 6, kind: str = "PNG", shade: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (shade, 10, 20)).save(out, kind)
    return out.getvalue()


def zipped(entries: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()
