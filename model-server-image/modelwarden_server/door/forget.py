"""The door for requests to forget, and what maintenance has to say of itself.

POST /api/v3/models/{id}/forget        {"partner_inference_ids": [...]} or {"attribute": "...", "value": ...}
GET  /api/v3/models/{id}/forget
GET  /api/v3/models/{id}/forget/{request}

Answered with 202 once the request is durable: from then on its ids are refused. The rows are deleted in the
background; files that hold them are off the disk at most `vacuum_seconds` after `deleted_at`. Must not tell
what was forgotten once it is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from modelwarden.resources.attributes import ValueType
from modelwarden.resources.report import ForgetReport, MaintenanceReport
from modelwarden_server.cell import Cell
from modelwarden_server.door.bodies import read_body
from modelwarden_server.log.protocol import Kind, LogFailedError, LogFullError, Record
from modelwarden_server.store.forget import Forgetting
from modelwarden_server.store.forget_requests import ForgetRequest, ForgetRequests, Value, new_request
from modelwarden_server.store.images import ImageStore
from modelwarden_server.store.listening import CommitListener
from modelwarden_server.store.store import Store
from modelwarden_server.store.upkeep import KeepRules
from modelwarden_server.web import Refusal, check_model, json_answer

MOST_IDS = 100_000
_MOST_BYTES = 32 << 20
_SHAPE = '{"partner_inference_ids": [...]} or {"attribute": "...", "value": ...}'


class _Asked(msgspec.Struct):
    partner_inference_ids: list[str] | None = None
    attribute: str | None = None
    value: Value | None = None


class ForgetRoom:
    """Forgetting in one cell. `images` are removed with the rows that name them."""

    def __init__(self, cell: Cell, images: ImageStore) -> None:
        self._cell, self._images = cell, images
        self._forgetting: Forgetting | None = None

    def routes(self) -> Sequence[BaseRoute]:
        """See Room."""
        path = "/api/v3/models/{id}/forget"
        return [
            Route(path, self.ask, methods=["POST"]),
            Route(path, self.list, methods=["GET"]),
            Route(f"{path}/{{request}}", self.show, methods=["GET"]),
        ]

    def attach(self, store: Store) -> CommitListener | None:
        """See Room."""
        columns = [c.name for c in self._cell.schema.data if c.value_type is ValueType.IMAGE]
        users = ImageUsers(store, tuple(columns), self._images)
        self._forgetting = Forgetting(
            store, ForgetRequests(store.folders.forget / "requests"), store.tombstones, tuple(columns), users
        )
        store.maintenance.duties.append(self._forgetting)
        store.maintenance.rules = self._rules
        return None

    def status(self) -> dict[str, Any]:
        """See Room."""
        if self._forgetting is None:
            return {}
        requests, store = self._forgetting.requests, self._forgetting.store
        done, totals = store.maintenance.done, store.ledger.totals
        return {
            "forget": ForgetReport(requests=len(requests.all()), pending=len(requests.pending())),
            "maintenance": MaintenanceReport(
                compactions=done.compactions,
                files_merged=done.files_merged,
                last_compaction=done.last_compaction,
                last_retirement=done.last_retirement,
                retired=totals.retired,
                forgotten=totals.forgotten,
                problem=store.maintenance.failure or done.problem or store.ids.problem,
            ),
        }

    def close(self) -> None:
        """See Room."""

    async def ask(self, request: Request) -> Response:
        """Take a request: 202, or 400 that says what is wrong with it."""
        check_model(request, self._cell.identity)
        body = await read_body(request, _MOST_BYTES)
        try:
            asked = msgspec.json.decode(body, type=_Asked)
        except msgspec.DecodeError as error:
            raise Refusal(400, f"send {_SHAPE}: {error}") from None
        forgetting = self._ready()
        now = datetime.fromtimestamp(self._cell.clock(), UTC)
        wanted = self._checked(asked, forgetting.requests.next_number(), now)
        store = forgetting.store
        try:
            await asyncio.to_thread(forgetting.accept, wanted)
            record = Record(Kind.FORGET, 0, msgspec.json.encode({"request": wanted.id}), store.arrival(), 0)
            # Rows that were handed to the log before are durable with it, and found by the deletion.
            await asyncio.wrap_future(store.log.append([record]))
        except (OSError, LogFullError, LogFailedError) as error:
            raise Refusal(
                503, f"the request may not be durable: send it again ({error})", retry_after=5
            ) from None
        store.maintenance.wake()
        return json_answer(self._described(wanted), 202)

    async def list(self, request: Request) -> Response:
        """All requests, as audit records."""
        check_model(request, self._cell.identity)
        return json_answer([self._described(found) for found in self._ready().requests.all()])

    async def show(self, request: Request) -> Response:
        """One request: 200, or 404."""
        check_model(request, self._cell.identity)
        found = self._ready().requests.get(request.path_params["request"])
        if found is None:
            raise Refusal(404, "there is no such request to forget")
        return json_answer(self._described(found))

    def _checked(self, asked: _Asked, number: int, now: datetime) -> ForgetRequest:
        ids = asked.partner_inference_ids
        if (ids is None) == (asked.attribute is None):
            raise Refusal(400, f"the body must be {_SHAPE}")
        if ids is not None:
            if not 0 < len(ids) <= MOST_IDS:
                raise Refusal(400, f"partner_inference_ids: from 1 to {MOST_IDS} ids in one request")
            return new_request(number, now, ids=ids)
        columns = {c.name: c.type for c in (*self._cell.schema.data, *self._cell.schema.truth)}
        column = columns.get(asked.attribute or "")
        if column is None:
            raise Refusal(400, "attribute: the model has no such attribute in its rows")
        if asked.value is None:
            raise Refusal(400, "value: say which value of the attribute is to be forgotten")
        try:
            pa.scalar(asked.value, column)
        except (pa.ArrowException, TypeError, ValueError):
            raise Refusal(400, f"value: an attribute of type {column} has no such value") from None
        return new_request(number, now, attribute=asked.attribute, value=asked.value)

    def _ready(self) -> Forgetting:
        store = self._cell.store
        if self._forgetting is None or self._forgetting.store is not store:
            raise Refusal(503, self._cell.unready() or "the cell is starting", retry_after=2)
        return self._forgetting

    def _rules(self) -> KeepRules:
        storage = self._cell.settings.current.storage
        return KeepRules(storage.retention_seconds, storage.label_retention_seconds, storage.retention_bytes)

    def _described(self, request: ForgetRequest) -> dict[str, Any]:
        assert self._forgetting is not None
        return {
            "id": request.id,
            "model_id": self._cell.identity.model_id,
            "state": request.state,
            "by": "ids" if request.attribute is None else "attribute",
            "attribute": request.attribute,
            "ids": len(request.ids) if request.ids is not None else request.known_ids,
            "removed": request.removed,
            "fingerprint": request.fingerprint,
            "created_at": request.created_at,
            "deleted_at": request.deleted_at,
            "done_at": request.done_at,
            "vacuum_seconds": self._forgetting.store.maintenance.pace.grace,
            "out_of_reach": request.out_of_reach,
        }


@dataclass(frozen=True)
class ImageUsers:
    """Removes images that no row names any more: neither of the inferences nor of reference data."""

    store: Store
    columns: tuple[str, ...]
    images: ImageStore

    def __call__(self, candidates: set[str]) -> int:
        """Remove those of the candidates that nobody names; returns how many."""
        left = set(candidates)
        wanted = pa.array(sorted(left), pa.string())
        table = self.store.tables.inferences
        for batch in table.read(table.files, list(self.columns)):
            _strike(left, batch.columns, wanted)
        for path in self._reference_files():
            with pq.ParquetFile(path) as parquet:
                names = [name for name in self.columns if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(columns=names) if names else ():
                    _strike(left, batch.columns, wanted)
        self.images.remove(left)
        return len(left)

    def _reference_files(self) -> Sequence[Path]:
        root = self.store.folders.table("reference")
        folders = [p for p in root.iterdir() if (p / "_delta_log").is_dir()] if root.is_dir() else []
        return [p / name for p in folders for name in _names(p)]


def _names(folder: Path) -> Sequence[str]:
    return list(pa.table(DeltaTable(str(folder)).get_add_actions(flatten=True)).column("path").to_pylist())


def _strike(left: set[str], columns: Sequence[pa.Array], wanted: pa.Array) -> None:
    for column in columns:
        left.difference_update(pc.unique(column.filter(pc.is_in(column, wanted))).drop_null().to_pylist())
